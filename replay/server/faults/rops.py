"""Faults of single ROPs: buffers that bring nothing, uploads that are refused, versions that are made anew."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping

from dissector.grammar.names import error_code
from dissector.grammar.rops import oxcfxics, oxcmsg
from dissector.model.pcl import PredecessorChangeList, Xid
from replay.server import messages
from replay.server.call import Call, Fields, Handler
from replay.server.errors import ERROR, SERVER_BUSY, SYNC_CONFLICT, RopError
from replay.server.faults.base import Fault, fault, number, seconds
from replay.server.session import MessageObject
from replay.server.transfer import ERROR as TRANSFER_ERROR
from replay.server.transfer import PARTIAL, TransferSource

GET_BUFFER = oxcfxics.SOURCE_GET_BUFFER.rop_id
IMPORTS = tuple(
    definition.rop_id
    for definition in (
        oxcfxics.IMPORT_MESSAGE_CHANGE, oxcfxics.IMPORT_HIERARCHY_CHANGE, oxcfxics.IMPORT_DELETES,
        oxcfxics.IMPORT_READ_STATE_CHANGES, oxcfxics.IMPORT_MESSAGE_MOVE,
    )
)  # fmt: skip


class _OfBuffers(Fault, ABC):
    """A fault of RopFastTransferSourceGetBuffer."""

    chance = "RopFastTransferSourceGetBuffer"

    def around(self) -> Mapping[int, Callable[[Call, Handler], Fields]]:
        return {GET_BUFFER: self._instead}

    def _instead(self, call: Call, handler: Handler) -> Fields:
        source = call.get(TransferSource)
        return self.damage(source) if self.happens() else handler(call)

    @abstractmethod
    def damage(self, source: TransferSource) -> Fields: ...


@fault
class StuckPartial(_OfBuffers):
    name = "stuck-partial"
    about = "Buffers are empty, and TransferStatus says that more is to come."
    rule = "stuck-at-partial"

    def damage(self, source: TransferSource) -> Fields:
        total = min(max(source.steps, 1), 0xFFFF)
        return {
            "TransferStatus": PARTIAL, "InProgressCount": min(source.steps_done, total), "TotalStepCount": total,
            "TransferBuffer": b"",
        }  # fmt: skip


@fault
class Backoff(_OfBuffers):
    name = "backoff"
    about = "Buffers are put off: ecServerBusy with a BackoffTime."
    argument = "TIME that the client is to wait (1s)"
    rule = "backoff-storm"

    def set(self, argument: str) -> None:
        self.milliseconds = int(seconds(argument or "1s") * 1000)

    def damage(self, source: TransferSource) -> Fields:
        raise RopError(SERVER_BUSY, BackoffTime=self.milliseconds, TotalStepCount=1)


@fault
class StreamError(_OfBuffers):
    name = "stream-error"
    about = "A buffer fails, and the stream with it."
    argument = "CODE, a number or a name (ecError)"
    rule = "fasttransfer-error"

    def set(self, argument: str) -> None:
        self.code = _code(argument) if argument else ERROR

    def damage(self, source: TransferSource) -> Fields:
        source.failed = RopError(self.code, TransferStatus=TRANSFER_ERROR)
        raise source.failed


class _Refusing(Fault):
    """Imports fail with a code."""

    chance = "RopSynchronizationImport..."
    default: int

    def set(self, argument: str) -> None:
        self.code = _code(argument) if argument else self.default

    def around(self) -> Mapping[int, Callable[[Call, Handler], Fields]]:
        return dict.fromkeys(IMPORTS, self._instead)

    def _instead(self, call: Call, handler: Handler) -> Fields:
        if self.happens():
            raise RopError(self.code)
        return handler(call)


@fault
class RefuseImport(_Refusing):
    name = "refuse-import"
    about = "What a client uploads is refused."
    argument = "CODE, a number or a name such as SyncObjectDeleted (SyncConflict)"
    rule = "import-refused"
    default = SYNC_CONFLICT


@fault
class UnknownResultCode(_Refusing):
    name = "unknown-result-code"
    about = "What a client uploads is refused with a code that clients do not know."
    argument = "CODE (0x8004C0DE)"
    rule = "unknown-result"
    default = 0x8004C0DE


@fault
class MintChangeKey(Fault):
    name = "mint-change-key"
    about = "A saved message gets a change key of the server's, and a change list that begins anew with it."
    chance = "RopSaveChangesMessage that saves"
    rule = "pcl-lost-predecessor"

    def around(self) -> Mapping[int, Callable[[Call, Handler], Fields]]:
        return {oxcmsg.SAVE_CHANGES_MESSAGE.rop_id: self._instead}

    def _instead(self, call: Call, handler: Handler) -> Fields:
        fields = handler(call)
        message = call.get(MessageObject, field="InputHandleIndex")
        if message.row is None or not self.happens():
            return fields
        mailbox = message.logon.mailbox
        number, key, _ = mailbox.new_change()
        predecessors = PredecessorChangeList.of((Xid.from_bytes(key),)).to_bytes()
        mailbox.store.run(
            "UPDATE messages SET cn = ?, change_key = ?, pcl = ? WHERE mailbox = ? AND id = ?",
            number, key, predecessors, mailbox.id, message.row.id,
        )  # fmt: skip
        message.row = messages.find(mailbox, message.row.id)
        return fields


def _code(text: str) -> int:
    """An error code by number or by name."""
    found = error_code(text)
    return number(text, 1) if found is None else found
