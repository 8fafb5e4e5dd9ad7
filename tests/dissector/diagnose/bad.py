"""A bad capture for every rule: a recorded conversation with one thing wrong in it."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from construct import Container

from dissector.grammar.base import build
from dissector.grammar.elements import Element, make
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.idset import encode_idset
from dissector.model.ids import ObjectId
from dissector.model.idset import IdSet
from dissector.model.pcl import Xid
from dissector.pipeline import dissect
from dissector.session.exchange import Exchange
from tests.conftest import ROOT, shared
from tests.dissector.diagnose.edit import GET, Spoken, Tape, repeated, replaced, rop_response

GUID = uuid.UUID("00000001-18a5-6f7b-bcdc-ea1ed03c5657")
CLIENT = uuid.UUID("c11e2700-0000-4000-8000-00000000cafe")
CN, PCL, CHANGE_KEY, SOURCE_KEY, PARENT = 0x67A40014, 0x65E30102, 0x65E20102, 0x65E00102, 0x65E10102
IMPORT, SAVE = "RopSynchronizationImportMessageChange", "RopSaveChangesMessage"
READ, DELETE = "RopSynchronizationImportReadStateChanges", "RopSynchronizationImportDeletes"
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


def final(nth: int = 0, tape: Callable[[], Tape] = first_only, **sets: Any) -> Tape:
    made = tape()
    made.final_state(nth, {f"MetaTag{name}": value for name, value in sets.items()})
    return made


def split() -> Tape:
    tape = contents()
    wire = encode_idset(ids((1, 0x55), (0x58, 0x6E)))
    tape.upload_state(1, {"MetaTagCnsetSeen": [wire[:20], wire[20:]]})
    tape.final_state(0, {"MetaTagCnsetSeen": ids((1, 0x55), (0x58, 0x6E))})
    tape.final_state(1, {"MetaTagCnsetSeen": ids((1, 0x55))})
    return tape


def edited(edit: Callable[[list[Element]], list[Element]], tape: Callable[[], Tape] = first_only, nth: int = 0) -> Tape:
    made = tape()
    made.stream(nth, edit)
    return made


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


# -- handles


def after_release() -> Tape:
    tape = first_only()
    at = tape.place(GET)
    again = fetched(tape.calls[at], ReturnValue=NULL_OBJECT, TransferStatus=0)
    tape.calls.insert(at + 2, again)
    return tape


def wrong_object() -> Tape:
    tape = first_only()
    at = tape.place(GET)
    bad = fetched(tape.calls[at], ReturnValue=0x80040102, TransferStatus=0)
    bad.requests[0].handles[0] = 0x1
    tape.calls.insert(at, bad)
    return tape


def null_object() -> Tape:
    tape = first_only()
    at = tape.place(BEGIN)
    tape.calls.insert(at, repeated(tape.calls[at]))
    return failing(tape, BEGIN, NULL_OBJECT)


def leak() -> Tape:
    tape = first_only()
    tape.remove("RopRelease")
    return tape


def many_objects() -> Tape:
    tape = first_only()
    at = tape.place("RopOpenFolder")
    made = []
    for number in range(420):
        one = repeated(tape.calls[at])
        one.responses[0].handles = [one.responses[0].handles[0], 0x1000 + number]
        made.append(one)
    tape.calls[at:at] = made
    return tape


# -- calls


def answered(code: int | None = None, status: str = "200 OK") -> Tape:
    tape = first_only()
    call = tape.calls[4]
    assert call.response_head is not None
    head = [one for one in call.response_head[1:] if code is None or not one.lower().startswith("x-responsecode")]
    call.response_head = [f"HTTP/1.1 {status}", *head, *([f"X-ResponseCode: {code}"] if code is not None else [])]
    call.responses, call.response_body = [], b""
    return tape


def reopened() -> Tape:
    """The session is not known any more; the client connects again."""
    tape = answered(10)
    tape.calls[5:] = [repeated(call) for call in tape.calls[:4]]
    return tape


def stale_cookie() -> Tape:
    """The refused request has a cookie from before."""
    tape = answered(15)
    call = tape.calls[4]
    before = next(line for line in tape.calls[3].request_head if line.lower().startswith("cookie:"))
    call.request_head = [before if line.lower().startswith("cookie:") else line for line in call.request_head]
    return tape


def refused_logons() -> Tape:
    tape = answered(status="401 Unauthorized")
    tape.repeat(4, 4)
    tape.repeat(4, 5)
    return tape


def execute_failed() -> Tape:
    tape = first_only()
    call = tape.calls[4]
    call.responses = []
    call.response_body = b"PROCESSING\r\nDONE\r\n\r\n" + struct.pack("<5I", 0, MALFORMED, 0, 0, 0)
    return tape


def retry() -> Tape:
    tape = first_only()
    tape.calls.insert(4, repeated(tape.calls[4]))
    call = tape.calls[4]
    assert call.response_head is not None
    call.response_head[0] = "HTTP/1.1 503 Service Unavailable"
    call.responses, call.response_body = [], b""
    return tape


def slow() -> Tape:
    tape = first_only()
    tape.calls[4].delay = 12.5
    return tape


def silent() -> Tape:
    tape = first_only()
    lost = repeated(tape.calls[4])
    lost.response_head, lost.connection = None, 9
    tape.calls.insert(4, lost)
    tape.calls[6].pause = 20
    return tape


def garbage() -> Tape:
    tape = first_only()
    _, payload, number, side = tape.having("RopSynchronizationConfigure")[0]
    raw = payload.rops[number][1]
    payload.put(number, side, side.value, raw[:-3])
    return tape


def hole() -> Tape:
    tape = uploads()
    tape.having(GET, response=True)[5][0].lost = 5000
    return tape


# -- RPC: bytes of the recording itself are changed


def patched(find: Callable[[Exchange], list[tuple[int, int, bytes]]]) -> bytes:
    """outlook2003-exchange2003.pcap with some bytes changed. find gives (frame, offset in it, bytes) of an exchange."""
    path = shared("captures", "real", "outlook2003-exchange2003.pcap")
    data = bytearray(path.read_bytes())
    records, at = [0], 24
    while at < len(data):
        records.append(at + 16)
        at += 16 + struct.unpack_from("<I", data, at + 8)[0]
    with dissect(path) as dissection:
        for exchange in dissection.exchanges():
            for frame, offset, new in find(exchange):
                start = records[frame] + offset
                data[start : start + len(new)] = new
    return bytes(data)


def fault() -> bytes:
    """A response becomes a fault: PDU type 3, and the status where the context handle began."""

    def find(exchange: Exchange) -> list[tuple[int, int, bytes]]:
        if exchange.number != 40 or exchange.call.response is None:
            return []
        pdu = exchange.call.response.envelope.message.pdus[0]  # type: ignore[attr-defined]
        (kind, *_), (status, *_) = pdu.locate(2, 1), pdu.locate(24, 4)
        return [(kind.frame, kind.offset, b"\x03"), (status.frame, status.offset, struct.pack("<I", 0x1C00001D))]

    return patched(find)


def null_context() -> bytes:
    def find(exchange: Exchange) -> list[tuple[int, int, bytes]]:
        if exchange.number != 40 or exchange.call.response is None:
            return []
        stub = exchange.call.response.envelope.message.stub  # type: ignore[attr-defined]
        return [(one.frame, one.offset, bytes(one.length)) for one in stub.locate(0, 20)]

    return patched(find)


def address_book() -> bytes:
    """The second NspiBind is refused like the first."""

    def find(exchange: Exchange) -> list[tuple[int, int, bytes]]:
        if exchange.call.name != "NspiBind" or exchange.call.response is None or exchange.call.response.return_code:
            return []
        stub = exchange.call.response.envelope.message.stub  # type: ignore[attr-defined]
        (code,) = stub.locate(len(stub.data) - 4, 4)
        return [(code.frame, code.offset, struct.pack("<I", 0x80040111))]

    return patched(find)


def without_calls() -> Tape:
    tape = first_only()
    tape.calls.clear()
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
    "use-after-release": after_release,
    "wrong-object": wrong_object,
    "null-object": null_object,
    "handle-leak": leak,
    "too-many-objects": many_objects,
    "response-code": lambda: answered(10),
    "session-reopened": reopened,
    "http-status": lambda: answered(status="503 Service Unavailable"),
    "rpc-fault": fault,
    "call-failed": execute_failed,
    "session-gone": null_context,
    "call-retried": retry,
    "slow-call": slow,
    "never-answered": silent,
    "rop-malformed": garbage,
    "capture-damaged": hole,
    "stream-has-holes": hole,
    "packets-missing": hole,
    "rop-failed": lambda: failing(uploads(), "RopGetLocalReplicaIds", NOT_FOUND),
    "property-refused": uploads,
    "address-book-refused": address_book,
    "nothing-to-diagnose": without_calls,
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
    "use-after-release": "RopFastTransferSourceGetBuffer once more behind RopRelease",
    "wrong-object": "RopFastTransferSourceGetBuffer on the handle of the folder",
    "null-object": "ecNullObject for a context that was not released",
    "handle-leak": "RopRelease is left out",
    "too-many-objects": "420 folders are opened",
    "response-code": "X-ResponseCode 10; one more test with a stale cookie",
    "session-reopened": "X-ResponseCode 10, then Connect",
    "http-status": "HTTP 503; four times 401 in one more test",
    "rpc-fault": "a response is made a fault PDU",
    "call-failed": "Execute returns ecRpcFormat",
    "session-gone": "the context handle in a response is null",
    "call-retried": "HTTP 503, then the same request again",
    "slow-call": "an answer after 12.5 s",
    "never-answered": "a request without response, 20 s before the end",
    "rop-malformed": "a request that is 3 bytes too short",
    "capture-damaged": "5,000 bytes of a response are missing",
    "stream-has-holes": "5,000 bytes of a response are missing",
    "packets-missing": "5,000 bytes of a response are missing",
    "rop-failed": "RopGetLocalReplicaIds fails with ecNotFound",
    "property-refused": "as recorded: the server does not let PidTagMessageFlags be set",
    "address-book-refused": "every NspiBind is refused",
    "nothing-to-diagnose": "a capture without any call",
}
"""By rule: what is wrong in its bad capture."""

HOLE = {"capture-damaged", "stream-has-holes", "packets-missing"}
ALONG: dict[str, set[str]] = {
    "stream-breaks-grammar": {"given-lost-valid-id"},
    "done-without-state": {"stream-breaks-grammar"},
    "import-retried-unchanged": {"import-refused"},
    "null-object": {"state-upload-refused"},
    "session-reopened": {"response-code", "state-upload-broken", "stream-aborted"},
    "call-retried": {"http-status"},
    "capture-damaged": HOLE,
    "stream-has-holes": HOLE,
    "packets-missing": HOLE,
}
"""By rule: which others its bad capture makes fire as well, since one thing follows from the other."""


def write(name: str, folder: Path) -> Path:
    """The bad capture of a rule as a file."""
    made = BAD[name]()
    path = folder / f"{name}.pcap"
    if isinstance(made, bytes):
        path.write_bytes(made)
        return path
    return made.write(path)
