"""The recorded conversations that bad captures are made of, and the ways to change them that several share."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from typing import Any

from construct import Container

from dissector.grammar.base import build
from dissector.grammar.elements import Element
from dissector.grammar.idset import encode_idset
from dissector.model.idset import IdSet
from dissector.model.pcl import Xid
from tests.conftest import ROOT
from tests.dissector.diagnose.edit import GET, Spoken, Tape, repeated, replaced, rop_response

GUID = uuid.UUID("00000001-18a5-6f7b-bcdc-ea1ed03c5657")
BEGIN, END = "RopSynchronizationUploadStateStreamBegin", "RopSynchronizationUploadStateStreamEnd"
MALFORMED, NOT_FOUND, NULL_OBJECT, BUSY, FAILED = 0x4B6, 0x8004010F, 0x4B9, 0x480, 0x80004005


def ids(*ranges: tuple[int, int]) -> IdSet:
    return IdSet({GUID: ranges})


def gid(counter: int) -> Xid:
    return Xid(GUID, counter.to_bytes(6, "big"))


def contents() -> Tape:
    """52 messages: 2 new, 2 changed, 3 gone, 5 read states; then a second synchronization without changes."""
    return Tape(ROOT / "captures" / "contents-incremental.pcap")


def first_only() -> Tape:
    """The first of these alone."""
    tape = contents()
    tape.calls[19:36] = []
    return tape


def folders() -> Tape:
    return Tape(ROOT / "captures" / "hierarchy-bootstrap.pcap")


def uploads() -> Tape:
    return Tape(ROOT / "captures" / "upload-session.pcap")


def of_message(counter: int, change: Callable[[Element], Element]) -> Callable[[list[Element]], list[Element]]:
    """Change the elements of one message of a stream."""

    def edit(elements: list[Element]) -> list[Element]:
        made, inside = [], False
        for element in elements:
            if element.name == "PidTagSourceKey":
                inside = element.value() == gid(counter)
            made.append(change(element) if inside else element)
        return made

    return edit


def with_value(tag: int, value: Any) -> Callable[[Element], Element]:
    return lambda element: replaced(element, value) if element.tag == tag else element


def with_set(name: str, idset: IdSet) -> Callable[[list[Element]], list[Element]]:
    raw = encode_idset(idset)
    return lambda elements: [
        element._replace(raw=struct.pack("<I", len(raw)) + raw) if element.name == name else element
        for element in elements
    ]


def without(names: tuple[str, ...]) -> Callable[[list[Element]], list[Element]]:
    return lambda elements: [element for element in elements if element.name not in names]


def failing(tape: Tape, rop: str, code: int, nth: int = 0, **values: Any) -> Tape:
    """Let the nth ROP of a name fail. values: what the response has besides its code."""
    _, payload, number, side = tape.having(rop, response=True)[nth]
    index = side.definition.index if side.definition is not None else ""
    payload.put(
        number, side, side.value, rop_response(rop, code, **({index: side.value[index]} if index else {}), **values)
    )
    return tape


def fetched(call: Spoken, **values: Any) -> Spoken:
    """A RopFastTransferSourceGetBuffer call once more, with another answer."""
    made = repeated(call)
    payload, number, side = next(one for one in made.rops() if one[2].is_response and one[2].name == GET)
    code = values.get("ReturnValue", 0)
    assert side.definition is not None
    layout = side.definition.response_layout(code)
    assert layout is not None
    fields = {"ReturnValue": 0, "TransferStatus": 1, "InProgressCount": 0, "TotalStepCount": 1, "TransferBuffer": b""}
    value = Container({**side.value, **fields, **values})
    value.pop("TransferBufferSize", None)
    payload.put(number, side, value, build(layout, value))
    return made


def final(nth: int = 0, tape: Callable[[], Tape] = first_only, **sets: Any) -> Tape:
    made = tape()
    made.final_state(nth, {f"MetaTag{name}": value for name, value in sets.items()})
    return made


def edited(edit: Callable[[list[Element]], list[Element]], tape: Callable[[], Tape] = first_only, nth: int = 0) -> Tape:
    made = tape()
    made.stream(nth, edit)
    return made
