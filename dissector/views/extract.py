"""Streams written to files: raw bytes, one JSON a message or folder, states as JSON. No file is ever written over."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from dissector.errors import DissectorError
from dissector.grammar.elements import ElementReader
from dissector.grammar.fasttransfer import MARKER
from dissector.grammar.idset import SET_FORMS, read_idset
from dissector.grammar.messages import Attachment, Message, MessageReader, Property
from dissector.grammar.names import property_name
from dissector.session.stream import Stream
from dissector.views.json import dumps_pretty
from dissector.views.jsonvalues import plain


class Extractor:
    """Writes streams to a folder, which is made where it is not there. `written` counts files.

    stream-3-contentsSync.fts has the bytes, stream-3-contentsSync-00001.json its first message,
    stream-3-uploaded.state.json the state that went up before it, stream-3-contentsSync.state.json the one in it.
    Raises DissectorError for a file that exists or cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.written = 0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DissectorError(f"{folder}: {error.strerror or error}") from error

    def stream(self, stream: Stream) -> None:
        if stream.states:
            uploaded = {state.tag or 0: state.source().data for state in stream.states}
            self.write(f"stream-{stream.number}-uploaded.state.json", state_text(uploaded))
        if not stream.size:
            return
        name = f"stream-{stream.number}-{stream.root or 'unknown'}"
        source = stream.source()
        self.write(f"{name}.fts", source.data)
        returned = returned_state(stream, source.data)
        if returned:
            self.write(f"{name}.state.json", state_text(returned))
        for number, message in enumerate(messages_of(stream, source.data), 1):
            head = {"stream": stream.number, "number": number}
            text = dumps_pretty({**head, **message_json(message)})
            self.write(f"{name}-{number:05}.json", text.encode() + b"\n")

    def write(self, name: str, data: bytes) -> None:
        path = self.folder / name
        try:
            with path.open("xb") as file:
                file.write(data)
        except FileExistsError as error:
            raise DissectorError(
                f"{path} is there already, and no file is written over; name another folder"
            ) from error
        except OSError as error:
            raise DissectorError(f"{path}: {error.strerror or error}") from error
        self.written += 1


def messages_of(stream: Stream, data: bytes) -> Iterator[Message]:
    """The messages and folders of a stream, one by one; none where its root is not known."""
    if stream.root is None:
        return
    reader = MessageReader(stream.root, codepage=stream.codepage)
    for offset, run in stream.runs(data):
        if offset:
            yield from reader.resume(offset)
        reader.feed(run)
        yield from reader.messages()
    yield from reader.finish()


def returned_state(stream: Stream, data: bytes) -> dict[int, bytes]:
    """The sets of the last state in a stream, by tag, as their bytes stand."""
    found: dict[int, bytes] = {}
    inside = False
    for offset, run in stream.runs(data):
        reader = ElementReader(keep=0, always=SET_FORMS, offset=offset)
        reader.feed(run)
        for element in reader.elements():
            if element.tag == MARKER["IncrSyncStateBegin"]:
                found, inside = {}, True
            elif element.tag == MARKER["IncrSyncStateEnd"]:
                inside = False
            elif inside and element.tag >> 16 in SET_FORMS and element.raw is not None:
                found[element.tag] = element.raw[4:]
    return found


def state_text(state: Mapping[int, bytes]) -> bytes:
    """{"40170003": {"name", "bytes", "ids", "sets": {replica: ["0x1-0x5", ...]}}, ...}; `decode state` reads it."""
    made = {}
    for tag, data in state.items():
        form = SET_FORMS.get(tag >> 16)
        one: dict[str, Any] = {"name": property_name(tag) or f"0x{tag:08X}", "bytes": data.hex()}
        if form is not None:
            reading = read_idset(data, form)
            one["ids"] = reading.idset.count
            one["sets"] = {str(replica): [str(part) for part in ranges] for replica, ranges in reading.idset.items()}
            if reading.diagnostic is not None:
                one["malformed"] = f"at offset {reading.offset}: {reading.diagnostic.message}"
        made[f"{tag:08x}"] = one
    return dumps_pretty(made).encode() + b"\n"


def message_json(message: Message) -> dict[str, Any]:
    """A message or folder; empty members are left out. See docs/json.md."""
    made: dict[str, Any] = {"kind": message.kind, "offset": message.offset, "length": message.end - message.offset}
    if not message.complete:
        made["complete"] = False
    if message.fai is not None:
        made["fai"] = message.fai
    for name, properties in (("header", message.header), ("properties", message.properties)):
        if properties:
            made[name] = [property_json(one) for one in properties]
    if message.groups:
        made["groups"] = [
            {"group": number, "properties": [property_json(one) for one in properties]}
            for number, properties in message.groups
        ]
    if message.recipients:
        made["recipients"] = [[property_json(one) for one in row] for row in message.recipients]
    if message.attachments:
        made["attachments"] = [_attachment_json(one) for one in message.attachments]
    return made


def _attachment_json(attachment: Attachment) -> dict[str, Any]:
    made: dict[str, Any] = {"properties": [property_json(one) for one in attachment.properties]}
    if attachment.embedded is not None:
        made["embedded"] = message_json(attachment.embedded)
    return made


def property_json(one: Property) -> dict[str, Any]:
    """{"tag": "0x0037001F", "name", "set", "key", "value", "text"}"""
    made: dict[str, Any] = {"tag": f"0x{one.tag:08X}", "name": one.name}
    if one.named is not None:
        made["set"], made["key"] = str(one.named.property_set), plain(one.named.key)
    made["value"] = plain(one.value)
    if one.text:
        made["text"] = plain(one.text)
    return made
