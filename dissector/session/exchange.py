"""One exchange: a request, its response, and the ROPs of both, paired.

Values are read at once (the session needs them); trees are made only when somebody looks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from construct import Construct

from dissector.emsmdb.call import Call
from dissector.grammar.base import GrammarError
from dissector.grammar.ids import FolderId
from dissector.grammar.names import error_name
from dissector.grammar.reading import trace
from dissector.grammar.rops.base import RopDef
from dissector.model.ids import ObjectId
from dissector.node import Diagnostic, Node, Severity, undecoded
from dissector.session.objects import NO_HANDLE, ServerObject, Session
from dissector.source import ByteSource

PROGRESS = 0x50
"""RopProgress."""


@dataclass(frozen=True, slots=True)
class Carried:
    """Words for a field that carries a part of a joined stream: which part of which."""

    field: str
    text: str

    def __call__(self, value: Any) -> str:
        return self.text


@dataclass(frozen=True, slots=True)
class SpecialFolder:
    """Words for the id of a folder that the logon named: Inbox (ReplicaId 1, GlobalCounter 0xD)."""

    name: str

    def __call__(self, value: ObjectId) -> str:
        return f"{self.name} ({FolderId.label(value)})"

    def brief(self, value: ObjectId) -> str:
        return f"{FolderId.brief(value)} ({self.name})"


special_folder = cache(SpecialFolder)
"""One for each name."""


@dataclass(slots=True)
class RopSide:
    """A ROP request or response where it stands in a ROP buffer.

    offset, length: in source. value: the fields, or None where the bytes could not be read (error says why). params:
    what the layout was given from the session, and `folders`: names of its special folders, by id.
    """

    rop_id: int
    definition: RopDef | None
    layout: Construct | None
    source: ByteSource
    offset: int
    length: int
    value: Any
    params: Mapping[str, Any]
    is_response: bool
    error: GrammarError | None = None
    carried: Carried | None = None
    """Set by session.streams, where somebody joins streams."""

    @property
    def name(self) -> str:
        return self.definition.name if self.definition is not None else f"Rop 0x{self.rop_id:02X}"

    def node(self) -> Node:
        """The annotated tree of this ROP; what could not be read stands in it as an Undecoded leaf."""
        name = f"{self.name} {'response' if self.is_response else 'request'}"
        end = self.offset + self.length
        if self.layout is None:
            node = Node(name, self.source, self.offset, self.length)
            assert self.error is not None
            node.children.append(
                undecoded(self.source, self.offset, self.length, self.error.severity, self.error.message)
            )
            return node
        node = trace(self.layout, self.source, name, self.offset, end, **self.params)
        if self.carried is not None:
            for child in node.children:
                if child.name == self.carried.field:
                    child.labeller = self.carried
        folders = self.params.get("folders")
        if folders and _mentions(self.value, folders):
            for one in node.walk():
                if getattr(one.labeller, "__self__", None) is FolderId and one.value in folders:
                    one.labeller = special_folder(folders[one.value])
        if "inferred" in self.params:
            node.diagnose(
                Severity.NOTE, f"{self.params['inferred']} is not in the capture; only one value fits the list's length"
            )
        if node.end < end:
            stopped = not any(found.diagnostics for found in node.walk())
            rest = undecoded(self.source, node.end, end - node.end, Severity.MALFORMED, "bytes are left over")
            if not stopped:
                rest.diagnostics.clear()
            node.children.append(rest)
            node.length = self.length
        return node


def _mentions(value: Any, folders: Mapping[ObjectId, str]) -> bool:
    """Whether one of these ids is somewhere in a value: nodes are not made for less."""
    left = [value]
    while left:
        one = left.pop()
        if type(one) is ObjectId:
            if one in folders:
                return True
        elif isinstance(one, dict):
            left.extend(one.values())
        elif isinstance(one, list):
            left.extend(one)
    return False


@dataclass(slots=True)
class RopBuffer:
    """A payload taken apart: ROPs in order, the handle table, and what stands between or behind them unread."""

    source: ByteSource
    rop_size: int
    rops: list[RopSide]
    handles: tuple[int, ...]
    list_end: int
    trouble: list[tuple[int, int, Diagnostic]]
    """(offset, length, why): bytes that belong to no ROP and no handle."""

    def node(self, name: str) -> Node:
        """The annotated tree of the whole buffer."""
        source = self.source
        size = len(source.data)
        root = Node(name, source, 0, size, spec="MS-OXCROPS 2.2.1")
        if size >= 2:
            root.children.append(Node("RopSize", source, 0, 2, self.rop_size))
            rops = Node("RopsList", source, 2, self.list_end - 2)
            root.children.append(rops)
            rops.children.extend(side.node() for side in self.rops)
        else:
            rops = root
        table = Node("ServerObjectHandleTable", source, self.list_end, 4 * len(self.handles))
        for index, handle in enumerate(self.handles):
            leaf = Node(f"[{index}]", source, self.list_end + 4 * index, 4, handle, labeller=_handle_label)
            table.children.append(leaf)
        for offset, length, why in self.trouble:
            node = undecoded(source, offset, length, why.severity, why.message)
            (rops if offset < self.list_end else root).children.append(node)
        if self.handles:
            root.children.append(table)
            root.children.sort(key=lambda child: child.offset)
        return root


def _handle_label(handle: int) -> str:
    return "no object" if handle == NO_HANDLE else ""


@dataclass(slots=True)
class Rop:
    """One remote operation: request and response paired, with what the session knew at that moment.

    handles: the server object handles by request field name (None where it is not known). kind: what the first input
    handle was. index: the handle table index that the response echoes, or the first one of the request.
    """

    number: int
    rop_id: int
    definition: RopDef | None
    request: RopSide | None
    response: RopSide | None
    logon_id: int | None = None
    index: int | None = None
    handles: dict[str, int | None] = field(default_factory=dict)
    kind: str | None = None
    target: ServerObject | None = None
    """What the first input handle stood for when the ROP was carried out."""
    continues: Rop | None = None
    """The Rop whose request this response also answers (a packed response in a later buffer of the chain)."""

    @property
    def name(self) -> str:
        return self.definition.name if self.definition is not None else f"Rop 0x{self.rop_id:02X}"

    @property
    def return_value(self) -> int | None:
        """ReturnValue of the response; None without a response, or for a ROP that has none."""
        if self.response is None or self.response.value is None:
            return None
        value = self.response.value.get("ReturnValue")
        return int(value) if value is not None else None

    @property
    def return_code(self) -> int | None:
        """The same, also of a response that can be read in part: ReturnValue stands before what cannot."""
        side = self.response
        if side is None or side.value is not None:
            return self.return_value
        known = side.layout is not None and side.definition is not None and side.definition.has_return_value
        if not known or side.length < 6:
            return None
        return int.from_bytes(side.source.data[side.offset + 2 : side.offset + 6], "little")

    @property
    def target_handle(self) -> int | None:
        """What the ROP acts on: the handle in its first input slot."""
        names = self.definition.handles if self.definition is not None else ()
        return self.handles.get(names[0]) if names else None

    @property
    def runs_on(self) -> bool:
        """Whether the answer is RopProgress: a ROP that the client lets run (WantAsynchronous) is not done yet."""
        answer = self.response
        return answer is not None and answer.rop_id == PROGRESS != self.rop_id

    @property
    def ends(self) -> str:
        """Of a RopProgress: the ROP that is done now and whose response this is; '' where it still runs."""
        answer = self.response
        return answer.name if answer is not None and answer.rop_id != PROGRESS == self.rop_id else ""

    @property
    def return_name(self) -> str:
        """Of return_code."""
        return error_name(self.return_code) if self.return_code is not None else ""


@dataclass(slots=True)
class Exchange:
    """One call on the wire with everything that was made of it. number: 1-based, in order of completion."""

    number: int
    call: Call
    session: Session | None
    request_buffers: list[RopBuffer] = field(default_factory=list)
    response_buffers: list[RopBuffer] = field(default_factory=list)
    rops: list[Rop] = field(default_factory=list)
    diagnostics: list[Diagnostic] = field(default_factory=list)

    @property
    def frame(self) -> int:
        """The frame in which the request ended, or the response where the request was not captured."""
        side = self.call.request or self.call.response
        return side.frame if side is not None else 0

    @property
    def time(self) -> float:
        side = self.call.request or self.call.response
        return side.time if side is not None else 0.0

    def request_tree(self) -> Node | None:
        if self.call.request is None:
            return None
        return self.call.request.tree(lambda index, source: _payload(self.request_buffers, index, source))

    def response_tree(self) -> Node | None:
        if self.call.response is None:
            return None
        return self.call.response.tree(lambda index, source: _payload(self.response_buffers, index, source))

    def trees(self) -> Iterator[Node]:
        for tree in (self.request_tree(), self.response_tree()):
            if tree is not None:
                yield tree


def _payload(buffers: list[RopBuffer], index: int, source: ByteSource) -> Node:
    if index < len(buffers):
        return buffers[index].node("ROP buffer")
    return undecoded(source, 0, len(source.data), Severity.BUG, "this payload was not read")
