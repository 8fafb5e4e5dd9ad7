"""The tables and their columns. docs/scale.md shows them to people; a test holds the two together."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

FORMAT = 1
"""Goes up when a column changes its meaning or goes away. Sets of another format are made again."""

Kind = Literal["int", "float", "text", "bool", "time"]


class Column(NamedTuple):
    """kind: "int" (64 bits), "float", "text", "bool", "time" (UTC, to the microsecond). Every one may be NULL."""

    name: str
    kind: Kind
    about: str


class Table(NamedTuple):
    """about: what one row is."""

    name: str
    about: str
    columns: tuple[Column, ...]


def _table(name: str, about: str, *columns: tuple[str, Kind, str]) -> Table:
    own = Column("capture", "text", "name of the set: what joins the tables of one capture")
    return Table(name, about, (own, *(Column(*column) for column in columns)))


_TABLES = (
    _table(
        "captures", "the capture itself, the only one of its set",
        ("file", "text", "name of the file"),
        ("bytes", "int", "its size"),
        ("frames", "int", "how many frames it has"),
        ("truncated_frames", "int", "of these, cut short by the snap length"),
        ("first_time", "time", "of its first frame"),
        ("last_time", "time", "of its last frame"),
        ("engine", "text", "who read the packets: native or pyshark"),
        ("tcp_missing_bytes", "int", "bytes that TCP connections lack"),
        ("tcp_gaps", "int", "in how many places"),
        ("tls_connections", "int", "connections that stayed closed"),
        ("diagnostics", "text", "what the reading of the file ran into, a line each"),
        ("options", "text", "engine and preferences as they were given, JSON"),
        ("version", "text", "of the dissector that made the set"),
        ("format", "int", "of these tables"),
    ),
    _table(
        "sessions", "a session: an EMSMDB context handle or the cookies of a MAPI/HTTP session",
        ("session", "int", "its number in the capture"),
        ("transport", "text", "mapi-http, rpc-tcp or rpc-http"),
        ("client", "text", "address and port of the client, as first seen"),
        ("server", "text", "the same of the server"),
        ("user", "text", "DN of the user, '' where it was not captured"),
        ("from_the_start", "bool", "whether the call that opened it was captured"),
        ("first_frame", "int", "its first frame"),
        ("last_frame", "int", "its last frame"),
        ("exchanges", "int", "how many calls it has"),
    ),
    _table(
        "exchanges", "a call: a request with its response",
        ("exchange", "int", "its number in the capture, in order of completion"),
        ("frame", "int", "where the request ended (the response, where no request was captured)"),
        ("response_frame", "int", "where the response ended"),
        ("time", "time", "of that frame"),
        ("elapsed", "float", "seconds from the end of the request to the end of the response"),
        ("session", "int", "number of its session"),
        ("transport", "text", "mapi-http, rpc-tcp or rpc-http"),
        ("call", "text", "Execute, EcDoRpcExt2, Connect, NspiQueryRows, ..."),
        ("client", "text", "address and port"),
        ("server", "text", "address and port"),
        ("request_id", "text", "X-RequestId"),
        ("return_code", "int", "of the call itself, not of its ROPs"),
        ("return_name", "text", "its name"),
        ("rops", "int", "how many ROPs it carries"),
        ("request_bytes", "int", "of its ROP buffers, as decompressed"),
        ("response_bytes", "int", "of its ROP buffers, as decompressed"),
        ("summary", "text", "what a call without ROPs is about"),
        ("trouble", "text", "what went wrong while it was read, a line each"),
    ),
    _table(
        "rops", "a ROP, request and response paired",
        ("exchange", "int", "the call that carried it"),
        ("rop", "int", "its place in the call, from 1"),
        ("frame", "int", "as of the exchange"),
        ("response_frame", "int", "as of the exchange"),
        ("time", "time", "as of the exchange"),
        ("session", "int", "as of the exchange"),
        ("logon_id", "int", "LogonId"),
        ("rop_id", "int", "RopId"),
        ("name", "text", "RopLogon, RopOpenFolder, ..."),
        ("handle_index", "int", "handle table index that the response echoes"),
        ("handle", "int", "server object that it acts on"),
        ("opened_handle", "int", "server object that it opened"),
        ("kind", "text", "what it acts on: folder, message, table, ..."),
        ("return_code", "int", "ReturnValue; NULL without a response"),
        ("return_name", "text", "its name"),
        ("summary", "text", "the fields that tell most"),
        ("request_bytes", "int", "of the ROP"),
        ("response_bytes", "int", "of the ROP"),
        ("packed", "bool", "a further response to the request of an earlier ROP of the exchange"),
    ),
    _table(
        "properties", "a property value, in a ROP or in a FastTransfer stream",
        ("exchange", "int", "the call that carried it (its last byte, in a stream)"),
        ("frame", "int", "the frame in which that message ended"),
        ("rop", "int", "number of the ROP in the exchange; NULL in a stream"),
        ("side", "text", "request or response; download or upload in a stream"),
        ("stream", "int", "number of the stream; NULL in a ROP"),
        ("item", "int", "the message or folder of a stream, the row of a table: from 1; NULL where there is none"),
        ("place", "text", "where it stands: productions of the stream below the item, or fields of the ROP"),
        ("offset", "int", "of the value, in the stream or in the ROP buffer"),
        ("tag", "int", "property tag as it was sent"),
        ("name", "text", "PidTagSubject, PidLidFileUnder, ...; the tag in hex where no name is known"),
        ("property_set", "text", "GUID of a named property, where it was sent with the value"),
        ("key", "text", "LID or name in that set"),
        ("type", "text", "PtypString, ...; PtypErrorCode where an error stands for the value"),
        ("value", "text", "as text; bytes in hex, structures and lists as JSON; cut at 4,096 characters"),
        ("meaning", "text", "the value in words: a time, flags, an enumeration"),
        ("length", "int", "bytes of the value as it was sent, its counts and terminators included"),
    ),
    _table(
        "streams", "a FastTransfer stream, or the context of an upload by ROPs",
        ("stream", "int", "its number in the capture, in order of opening"),
        ("session", "int", "its session"),
        ("handle", "int", "its context"),
        ("direction", "text", "download, upload, or collector (states, but no bytes)"),
        ("root", "text", "what it is: contentsSync, hierarchySync, messageContent, ...; NULL: not known"),
        ("inferred", "bool", "the elements told the root, its opening was not captured"),
        ("opened_by", "text", "the ROP; '' where it was not captured"),
        ("of_stream", "int", "the stream whose state this one is"),
        ("exchange", "int", "where it was opened"),
        ("frame", "int", "where it was opened"),
        ("first_frame", "int", "of its first buffer"),
        ("last_exchange", "int", "where it ended"),
        ("last_frame", "int", "where it ended"),
        ("folder", "text", "id of the folder that it was opened on"),
        ("folder_name", "text", "where it is a special folder"),
        ("message", "text", "id of the message that it was opened on"),
        ("options", "text", "the numbers of the opening ROP in words, JSON"),
        ("bytes", "int", "how long it is"),
        ("buffers", "int", "in how many transfer buffers"),
        ("elements", "int", "markers and properties"),
        ("messages", "int", "changes and messages"),
        ("folders", "int", "folders"),
        ("complete", "bool", "all was sent and captured"),
        ("why", "text", "what happened instead"),
        ("bootstrap", "bool", "the client said that it has nothing yet"),
        ("backoffs", "int", "how often the server asked to wait"),
        ("backoff_ms", "int", "for how long in all"),
        ("faults", "int", "how often it breaks its syntax"),
        ("unread_bytes", "int", "bytes behind holes that could not be read"),
    ),
    _table(
        "states", "a range of ids in a set; an empty set has one row without a range",
        ("stream", "int", "the stream, or the context of the upload"),
        ("session", "int", "its session"),
        ("exchange", "int", "where the set began (uploaded), or where the stream ended"),
        ("frame", "int", "the same as a frame"),
        ("origin", "text", "uploaded by the client; or of the stream: state, deletions, readStateChanges"),
        ("property", "text", "MetaTagIdsetGiven, MetaTagCnsetSeen, ..."),
        ("replica", "text", "REPLGUID, or REPLID as a number"),
        ("low", "int", "first id"),
        ("high", "int", "last id"),
    ),
    _table(
        "syncs", "a synchronization: a download, or an upload by imports",
        ("sync", "int", "its number in the capture, in order of opening"),
        ("session", "int", "its session"),
        ("stream", "int", "its stream"),
        ("direction", "text", "download or upload"),
        ("kind", "text", "contents or hierarchy"),
        ("mailbox", "text", "GUID of the mailbox, or the user where it was not captured"),
        ("client", "text", "address of the client"),
        ("user", "text", "DN of the user"),
        ("folder", "text", "id of the folder"),
        ("folder_name", "text", "where it is known"),
        ("options", "text", "flags of the opening ROP in words, JSON"),
        ("restriction", "text", "in words"),
        ("first_frame", "int", "where it was opened"),
        ("last_frame", "int", "the last frame that mattered"),
        ("started", "time", "when it was opened"),
        ("elapsed", "float", "seconds to the last answer that mattered"),
        ("bootstrap", "bool", "the client said that it has nothing yet"),
        ("origin", "text", "what the uploaded state is to the one given last: same, grown, lost, rolled back, ..."),
        ("origin_sync", "int", "the synchronization that it is compared with"),
        ("bytes", "int", "of its stream"),
        ("new", "int", "messages or folders that the client did not have"),
        ("changed", "int", "that it had in another version"),
        ("again", "int", "that it had in this very version"),
        ("deleted", "int", "ids that were taken away, for any reason"),
        ("read", "int", "ids marked read"),
        ("unread", "int", "ids marked unread"),
        ("refused", "int", "imports that the server refused"),
        ("complete", "bool", "all was sent and captured"),
        ("why", "text", "what happened instead"),
        ("trouble", "text", "what is wrong with its sets, a line each"),
    ),
    _table(
        "changes", "a message or folder that came down or went up in a synchronization",
        ("sync", "int", "the synchronization"),
        ("exchange", "int", "the call that carried its beginning"),
        ("frame", "int", "the same as a frame"),
        ("last_frame", "int", "where it ended"),
        ("kind", "text", "full, partial, folder of a download; import, import-folder, move of an upload"),
        ("status", "text", "new, changed, again; '' where the uploaded state is not known"),
        ("id", "text", "of the message or folder, REPLGUID:counter"),
        ("version", "text", "change number, REPLGUID:counter"),
        ("source_key", "text", "PidTagSourceKey"),
        ("change_key", "text", "PidTagChangeKey"),
        ("parent", "text", "source key of a folder's parent"),
        ("fai", "bool", "folder associated information"),
        ("name", "text", "subject, or name of the folder; what is longer than 120 characters ends in an ellipsis"),
        ("message_class", "text", "PidTagMessageClass"),
        ("size", "int", "as the server announced it"),
        ("bytes", "int", "in the stream"),
        ("refused", "int", "ReturnValue of the import or of its saving; 0: taken"),
        ("complete", "bool", "it is there to its end"),
    ),
    _table(
        "findings", "what dissector diagnose finds",
        ("severity", "text", "error, warning or note"),
        ("rule", "text", "name of the rule"),
        ("frame", "int", "where"),
        ("exchange", "int", "where"),
        ("session", "int", "in which session"),
        ("sync", "int", "in which synchronization"),
        ("message", "text", "what is wrong"),
        ("evidence", "text", "facts by name, JSON"),
        ("advice", "text", "what to do next"),
        ("spec", "text", "section that it rests on"),
    ),
)  # fmt: skip

TABLES: Mapping[str, Table] = {table.name: table for table in _TABLES}
