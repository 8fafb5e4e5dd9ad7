"""One ROP being carried out: its request, the objects its handles stand for, and what its answer needs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from dissector.grammar.rops.base import RopDef
from replay.server.errors import DESTINATION_NULL_OBJECT, NOT_SUPPORTED, NULL_OBJECT, RopError
from replay.server.mailbox import Mailbox
from replay.server.session import NO_HANDLE, FolderObject, Logon, MessageObject, ServerObject, Session
from replay.server.store import Store

Fields: TypeAlias = Mapping[str, Any]
"""The fields of a response behind its ReturnValue, by name."""

Found = TypeVar("Found", bound=ServerObject)


class TooSmallError(Exception):
    """The response does not fit; it needs about `size` bytes."""

    def __init__(self, size: int) -> None:
        super().__init__(f"{size} bytes needed")
        self.size = size


class Call:
    """What a handler gets.

    request: the parsed request. handles: the server object handle table, changed in place. room: bytes the response may
    have; whole_room: as many as it could have alone in a payload of full size. params: what build() needs for the
    response. code: the ReturnValue of a success (a warning). again: set by a handler whose ROP may be repeated in
    further payloads of a chain; called with the room there, it gives the fields of the next response, or None.
    threshold: bytes that must be left of the client's buffer for that. opened: the handle that was given.
    """

    def __init__(
        self,
        session: Session,
        definition: RopDef,
        request: Mapping[str, Any],
        handles: list[int],
        room: int,
        whole_room: int = 0x7FF0,
    ) -> None:
        self.session, self.definition, self.request = session, definition, request
        self.handles, self.room, self.whole_room = handles, room, whole_room
        self.params: dict[str, Any] = {"codepage": session.codec}
        self.code = 0
        self.again: Callable[[int], Fields | None] | None = None
        self.threshold = 8 * 1024
        self.opened: int | None = None

    @property
    def store(self) -> Store:
        return self.session.store

    def handle(self, field: str) -> int:
        index = self.request[field]
        return self.handles[index] if index < len(self.handles) else NO_HANDLE

    def thing(self, field: str) -> ServerObject | None:
        """The object a handle field stands for, whatever it is."""
        handle = self.handle(field)
        found = None if handle == NO_HANDLE else self.session.objects.get(handle)
        if found is not None and found.logon is not self.session.logons.get(self.request["LogonId"]):
            return None
        return found

    def get(self, *kinds: type[Found], field: str = "", wrong: int = NOT_SUPPORTED) -> Found:
        """The object of the input handle (or of `field`), of one of the kinds; `wrong` where it is another kind."""
        found = self.thing(field or self.definition.handles[0])
        if found is None:
            raise RopError(NULL_OBJECT)
        if not isinstance(found, kinds):
            raise RopError(wrong)
        return found

    def destination(self, *kinds: type[Found]) -> Found:
        """The object of DestHandleIndex; ecDstNullObject where there is none."""
        found = self.thing("DestHandleIndex")
        if found is None:
            raise RopError(DESTINATION_NULL_OBJECT, DestHandleIndex=self.request["DestHandleIndex"])
        if not isinstance(found, kinds):
            raise RopError(NOT_SUPPORTED)
        return found

    def logon(self) -> Logon:
        """The logon of the ROP: that of its handle."""
        return self.get(ServerObject).logon

    def mailbox(self) -> Mailbox:
        return self.logon().mailbox

    def folder(self, field: str = "") -> FolderObject:
        """A folder, which must still be there."""
        found = self.get(FolderObject, field=field)
        _ = found.folder
        return found

    def message(self) -> MessageObject:
        """A message; ecNullObject for another kind of object, as [MS-OXCMSG] has it."""
        return self.get(MessageObject, wrong=NULL_OBJECT)

    def open(self, thing: ServerObject) -> None:
        """Give a new object a handle, in the slot the client named for it."""
        assert self.definition.output is not None
        index = self.request[self.definition.output]
        self.opened = self.session.add(thing)
        while len(self.handles) <= index:
            self.handles.append(NO_HANDLE)
        self.handles[index] = self.opened


Handler: TypeAlias = Callable[[Call], Fields]
