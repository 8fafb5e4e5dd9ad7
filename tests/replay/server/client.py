"""A small MAPI/HTTP client for the tests: requests built and responses read with the dissector's grammar."""

from __future__ import annotations

import struct
import uuid
from typing import Any

import httpx

from dissector.emsmdb import buffers
from dissector.grammar.base import build
from dissector.grammar.envelopes import MAILBOX
from dissector.grammar.reading import parse
from dissector.grammar.rops import BY_NAME, ROPS
from dissector.source import ByteSource

PLAIN: dict[str, Any] = {"trust_env": False, "verify": False}
"""Options of httpx for plain HTTP on this machine: no proxy, and no authorities, whose reading takes long."""
NONE = 0xFFFFFFFF
CHAIN = 4


def rop_buffer(requests: bytes, handles: list[int]) -> bytes:
    return struct.pack("<H", len(requests) + 2) + requests + struct.pack(f"<{len(handles)}I", *handles)


class Client:
    """One session. Not for several threads at once."""

    def __init__(self, server: Any, user: str | None = None, password: str | None = None) -> None:
        self.server = server
        self.auth = (user or server.user, password or server.password)
        self.http = httpx.Client(timeout=60, **PLAIN)
        self.cookies: dict[str, str] = {}
        self.request_guid, self.client_guid = uuid.uuid4(), uuid.uuid4()
        self.counter = 0
        self.columns: dict[int, tuple[int, ...]] = {}
        self.elapsed = b""
        self.notified: list[Any] = []

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *exception: object) -> None:
        self.http.close()

    # HTTP.

    def post(
        self, kind: str, body: bytes = b"", headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        self.counter += 1
        sent = {
            "Content-Type": "application/mapi-http",
            "X-RequestType": kind,
            "X-RequestId": f"{{{self.request_guid}}}:{self.counter}",
            "X-ClientInfo": f"{{{self.client_guid}}}:1",
            "X-ClientApplication": "Outlook/16.0.17328.20000",
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            **(headers or {}),
        }
        sent = {name: value for name, value in sent.items() if value}
        url = options.pop("url", self.server.url)
        self.http.cookies.clear()
        response = self.http.post(url, content=body, headers=sent, auth=options.pop("auth", self.auth), **options)
        for cookie in response.headers.get_list("set-cookie"):
            name, _, value = cookie.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response

    def body(self, response: httpx.Response) -> bytes:
        """The binary body behind the meta-tags."""
        assert response.status_code == 200
        assert response.headers["x-responsecode"] == "0", response.text
        lines, _, body = response.content.partition(b"\r\n\r\n")
        tags = lines.split(b"\r\n")
        assert tags[0] == b"PROCESSING"
        assert b"DONE" in tags
        assert all(tag == b"PENDING" for tag in tags[1 : tags.index(b"DONE")])
        self.elapsed = lines
        return body

    def request(self, kind: str, **fields: Any) -> Any:
        response = self.post(kind, build(MAILBOX[kind].request, {"AuxiliaryBuffer": b"", **fields}))
        body = self.body(response)
        assert body[:4] == bytes(4), f"StatusCode {body[:4].hex()}"
        value, end = parse(MAILBOX[kind].response, body)
        assert end == len(body)
        return value

    def connect(self, dn: str = "", code_page: int = 1252) -> Any:
        return self.request("Connect", UserDn=dn, Flags=0, DefaultCodePage=code_page, LcidSort=0x409, LcidString=0x409)

    def disconnect(self) -> Any:
        return self.request("Disconnect")

    # ROP buffers.

    def raw(self, buffer: bytes, flags: int = 3, max_out: int = 0x10008) -> Any:
        return self.request("Execute", Flags=flags, RopBuffer=buffer, MaxRopOut=max_out)

    def payloads(self, answer: Any) -> list[bytes]:
        assert answer["ErrorCode"] == 0, hex(answer["ErrorCode"])
        raw = answer["RopBuffer"]
        chain = buffers.chain(ByteSource("RopBuffer", raw), 0, len(raw), "payload")
        assert not chain.diagnostics
        assert chain.rest == len(raw)
        for part in chain.parts:
            assert part.size <= 0x8000
        return [part.plain.data for part in chain.parts]

    def execute(
        self, requests: bytes, handles: list[int], flags: int = 3, max_out: int = 0x10008, **packing: Any
    ) -> list[tuple[bytes, list[int]]]:
        """[(response ROPs, handles)] of every payload."""
        answer = self.raw(buffers.pack([rop_buffer(requests, handles)], **packing), flags, max_out)
        found = []
        for payload in self.payloads(answer):
            size = struct.unpack_from("<H", payload)[0]
            found.append((payload[2:size], [one for (one,) in struct.iter_unpack("<I", payload[size:])]))
        return found

    def request_bytes(self, name: str, **fields: Any) -> bytes:
        return build(BY_NAME[name].request, fields, logon_flags=1)

    def responses(self, data: bytes, **params: Any) -> list[Any]:
        """The response ROPs in data, read to the last byte."""
        found, at = [], 0
        while at < len(data):
            definition = ROPS[data[at]] if data[at] != 0x20 else BY_NAME["RopGetMessageStatus"]
            code = int.from_bytes(data[at + 2 : at + 6], "little") if definition.has_return_value else 0
            given = params
            if definition.name == "RopNotify":
                given = {"columns": self.columns.get(int.from_bytes(data[at + 1 : at + 5], "little"), ())}
            value, at = parse(definition.response_layout(code), data, at, logon_flags=1, **given)
            value["Name"] = definition.name
            if definition.name == "RopNotify":
                self.notified.append(value["NotificationData"])
                self.notified[-1]["Handle"] = value["NotificationHandle"]
            else:
                found.append(value)
        return found

    def call(self, name: str, *handles: int, expect: int | None = 0, params: Any = None, **fields: Any) -> Any:
        """One ROP on the handles given, in the order of its handle fields. Returns the response.

        The new handle of a ROP that opens something is in response["Handle"]. expect: the ReturnValue there must be.
        """
        definition = BY_NAME[name]
        table = [*handles, *([NONE] if definition.output else [])]
        indexes = dict(zip((*definition.handles, *filter(None, [definition.output])), range(len(table)), strict=True))
        if name in ("RopSaveChangesMessage", "RopSaveChangesAttachment", "RopSetMessageReadFlag"):
            indexes = {"InputHandleIndex": 0, "ResponseHandleIndex": 0}
        options = {key: fields.pop(key) for key in ("flags", "max_out", "compress", "xor") if key in fields}
        given = dict(params or {})
        if handles and handles[0] in self.columns:
            given.setdefault("columns", self.columns[handles[0]])
        if "PropertyTags" in fields:
            given.setdefault("property_tags", tuple(fields["PropertyTags"]))
        parts = self.execute(self.request_bytes(name, **indexes, **fields), table, **options)
        found = [one for data, _ in parts for one in self.responses(data, **given)]
        if definition.index is None:
            return found
        response = found[0]
        response["Handle"] = parts[0][1][indexes[definition.output]] if definition.output else None
        response["More"] = found[1:]
        if expect is not None:
            assert response["ReturnValue"] == expect, f"{name}: 0x{response['ReturnValue']:08X}"
            if name == "RopSetColumns" and not expect:
                self.columns[handles[0]] = tuple(fields["PropertyTags"])
        return response

    def told(self) -> list[Any]:
        """The NotificationData that came since the last time."""
        found, self.notified = self.notified, []
        return found

    # What tests do all the time.

    def logon(self, dn: str = "") -> Any:
        """The logon response; its Handle is the logon's."""
        fields = {"Essdn": dn} if dn else {"EssdnSize": 0}
        return self.call("RopLogon", LogonFlags=1, OpenFlags=0x01000000, **fields)

    def open_folder(self, logon: int, folder: Any, **more: Any) -> int:
        return int(self.call("RopOpenFolder", logon, FolderId=folder, OpenModeFlags=0, **more)["Handle"])

    def create_folder(self, parent: int, name: str, kind: int = 1, existing: bool = False, expect: int = 0) -> Any:
        return self.call(
            "RopCreateFolder", parent, FolderType=kind, UseUnicodeStrings=True, OpenExisting=existing,
            DisplayName=name, Comment="", expect=expect,
        )  # fmt: skip

    def create_message(self, parent: int, folder: Any, associated: bool = False) -> int:
        answer = self.call("RopCreateMessage", parent, CodePageId=0x0FFF, FolderId=folder, AssociatedFlag=associated)
        return int(answer["Handle"])

    def open_message(self, parent: int, folder: Any, message: Any, mode: int = 1, **more: Any) -> Any:
        return self.call(
            "RopOpenMessage", parent, CodePageId=0x0FFF, FolderId=folder, OpenModeFlags=mode, MessageId=message, **more
        )

    def save(self, message: int, flags: int = 0x0A & 2, expect: int = 0) -> Any:
        response = self.call("RopSaveChangesMessage", message, SaveFlags=flags, expect=expect)
        return response.get("MessageId")

    def set(self, thing: int, *pairs: tuple[int, Any], expect: int = 0) -> Any:
        values = [{"PropertyTag": tag, "PropertyValue": value} for tag, value in pairs]
        return self.call("RopSetProperties", thing, PropertyValues=values, expect=expect)

    def get(self, thing: int, *tags: int, unicode: bool = True) -> list[Any]:
        """Values in the order of the tags; an error code is an Error."""
        response = self.call(
            "RopGetPropertiesSpecific", thing, PropertySizeLimit=0, WantUnicode=unicode, PropertyTags=list(tags)
        )
        return row_values(response["RowData"], tags)

    def rows(
        self, table: int, count: int = 1000, forward: bool = True, flags: int = 0, **options: Any
    ) -> list[list[Any]]:
        response = self.call(
            "RopQueryRows", table, QueryRowsFlags=flags, ForwardRead=forward, RowCount=count, **options
        )
        found = [row for one in (response, *response["More"]) for row in one["RowData"]]
        return [row_values(row, self.columns[table]) for row in found]

    def table(self, name: str, thing: int, *columns: int, flags: int = 0) -> int:
        handle = self.call(name, thing, TableFlags=flags)["Handle"]
        self.call("RopSetColumns", handle, SetColumnsFlags=0, PropertyTags=list(columns))
        return int(handle)

    def write_stream(self, thing: int, tag: int, data: bytes, chunk: int = 30000) -> None:
        stream = self.call("RopOpenStream", thing, PropertyTag=tag, OpenModeFlags=2)["Handle"]
        for at in range(0, len(data), chunk):
            part = data[at : at + chunk]
            assert self.call("RopWriteStream", stream, Data=part)["WrittenSize"] == len(part)
        self.call("RopCommitStream", stream)
        self.call("RopRelease", stream)

    def read_stream(self, thing: int, tag: int) -> bytes:
        opened = self.call("RopOpenStream", thing, PropertyTag=tag, OpenModeFlags=0)
        data = b""
        while True:
            part = self.call("RopReadStream", opened["Handle"], ByteCount=30000)["Data"]
            if not part:
                break
            data += part
        assert len(data) == opened["StreamSize"]
        self.call("RopRelease", opened["Handle"])
        return data


class Error(int):
    """An error code in place of a value."""

    def __repr__(self) -> str:
        return f"Error(0x{int(self):08X})"


def row_values(row: Any, tags: Any) -> list[Any]:
    values = []
    for tag, entry in zip(tags, row["ValueArray"], strict=True):
        if row["Flag"]:
            values.append(Error(entry["PropertyValue"]) if entry["Flag"] == 0x0A else entry["PropertyValue"])
        else:
            values.append(entry["PropertyValue"] if tag & 0xFFFF == 0 else entry)
    return values
