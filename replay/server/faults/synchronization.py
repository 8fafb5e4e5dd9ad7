"""Faults of downloads and of the state: what goes out, and what the state says of it [MS-OXCFXICS] 3.2.5.3."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import islice

from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.idset import IDSET_REPLGUID, read_idset
from dissector.grammar.rops import oxcfxics as grammar
from dissector.model.idset import EMPTY, IdSet
from replay.server.call import Call, Fields, Handler
from replay.server.download import SyncDownload
from replay.server.faults.base import Fault, fault, number
from replay.server.fxwriter import Piece
from replay.server.syncstate import Choices, Row, Sent, StateUpload, SyncContext, SyncState, Versioned, ids_of

DOWNLOAD = grammar.SYNCHRONIZATION_CONFIGURE.rop_id
COLLECTOR = grammar.OPEN_COLLECTOR.rop_id


class _OfDownloads(Fault, ABC):
    """A fault of the choices that a download makes."""

    chance = "download"
    choices: Callable[..., Choices]

    def around(self) -> Mapping[int, Callable[[Call, Handler], Fields]]:
        return {DOWNLOAD: self._instead}

    def _instead(self, call: Call, handler: Handler) -> Fields:
        fields = handler(call)
        if self.happens():
            assert call.opened is not None
            context = call.session.objects[call.opened]
            assert isinstance(context, SyncDownload)
            context.choices = self.make(context)
        return fields

    @abstractmethod
    def make(self, context: SyncDownload) -> Choices: ...


class _OfState(_OfDownloads, Choices):
    """A fault of the final state alone: it is itself what the download chooses."""

    def make(self, context: SyncDownload) -> Choices:
        return self


class _Counted(_OfDownloads):
    """One with a count of objects. Each download has a count of its own."""

    argument = "COUNT of objects in every download (1)"

    def set(self, argument: str) -> None:
        self.count = number(argument, 1) if argument else 1


@fault
class LoseState(_OfState):
    name = "lose-state"
    about = "The final state holds neither the ids nor the change numbers of what was sent: it is sent again for ever."
    rule = "change-outside-state"

    def state(self, context: SyncContext, before: SyncState, after: SyncState, sent: Sequence[Versioned]) -> SyncState:
        mailbox = context.logon.mailbox
        ids = ids_of(mailbox, [one.id for one in sent]) - before.given
        numbers = ids_of(mailbox, [one.cn for one in sent])
        return replace(
            after,
            given=after.given - ids,
            seen=after.seen - (numbers - before.seen),
            seen_fai=after.seen_fai - (numbers - before.seen_fai),
        )


@fault
class RollBackState(_OfState):
    name = "roll-back-state"
    about = "The final state has forgotten what the client had seen before."
    rule = "state-not-monotonic"

    def state(self, context: SyncContext, before: SyncState, after: SyncState, sent: Sequence[Versioned]) -> SyncState:
        return replace(after, seen=after.seen - before.seen, seen_fai=after.seen_fai - before.seen_fai)


@fault
class DropChange(_Counted):
    name = "drop-change"
    about = "A change is not sent, and the final state says that it was."
    rule = "other-than-announced (where the client asked for progress)"

    class Dropping(Choices):
        def __init__(self, count: int) -> None:
            self.left = count

        def sends(self, row: Versioned) -> bool:
            self.left -= 1
            return self.left < 0

    def make(self, context: SyncDownload) -> Choices:
        return self.Dropping(self.count)


@fault
class Resend(_Counted):
    name = "resend"
    about = "A change that the uploaded state says the client has is sent again."
    rule = "sent-again"

    class Repeating(Choices):
        def __init__(self, count: int) -> None:
            self.left = count

        def lacking(self, rows: list[Row], seen: Callable[[int], bool]) -> list[Row]:
            again = {one.id for one in islice((one for one in rows if seen(one.cn)), self.left)}
            self.left -= len(again)
            return [one for one in rows if one.id in again or not seen(one.cn)]

    def make(self, context: SyncDownload) -> Choices:
        return self.Repeating(self.count)


@fault
class ForgetId(_Counted):
    name = "forget-id"
    about = "An id that the client has, and that was not deleted, is missing in the final MetaTagIdsetGiven."
    rule = "given-lost-valid-id"

    class Forgetting(Choices):
        def __init__(self, count: int) -> None:
            self.count = count

        def state(
            self, context: SyncContext, before: SyncState, after: SyncState, sent: Sequence[Versioned]
        ) -> SyncState:
            lost = IdSet.of(islice((before.given & after.given).ids(), self.count))
            return replace(after, given=after.given - lost)

    def make(self, context: SyncDownload) -> Choices:
        return self.Forgetting(self.count)


@fault
class KeepDeleted(_OfState):
    name = "keep-deleted"
    about = "Deleted ids stay in the final MetaTagIdsetGiven: they are told of at every download."
    rule = "given-keeps-deleted"

    def state(self, context: SyncContext, before: SyncState, after: SyncState, sent: Sequence[Versioned]) -> SyncState:
        return replace(after, given=after.given | before.given)


@fault
class FaiMixup(_OfState):
    name = "fai-mixup"
    about = "The change numbers of normal messages go into MetaTagCnsetSeenFAI in place of MetaTagCnsetSeen."
    rule = "seen-set-mixed-up"

    def state(self, context: SyncContext, before: SyncState, after: SyncState, sent: Sequence[Versioned]) -> SyncState:
        if not context.contents:
            return after
        normal = [one.cn for one in sent if isinstance(one, Sent) and not one.associated]
        numbers = ids_of(context.logon.mailbox, normal)
        return replace(after, seen=after.seen - (numbers - before.seen), seen_fai=after.seen_fai | after.seen)


@fault
class LostReadState(_OfState):
    name = "lost-readstate"
    about = "Read states are told, but MetaTagCnsetRead does not move."
    rule = "read-state-not-moved"

    def state(self, context: SyncContext, before: SyncState, after: SyncState, sent: Sequence[Versioned]) -> SyncState:
        return replace(after, read=before.read)


@fault
class NonCanonicalGlobset(_OfState):
    name = "non-canonical-globset"
    about = "The sets of the final state are written as ranges from the highest to the lowest, some ids twice."
    rule = "set-not-canonical"

    def encoded(self, idset: IdSet) -> bytes:
        parts = []
        for replica, ranges in idset.items():
            assert not isinstance(replica, int)
            parts.append(replica.bytes_le)
            for low, high in (*reversed(ranges), ranges[0]):
                parts.append(b"\x52" + low.to_bytes(6, "big") + high.to_bytes(6, "big"))
            parts.append(b"\0")
        return b"".join(parts)


@fault
class NoState(_OfState):
    name = "no-state"
    about = "The stream ends without a final state."
    rule = "done-without-state"

    def stream(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        begin, end = _marker("IncrSyncStateBegin"), _marker("IncrSyncStateEnd")
        inside = False
        for piece in pieces:
            inside = inside or piece.data == begin
            if not inside:
                yield piece
            if piece.data == end:
                inside = False


@fault
class BrokenStream(_OfState):
    name = "broken-stream"
    about = "A marker that belongs elsewhere stands before the final state."
    rule = "stream-breaks-grammar"

    def stream(self, pieces: Iterator[Piece]) -> Iterator[Piece]:
        begin = _marker("IncrSyncStateBegin")
        for piece in pieces:
            if piece.data == begin:
                yield Piece(_marker("EndAttach"))
            yield piece


@fault
class ChildrenFirst(_OfState):
    name = "children-first"
    about = "Changes come in reverse order: folders before their parents."
    rule = "parent-unknown"

    def lacking(self, rows: list[Row], seen: Callable[[int], bool]) -> list[Row]:
        return super().lacking(rows, seen)[::-1]


def _marker(name: str) -> bytes:
    return MARKER[name].to_bytes(4, "little")


@fault
class IdsetInUploadState(_OfState):
    name = "idset-in-upload-state"
    about = "The state of an upload context contains MetaTagIdsetGiven, and an empty one."
    chance = "upload context"
    rule = "upload-state-with-given"

    def around(self) -> Mapping[int, Callable[[Call, Handler], Fields]]:
        return {COLLECTOR: self._of_collector}

    def _of_collector(self, call: Call, handler: Handler) -> Fields:
        fields = handler(call)
        if self.happens():
            assert call.opened is not None
            context = call.session.objects[call.opened]
            assert isinstance(context, SyncContext)
            context.choices = self
            context.upload = ForgettingGiven()
        return fields

    def tells_given(self, context: SyncContext) -> bool:
        return True


class ForgettingGiven(StateUpload):
    """Does not keep the MetaTagIdsetGiven that was uploaded."""

    def end(self) -> None:
        super().end()
        self.state = replace(self.state, given=EMPTY)


@fault
class ContinueSplit(Fault):
    name = "continue-split"
    about = "Of a state property that comes in several parts only the first one is read."
    chance = "synchronization context"
    rule = "state-upload-split"

    def around(self) -> Mapping[int, Callable[[Call, Handler], Fields]]:
        return {DOWNLOAD: self._instead, COLLECTOR: self._instead}

    def _instead(self, call: Call, handler: Handler) -> Fields:
        fields = handler(call)
        if self.happens():
            assert call.opened is not None
            context = call.session.objects[call.opened]
            assert isinstance(context, SyncContext)
            context.upload = FirstPartOnly()
        return fields


class FirstPartOnly(StateUpload):
    """Reads of every property what its first part holds."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = False

    def begin(self, tag: int, size: int) -> None:
        super().begin(tag, size)
        self._begun = False

    def go_on(self, data: bytes) -> None:
        super().go_on(b"" if self._begun else data)
        self._begun = True

    def read_set(self, data: bytes) -> IdSet:
        return read_idset(data, IDSET_REPLGUID).idset
