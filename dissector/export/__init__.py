"""Captures as tables, for questions over many of them: see docs/scale.md."""

from __future__ import annotations

from dissector.export.run import Order, Outcome, export, export_many
from dissector.export.schema import FORMAT, TABLES, Column, Table

__all__ = ["FORMAT", "TABLES", "Column", "Order", "Outcome", "Table", "export", "export_many"]
