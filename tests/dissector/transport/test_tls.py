"""TLS hellos: server name and version; test_protocols.py has them inside connections."""

from __future__ import annotations

import random

import pytest

from dissector.transport.tls import Hello, is_record, read_hello


def vector(width: int, data: bytes) -> bytes:
    return len(data).to_bytes(width, "big") + data


def extension(code: int, data: bytes) -> bytes:
    return code.to_bytes(2, "big") + vector(2, data)


def record(data: bytes, kind: int = 22, size: int = 16000) -> bytes:
    parts = [data[at : at + size] for at in range(0, len(data), size)] or [b""]
    return b"".join(bytes([kind, 3, 1]) + vector(2, part) for part in parts)


def client_hello(name: str = "", versions: tuple[int, ...] = (), legacy: int = 0x0303) -> bytes:
    extensions = extension(10, b"\0\2\0\x1d")
    if name:
        extensions += extension(0, vector(2, b"\0" + vector(2, name.encode())))
    if versions:
        extensions += extension(43, vector(1, b"".join(one.to_bytes(2, "big") for one in versions)))
    body = legacy.to_bytes(2, "big") + bytes(32) + vector(1, bytes(32)) + vector(2, bytes(8)) + vector(1, b"\0")
    return b"\x01" + vector(3, body + vector(2, extensions))


def server_hello(version: int = 0, legacy: int = 0x0303) -> bytes:
    extensions = extension(43, version.to_bytes(2, "big")) if version else b""
    body = legacy.to_bytes(2, "big") + bytes(32) + vector(1, b"") + bytes(3) + vector(2, extensions)
    return b"\x02" + vector(3, body)


@pytest.mark.parametrize(
    ("data", "hello"),
    [
        (client_hello("a.example", (0x0304, 0x0303)), Hello(1, 0x0304, "a.example")),
        (client_hello("", (), 0x0301), Hello(1, 0x0301, "")),
        (client_hello("b", (0x7F1C, 0x0303)), Hello(1, 0x0303, "b")),
        (server_hello(), Hello(2, 0x0303, "")),
        (server_hello(0x0304), Hello(2, 0x0304, "")),
    ],
)
@pytest.mark.parametrize("size", [3, 40, 16000])
def test_hellos(data: bytes, hello: Hello, size: int) -> None:
    assert read_hello(record(data, size=size)) == hello


def test_hellos_cut_anywhere_are_survived() -> None:
    data = record(client_hello("mail.example.org", (0x0304,)), size=60)
    assert read_hello(data) is not None
    for cut in range(len(data)):
        assert read_hello(data[:cut]) is None
    rng = random.Random(1)
    for _ in range(500):
        bent = bytearray(data)
        for _ in range(3):
            bent[rng.randrange(len(bent))] = rng.randrange(256)
        read_hello(bytes(bent))


def test_records() -> None:
    assert [is_record(record(b"abcd")[:n]) for n in range(6)] == [None] * 5 + [True]
    assert is_record(b"\x18\x03\x03\x00\x05") is False
    assert is_record(b"\x16\x02") is False
