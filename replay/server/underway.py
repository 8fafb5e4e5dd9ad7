"""Operations on many messages that a client lets run: done in parts, one with every RopProgress.

With WantAsynchronous the first answer to such a ROP is a RopProgress response; the client asks on with RopProgress
requests, and the answer to the last of them is that of the ROP itself [MS-OXCPRPT] 3.2.5.20, [MS-OXCFOLD] 3.1.5.2.
Between the parts other clients get their turn.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dissector.grammar.rops.oxcprpt import PROGRESS
from replay.server.call import Call, Fields
from replay.server.errors import NOT_SUPPORTED, RopError

PART = 200
"""Messages that are dealt with in one go."""

Work = Callable[[list[int]], bool]
"""Does something to messages; returns whether some were left."""


class Operation:
    """finish: what is to be done behind the last part; returns whether something was left."""

    def __init__(
        self, call: Call, identifiers: Sequence[int], work: Work, finish: Callable[[], bool] = lambda: False
    ) -> None:
        self.definition, self.identifiers, self.work, self.finish = call.definition, list(identifiers), work, finish
        self.done = 0
        self.partial = False

    def go_on(self, call: Call) -> Fields:
        """The next part, and what to answer."""
        part = self.identifiers[self.done : self.done + PART]
        self.partial |= self.work(part)
        self.done += len(part)
        if self.done < len(self.identifiers):
            index, call.definition = _index(call), PROGRESS
            return {
                "InputHandleIndex": index, "LogonId": call.request["LogonId"],
                "CompletedTaskCount": self.done, "TotalTaskCount": len(self.identifiers),
            }  # fmt: skip
        self.partial |= self.finish()
        return self.end(call)

    def end(self, call: Call) -> Fields:
        """The answer of the ROP itself."""
        index = _index(call)
        call.session.operations.pop(call.handles[index], None)
        call.definition = self.definition
        assert self.definition.index is not None
        return {self.definition.index: index, "PartialCompletion": self.partial}


def _index(call: Call) -> int:
    return int(call.request[call.definition.handles[0]])


def carry_out(call: Call, operation: Operation) -> Fields:
    """All at once, or where the client lets it run and there is much to do, in parts."""
    if call.request["WantAsynchronous"] and len(operation.identifiers) > PART:
        call.session.operations[call.handle(call.definition.handles[0])] = operation
        return operation.go_on(call)
    partial = operation.work(operation.identifiers)
    return {"PartialCompletion": operation.finish() or partial}


def progress(call: Call) -> Fields:
    """RopProgress: go on with what is under way on this object, or end it where it is."""
    operation = call.session.operations.get(call.handle("InputHandleIndex"))
    if operation is None:
        raise RopError(NOT_SUPPORTED)
    if call.request["WantCancel"]:
        operation.partial = True
        return operation.end(call)
    return operation.go_on(call)
