"""Buffer, the window over unwrapped bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dissector.source import ByteSource, Piece
from dissector.transport.window import Buffer, Taken


def piece(frame: int, data: bytes) -> Taken:
    return Taken(
        ByteSource("piece", data, (Piece(0, len(data), frame, 54, len(data)),)), frame, frame / 10, frame, frame / 10
    )


@given(st.lists(st.tuples(st.binary(max_size=9), st.integers(0, 3), st.integers(0, 9)), max_size=8), st.data())
def test_a_buffer_is_its_bytes_joined(parts: list[tuple[bytes, int, int]], data: st.DataObject) -> None:
    buffer, whole, frames = Buffer(), b"", []
    for frame, (content, offset, length) in enumerate(parts, 1):
        kept = content[offset : offset + length]
        buffer.append(piece(frame, content), offset, len(kept))
        whole += kept
        frames += [frame] * len(kept)
    while whole:
        assert buffer.available == len(whole)
        at = data.draw(st.integers(0, len(whole)))
        size = data.draw(st.integers(0, len(whole)))
        assert buffer.peek(size, at) == whole[at : at + size]
        assert buffer.find(whole[at : at + 2], 0) == whole.find(whole[at : at + 2])
        assert buffer.find(b"\xff\xfe\xfd\xfc\xfb\xfa\xf9\xf8\xf7\xf6") == -1
        n = data.draw(st.integers(1, len(whole)))
        if data.draw(st.booleans()):
            assert buffer.skip(n) == n
        else:
            taken = buffer.take(n, "taken")
            assert taken.source.data == whole[:n]
            assert (taken.first_frame, taken.last_frame) == (frames[0], frames[n - 1])
            assert [span.frame for span in taken.source.locate(0, n)] == sorted(set(frames[:n]))
        whole, frames = whole[n:], frames[n:]
    assert buffer.available == 0
    assert buffer.peek(5) == b""
    assert buffer.take(5, "nothing").source.data == b""
