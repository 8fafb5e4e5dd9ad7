"""Bad captures for the rules on states, streams and versions: a synchronization with one thing wrong in it."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from typing import Any

from construct import Container

from dissector.grammar.elements import Element, make
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.idset import encode_idset
from dissector.model.ids import ObjectId
from dissector.model.idset import IdSet
from dissector.model.pcl import Xid
from tests.dissector.diagnose.edit import GET, Tape, repeated
from tests.dissector.diagnose.recordings import (
    BEGIN,
    BUSY,
    END,
    FAILED,
    GUID,
    MALFORMED,
    NOT_FOUND,
    contents,
    edited,
    failing,
    fetched,
    final,
    first_only,
    folders,
    gid,
    ids,
    of_message,
    uploads,
    with_set,
    with_value,
    without,
)

CLIENT = uuid.UUID("c11e2700-0000-4000-8000-00000000cafe")
CN, PCL, CHANGE_KEY, SOURCE_KEY, PARENT = 0x67A40014, 0x65E30102, 0x65E20102, 0x65E00102, 0x65E10102
IMPORT, SAVE = "RopSynchronizationImportMessageChange", "RopSaveChangesMessage"
READ, DELETE = "RopSynchronizationImportReadStateChanges", "RopSynchronizationImportDeletes"

# -- state


def state_lost() -> Tape:
    tape = contents()
    tape.upload_state(1, {"MetaTagCnsetSeen": ids((1, 0x60))})
    return tape


def rolled_back() -> Tape:
    """Four synchronizations; the last one begins with the state after the first."""
    tape = contents()
    tape.repeat(19, 35)
    tape.repeat(19, 35)
    tape.final_state(1, {"MetaTagCnsetSeen": ids((1, 0x70))})
    tape.upload_state(2, {"MetaTagCnsetSeen": ids((1, 0x70))})
    tape.final_state(2, {"MetaTagCnsetSeen": ids((1, 0x72))})
    return tape


def not_taken() -> Tape:
    tape = first_only()
    tape.repeat(2, 18)
    return tape


def bootstrap() -> Tape:
    tape = folders()
    tape.calls[12:23] = [repeated(call) for call in tape.calls[3:12]]
    return tape


def split() -> Tape:
    tape = contents()
    wire = encode_idset(ids((1, 0x55), (0x58, 0x6E)))
    tape.upload_state(1, {"MetaTagCnsetSeen": [wire[:20], wire[20:]]})
    tape.final_state(0, {"MetaTagCnsetSeen": ids((1, 0x55), (0x58, 0x6E))})
    tape.final_state(1, {"MetaTagCnsetSeen": ids((1, 0x55))})
    return tape


def sent_again() -> Tape:
    tape = first_only()
    tape.upload_state(0, {"MetaTagCnsetSeen": ids((1, 0x6C))})
    return tape


def given_in_upload() -> Tape:
    tape = uploads()

    def edit(elements: list[Element]) -> list[Element]:
        raw = encode_idset(ids((0x1D0000, 0x1D0001)))
        given = next(one for one in elements if one.name == "MetaTagCnsetSeen")
        return [elements[0], given._replace(tag=0x40170003, raw=struct.pack("<I", len(raw)) + raw), *elements[1:]]

    tape.stream(1, edit)
    return tape


def malformed_set() -> Tape:
    tape = contents()
    commands = b"\x52" + bytes(5) + b"\x01" + bytes(5) + b"\x6e\x77\x00"
    tape.upload_state(1, {"MetaTagCnsetSeen": GUID.bytes_le + commands})
    return tape


def not_canonical() -> Tape:
    tape = contents()
    ranges = b"\x52" + bytes(5) + b"\x40" + bytes(5) + b"\x6e" + b"\x52" + bytes(5) + b"\x01" + bytes(5) + b"\x50\x00"
    tape.upload_state(1, {"MetaTagCnsetSeen": GUID.bytes_le + ranges})
    return tape


def partial() -> Tape:
    def change(element: Element) -> Element:
        if element.name == "IncrSyncMessage":
            return make(0x407A0003, 0xFFFFFFFF)
        return element

    def edit(elements: list[Element]) -> list[Element]:
        made = of_message(0x30034, change)(elements)
        for at, element in enumerate(made):
            if element.name == "PidTagSourceKey" and element.value() == gid(0x30034):
                made[at - 1] = make(MARKER["IncrSyncChgPartial"])
        return made

    return edited(edit)


def told_twice() -> Tape:
    tape = first_only()
    tape.stream(0, with_set("MetaTagIdsetDeleted", IdSet({1: [(0x3000C, 0x3000C), (0x3000E, 0x3000E)]})))
    tape.final_state(0, {"MetaTagIdsetGiven": ids((0x30000, 0x30009), (0x3000D, 0x3000D), (0x3000F, 0x30035))})
    return tape


# -- streams


def aborted() -> Tape:
    tape = uploads()
    tape.remove(GET, 6)
    tape.remove(GET, 5)
    return tape


def stuck() -> Tape:
    tape = first_only()
    at = tape.place(GET)
    tape.calls[at:at] = [fetched(tape.calls[at]) for _ in range(3)]
    return tape


def storm() -> Tape:
    tape = first_only()
    at = tape.place(GET)
    busy = fetched(tape.calls[at], ReturnValue=BUSY, TransferStatus=1, BackoffTime=2000)
    tape.calls[at:at] = [repeated(busy) for _ in range(6)]
    return tape


def failed_get() -> Tape:
    tape = first_only()
    at = tape.place(GET)
    tape.calls[at] = fetched(tape.calls[at], ReturnValue=FAILED, TransferStatus=0)
    return tape


def wrong_size() -> Tape:
    tape = first_only()
    tape.change(BEGIN, 0, TransferBufferSize=99)
    return tape


def error_info() -> Tape:
    def edit(elements: list[Element]) -> list[Element]:
        at = next(index for index, one in enumerate(elements) if one.name == "IncrSyncProgressPerMsg")
        raw = struct.pack("<I", 88) + bytes(88)
        info = make(0x00000102, b"", after=0)._replace(raw=raw)
        return [*elements[:at], make(MARKER["FXErrorInfo"]), info, *elements[at:]]

    return edited(edit)


def fewer() -> Tape:
    def edit(elements: list[Element]) -> list[Element]:
        places = [index for index, one in enumerate(elements) if one.name == "IncrSyncProgressPerMsg"]
        return elements[: places[0]] + elements[places[1] :]

    return edited(edit)


# -- versions


def refused(code: int = NOT_FOUND) -> Tape:
    return failing(uploads(), READ, code)


def retried() -> Tape:
    tape = failing(uploads(), SAVE, FAILED, 2)
    at = tape.place(IMPORT, 2)
    tape.repeat(at, at + 3)
    return tape


def never_saved() -> Tape:
    tape = uploads()
    tape.remove(SAVE, 2)
    return tape


def no_state() -> Tape:
    tape = uploads()
    at = tape.place("RopSynchronizationOpenCollector") + 1
    while any(side.name.startswith("RopSynchronizationUploadState") for _, _, side in tape.calls[at].rops()):
        del tape.calls[at]
    return tape


def change_list(*xids: Xid, counter: int = 0x3000F) -> Tape:
    return edited(of_message(counter, with_value(PCL, list(xids))))


def lost_predecessor() -> Tape:
    def change(element: Element) -> Element:
        element = with_value(CHANGE_KEY, gid(0x71))(element)
        return with_value(PCL, [gid(0x71)])(element)

    tape = uploads()
    tape.stream(4, of_message(0x30034, change), buffers=3)
    return tape


def import_values(tape: Tape, nth: int, **changed: Any) -> list[Container]:
    """The property values of the nth import, some of them changed: by property name."""
    names = {"key": SOURCE_KEY, "change_key": CHANGE_KEY, "pcl": PCL, "time": 0x30080040}
    values = tape.having(IMPORT)[nth][3].value["PropertyValues"]
    wanted = {names[name]: value for name, value in changed.items()}
    return [Container({**one, "PropertyValue": wanted.get(one["PropertyTag"], one["PropertyValue"])}) for one in values]


def conflict(code: int = 0, flags: int = 0) -> Tape:
    """The client's version was made from one before the server's last: 0x50, where the server has 0x6D."""
    tape = uploads()
    mine = Xid(CLIENT, bytes.fromhex("6b042703"))
    tape.change(IMPORT, 2, ImportFlag=flags, PropertyValues=import_values(tape, 2, pcl=[mine, gid(0x50)]))
    return failing(tape, SAVE, code, 2) if code else tape


def unknown_parent() -> Tape:
    return edited(of_message(0x0F, with_value(PARENT, gid(0x777))), folders)


def delete_unknown() -> Tape:
    tape = uploads()
    tape.change(DELETE, 0, PropertyValues=[Container(PropertyTag=0x1102, PropertyValue=[gid(0x39999)])])
    return tape


def not_asked() -> Tape:
    tape = uploads()
    at = tape.place("RopSynchronizationGetTransferState")
    del tape.calls[at : at + 3]
    return tape


BAD: dict[str, Callable[[], Tape | bytes]] = {
    "state-lost": state_lost,
    "state-rolled-back": rolled_back,
    "final-state-not-taken": not_taken,
    "bootstrap-in-mid-life": bootstrap,
    "upload-state-unused": uploads,
    "state-not-monotonic": lambda: final(1, contents, CnsetSeen=ids((1, 0x60))),
    "state-upload-split": split,
    "given-lost-valid-id": lambda: final(IdsetGiven=ids((0x30000, 0x30009), (0x3000D, 0x3001F), (0x30021, 0x30035))),
    "given-keeps-deleted": lambda: final(IdsetGiven=ids((0x30000, 0x30009), (0x3000C, 0x30035))),
    "seen-set-mixed-up": lambda: final(CnsetSeen=ids((1, 0x6C), (0x6E, 0x6E))),
    "change-outside-state": lambda: final(
        CnsetSeen=ids((1, 0x6C), (0x6E, 0x6E)), CnsetSeenFAI=ids((1, 0x55), (0x6E, 0x6E))
    ),
    "outside-range": lambda: edited(of_message(0x3000F, with_value(CN, ObjectId(1, 0x6C0000)))),
    "sent-again": sent_again,
    "read-state-not-moved": lambda: final(CnsetRead=ids((1, 0x60))),
    "upload-state-with-given": given_in_upload,
    "set-malformed": malformed_set,
    "set-not-canonical": not_canonical,
    "partial-of-unknown": partial,
    "told-twice": told_twice,
    "deleted-unknown": lambda: edited(
        with_set("MetaTagIdsetDeleted", IdSet({1: [(0x3000C, 0x3000C), (0x30077, 0x30077)]}))
    ),
    "replid-unmapped": lambda: edited(
        with_set("MetaTagIdsetDeleted", IdSet({1: [(0x3000C, 0x3000C)], 7: [(0x10, 0x12)]}))
    ),
    "stream-aborted": aborted,
    "fasttransfer-error": failed_get,
    "state-upload-refused": lambda: failing(first_only(), END, MALFORMED),
    "state-upload-broken": wrong_size,
    "backoff-storm": storm,
    "stuck-at-partial": stuck,
    "stream-breaks-grammar": lambda: edited(without(("IncrSyncDel",))),
    "done-without-state": lambda: edited(
        without(("IncrSyncStateBegin", "IncrSyncStateEnd", "MetaTagIdsetGiven", "MetaTagCnsetSeen",
                 "MetaTagCnsetSeenFAI", "MetaTagCnsetRead"))
    ),
    "error-in-stream": error_info,
    "other-than-announced": fewer,
    "import-refused": refused,
    "unknown-result": lambda: refused(0x0000FACE),
    "import-retried-unchanged": retried,
    "import-never-saved": never_saved,
    "collector-without-state": no_state,
    "pcl-broken": lambda: change_list(gid(0x2D)),
    "pcl-lost-predecessor": lost_predecessor,
    "conflict": conflict,
    "parent-unknown": unknown_parent,
    "delete-of-unknown": delete_unknown,
    "state-not-fetched": not_asked,
}  # fmt: skip
"""By rule: what makes it fire."""
HOW: dict[str, str] = {
    "state-lost": "the second state that the client uploads lacks change numbers",
    "state-rolled-back": "four synchronizations; the last one begins with the state after the first",
    "final-state-not-taken": "the same synchronization twice, with the same uploaded state",
    "bootstrap-in-mid-life": "the second hierarchy synchronization uploads empty sets",
    "upload-state-unused": "as recorded: the client downloads with the state from before its upload",
    "state-not-monotonic": "the final MetaTagCnsetSeen lacks numbers that were uploaded",
    "state-upload-split": "MetaTagCnsetSeen is uploaded in two parts, the final one has only the first part's range",
    "given-lost-valid-id": "one id is taken out of the final MetaTagIdsetGiven",
    "given-keeps-deleted": "deleted ids are put back into the final MetaTagIdsetGiven",
    "seen-set-mixed-up": "a normal message's number is in the final MetaTagCnsetSeenFAI alone",
    "change-outside-state": "a message's number is in neither set of the final state",
    "outside-range": "a PidTagChangeNumber far above all of its replica",
    "sent-again": "the uploaded MetaTagCnsetSeen has the numbers of what comes down",
    "read-state-not-moved": "read states come down, the final MetaTagCnsetRead is the uploaded one",
    "upload-state-with-given": "MetaTagIdsetGiven with ids missing in the state of an upload",
    "set-malformed": "a GLOBSET with a command that does not exist",
    "set-not-canonical": "a GLOBSET with overlapping ranges out of order",
    "partial-of-unknown": "a new message is made a partial change",
    "told-twice": "a changed message is also in MetaTagIdsetDeleted",
    "deleted-unknown": "MetaTagIdsetDeleted has an id that was never given",
    "replid-unmapped": "MetaTagIdsetDeleted has ids under REPLID 7",
    "stream-aborted": "the last RopFastTransferSourceGetBuffers are left out",
    "fasttransfer-error": "RopFastTransferSourceGetBuffer fails",
    "state-upload-refused": "RopSynchronizationUploadStateStreamEnd fails with ecRpcFormat",
    "state-upload-broken": "another size is announced than comes",
    "backoff-storm": "six answers ecServerBusy before the first buffer",
    "stuck-at-partial": "three empty buffers with TransferStatus Partial",
    "stream-breaks-grammar": "IncrSyncDel is taken out before the deletions",
    "done-without-state": "the final state is taken out of the stream",
    "error-in-stream": "an FXErrorInfo in the place of a message",
    "other-than-announced": "one message fewer than ProgressInformation says",
    "import-refused": "read states are refused with ecNotFound; each known code has a test",
    "unknown-result": "read states are refused with 0xFACE",
    "import-retried-unchanged": "saving fails, the same import comes again",
    "import-never-saved": "RopSaveChangesMessage is left out",
    "collector-without-state": "the state upload is left out",
    "pcl-broken": "a change list without its own change key, out of order, or with a namespace twice",
    "pcl-lost-predecessor": "a message comes back with a change list that was begun anew",
    "conflict": "the client's change list does not include the server's last version",
    "parent-unknown": "a folder below a parent that was never given",
    "delete-of-unknown": "the client deletes a source key that no state contains",
    "state-not-fetched": "RopSynchronizationGetTransferState is left out",
}
"""By rule: what is wrong in its bad capture."""
