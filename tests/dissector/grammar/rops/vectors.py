"""Tables of ROP vectors: bytes that did not come from our encoder, one per form of every ROP of a module."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from construct import Construct

from dissector.grammar.base import build
from dissector.grammar.layouts import Count, Fixed, Layout, Present, Rows, Sized, SizeOf, When
from dissector.grammar.rops.base import RopDef
from dissector.node import Undecoded
from tests.dissector.grammar.rops.check import check


@dataclass(frozen=True)
class Vector:
    """One ROP: its bytes, whose layout they have, and what must be read from them."""

    definition: RopDef
    form: str
    data: bytes
    params: Mapping[str, Any] = field(default_factory=dict)
    expected: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        return f"{self.definition.name}-{self.form}-{self.data[:10].hex()}"

    @property
    def layout(self) -> Construct | None:
        if self.form == "request":
            return self.definition.request
        if self.form == "short failure":
            return self.definition.short_failure
        if not self.definition.has_return_value:
            return self.definition.responses[0]
        return self.definition.response_layout(int.from_bytes(self.data[2:6], "little"))


def request(definition: RopDef, text: str, params: Mapping[str, Any] | None = None, /, **expected: Any) -> Vector:
    return Vector(definition, "request", bytes.fromhex(text), params or {}, expected)


def response(definition: RopDef, text: str, params: Mapping[str, Any] | None = None, /, **expected: Any) -> Vector:
    """A response; its form follows from the ReturnValue in its bytes."""
    return Vector(definition, "response", bytes.fromhex(text), params or {}, expected)


def short(definition: RopDef, text: str, /, **expected: Any) -> Vector:
    """A failure that ends behind ReturnValue, where the specification has more fields."""
    return Vector(definition, "short failure", bytes.fromhex(text), {}, expected)


def check_vector(vector: Vector) -> None:
    """The layout holds for the bytes, in every reading, and the counts can be left to the builder."""
    assert vector.data[0] in (vector.definition.rop_id, vector.definition.response_id)
    value = check(vector.layout, vector.data, vector.params, **vector.expected)
    bare = without_derived(vector.layout, value)
    assert build(vector.layout, bare, **vector.params) == vector.data, "not from the meaningful fields alone"


def missing_forms(definitions: Iterable[RopDef], vectors: Iterable[Vector]) -> list[str]:
    """Forms of these ROPs that no vector has."""
    shown = {id(vector.layout) for vector in vectors}
    forms: list[tuple[str, Construct | None]] = []
    for one in definitions:
        forms.append((f"{one.name} request", one.request))
        forms.extend((f"{one.name} {key}", layout) for key, layout in one.responses.items())
        forms.append((f"{one.name} short failure", one.short_failure))
    return [name for name, layout in forms if layout is not None and id(layout) not in shown]


def without_derived(layout: Any, value: Any) -> Any:
    """The value without counts, sizes and constants: what a server would fill in."""
    if isinstance(layout, When | Sized):
        return without_derived(layout.subcon, value)
    if isinstance(value, list) and isinstance(layout, Rows):
        return [without_derived(layout.row.subcon, row) for row in value]
    if not isinstance(layout, Layout) or not isinstance(value, Mapping) or isinstance(value, Undecoded):
        return value
    bare: dict[str, Any] = {}
    for one in layout.subcons:
        subcon, entry = one.subcon, value.get(one.name)
        while isinstance(subcon, When):
            subcon = subcon.subcon
        if isinstance(subcon, Count | SizeOf | Present) or entry is None:
            continue
        if isinstance(subcon, Fixed) and entry == subcon.value:
            continue
        bare[one.name] = without_derived(subcon, entry)
    return bare
