"""A captured ROP request and an Identity become the bytes to send, through the grammar's build.

Ids are replaced wherever they stand in the value: folder and message ids, long-term ids, source keys, change keys and
predecessor change lists, entry ids, DNs of the mailbox, tags of named properties. A ROP in which nothing changes is
sent byte for byte as it was captured. What was built anew is read back before it is used.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping
from typing import Any

from construct import ConstructError, Container

from dissector.grammar.base import GrammarError, build
from dissector.grammar.reading import parse
from dissector.model.ids import LongTermId, ObjectId
from dissector.model.pcl import PredecessorChangeList, Xid
from dissector.node import Undecoded
from dissector.session.exchange import RopSide
from replay.identity import Identity, UnmappedError

CHANGES = frozenset({0x65E2, 0x65E3, 0x67A4})
"""Property ids (PidTagChangeKey, PidTagPredecessorChangeList, PidTagChangeNumber) that hold changes, not objects."""
CHANGE_FIELDS = frozenset({"PredecessorChangeList", "ChangeNumber"})
"""Fields of RopSynchronizationImportMessageMove that do."""

TAG_FIELDS = frozenset({"PropertyTag", "PropertyTag1", "PropertyTag2"})
TAG_LISTS = frozenset({"PropertyTags", "ExcludedTags", "RecipientColumns"})
FIRST_NAMED = 0x80000000

DERIVED = re.compile(r"(Size|Count|Length)$|^NoOf|^Cb$")
"""Names of fields that say how long or how many something else is: built anew where that has changed."""

GLOBAL_IDS = (
    ("DatabaseGuid", "GlobalCounter"),
    ("FolderDatabaseGuid", "FolderGlobalCounter"),
    ("MessageDatabaseGuid", "MessageGlobalCounter"),
)
"""Fields of entry ids that are a global id together."""


class RewriteError(Exception):
    """A request whose new values cannot be built, or are read back as something else."""


class Rewriter:
    """Rewrites the values of one request. notes: what was not sure about it, and what that is about."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.notes: list[tuple[str, str]] = []

    def request(self, side: RopSide, value: Any, changes: Mapping[str, Any] | None = None) -> bytes:
        """The bytes of a captured request. value: its value, perhaps edited. changes: fields to set.

        Raises UnmappedError for an id without a counterpart, RewriteError where the bytes cannot be made.
        """
        made = self.value(value, changes)
        original = side.source.data[side.offset : side.offset + side.length]
        if made == side.value:
            return original
        params = self._params(side.params)
        for derive in (True, False):
            try:
                data = build(side.layout, _without_sizes(made, side.value) if derive else made, **params)
                if _same(parse(side.layout, data, **params)[0], made):
                    return data
            except (ConstructError, GrammarError):
                continue
        raise RewriteError("its request cannot be built with the ids of the server")

    def value(self, value: Any, changes: Mapping[str, Any] | None = None) -> Any:
        """A copy of a request's value with every captured id replaced. Raises UnmappedError."""
        made = self._walk(value, change=False)
        made.update(changes or {})
        return made

    def _params(self, params: Mapping[str, Any]) -> dict[str, Any]:
        """What the layout was given when the captured request was read, with live ids of named properties."""
        made = dict(params)
        if made.get("named") and self.identity.named:
            named = self.identity.named
            made["named"] = {named.get(number, number): name for number, name in made["named"].items()}
        return made

    def _walk(self, value: Any, change: bool) -> Any:
        if isinstance(value, ObjectId):
            return self._change_number(value) if change else self.identity.object_id(value)
        if isinstance(value, LongTermId):
            return self.identity.long_term_id(value)
        if isinstance(value, Xid):
            return self._xid(value, change)
        if isinstance(value, uuid.UUID):
            return self.identity.replicas.get(value, value)
        if isinstance(value, str):
            return self._name(value)
        if type(value) is bytes and value.startswith(b"EX:/"):
            return self._name(value.decode("latin-1").rstrip("\0")).encode("latin-1", "replace") + b"\0"
        if isinstance(value, dict):
            return self._structure(value, change)
        if isinstance(value, list):
            made = [self._walk(item, change) for item in value]
            if change and made != value and all(isinstance(item, Xid) for item in made):
                return list(PredecessorChangeList.of(made))  # its order is that of the GUIDs
            return made
        return value

    def _structure(self, value: dict[str, Any], change: bool) -> Container:
        if "OffsetDN" in value or "OffsetSmtpAddress" in value:
            return Container(value)  # offsets into itself: as it was
        tag = value.get("PropertyTag")
        inside = change or (isinstance(tag, int) and tag >> 16 in CHANGES)
        made = Container()
        for name, item in value.items():
            if name in TAG_FIELDS and isinstance(item, int):
                made[name] = self.tag(item)
            elif name in TAG_LISTS and isinstance(item, list):
                made[name] = [self.tag(one) if isinstance(one, int) else one for one in item]
            else:
                made[name] = self._walk(item, inside or name in CHANGE_FIELDS)
        if "PropertyIds" in value:
            made["PropertyIds"] = [self.identity.named.get(one, one) for one in value["PropertyIds"]]
        for guid, counter in GLOBAL_IDS:
            if guid in value and value[counter] and self.identity.own(value[guid]):
                made[guid], made[counter], _ = self.identity.long_term_id(LongTermId(value[guid], value[counter]))
        return made

    def tag(self, tag: int) -> int:
        """A property tag; that of a named property with the id that the live server gave the name."""
        if tag < FIRST_NAMED:
            return tag
        return self.identity.named.get(tag >> 16, tag >> 16) << 16 | tag & 0xFFFF

    def _change_number(self, value: ObjectId) -> ObjectId:
        live = self.identity.change_number(value)
        if live is None:
            self.notes.append(("a change number that was never seen on the server is sent as captured", str(value)))
        return live or value

    def _xid(self, value: Xid, change: bool) -> Xid:
        if not change:
            return self.identity.source_key(value)
        live, sure = self.identity.change_key(value)
        if not sure:
            self.notes.append(
                ("a change that was never seen on the server keeps its count under the live GUID", str(value))
            )
        return live

    def _name(self, value: str) -> str:
        """A DN, or an address as a search key: EX: and the DN in upper case."""
        if not value.startswith("EX:/"):
            return self.identity.dn(value) or value
        live = self.identity.dn(value[3:])
        return value if live is None else "EX:" + live.upper()


def _without_sizes(value: Any, before: Any) -> Any:
    """A copy without the sizes and counts that stand beside something that changed."""
    if isinstance(value, dict) and isinstance(before, dict):
        changed = any(value[name] != before.get(name) for name in value)
        return Container(
            (name, _without_sizes(item, before.get(name)))
            for name, item in value.items()
            if not (changed and isinstance(item, int) and not isinstance(item, bool) and DERIVED.search(name))
        )
    if isinstance(value, list) and not isinstance(value, Undecoded) and isinstance(before, list):
        return [
            _without_sizes(item, before[index] if index < len(before) else None) for index, item in enumerate(value)
        ]
    return value


def _same(read: Any, meant: Any) -> bool:
    """Whether what was read back is what was meant, sizes aside."""
    if isinstance(meant, dict) and isinstance(read, dict):
        return all(
            _same(read.get(name), item) or (isinstance(item, int | None) and DERIVED.search(name) is not None)
            for name, item in meant.items()
        )
    if isinstance(meant, list) and isinstance(read, list):
        return len(read) == len(meant) and all(map(_same, read, meant))
    return bool(read == meant)


__all__ = ["RewriteError", "Rewriter", "UnmappedError"]
