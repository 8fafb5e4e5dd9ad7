"""Sort orders of tables [MS-OXCDATA] 2.13."""

from __future__ import annotations

from construct import this

from dissector.grammar.layouts import Count, Layout, Rows
from dissector.grammar.leaves import U8, U16, Enumerated
from dissector.grammar.properties import PropertyTag

SortOrder = Layout(
    "PropertyTag" / PropertyTag,
    "Order" / Enumerated(U8, "SortOrder"),
    name="SortOrder",
    spec="MS-OXCDATA 2.13.1",
    summary="{PropertyTag} {Order}",
)
"""PropertyType and PropertyId together as one tag."""

SortOrderSet = Layout(
    "SortOrderCount" / Count(U16, "SortOrders"),
    "CategorizedCount" / U16,
    "ExpandedCount" / U16,
    "SortOrders" / Rows(this.SortOrderCount, SortOrder),
    name="SortOrderSet",
    spec="MS-OXCDATA 2.13.2",
)
