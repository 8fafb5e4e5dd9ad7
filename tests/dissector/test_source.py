from __future__ import annotations

from itertools import count

from hypothesis import given
from hypothesis import strategies as st

from dissector.source import ByteSource, Piece, Span, joined
from tests.conftest import examples


def test_a_range_is_located_through_reassembly_slicing_and_decompression() -> None:
    tcp = ByteSource("tcp", bytes(30), (Piece(0, 10, 7, 54, 10), Piece(10, 20, 9, 54, 20)))
    body = tcp.derive("body", 5, 22)
    rops = body.derive("rops", 4, 18, bytes(90))
    assert body.locate(0, 6) == [Span(7, 59, 5), Span(9, 54, 1)]
    assert rops.locate(40, 2) == [Span(7, 63, 1), Span(9, 54, 17)]
    assert rops.locate(40, 0) == []


def test_neighbouring_pieces_of_one_frame_make_one_span() -> None:
    source = ByteSource("chunks", bytes(8), (Piece(0, 4, 3, 10, 4), Piece(4, 4, 3, 14, 4)))
    assert source.locate(1, 6) == [Span(3, 11, 6)]


def test_bytes_typed_in_by_hand_have_no_spans() -> None:
    assert ByteSource("hand", b"abc").locate(0, 3) == []


def test_pieces_are_made_when_first_asked_for() -> None:
    asked = []

    def pieces() -> list[Piece]:
        asked.append(1)
        return [Piece(0, 2, 1, 0, 2)]

    source = ByteSource("lazy", b"ab", pieces)
    assert not asked
    assert source.locate(0, 1) == [Span(1, 0, 1)]
    assert source.locate(1, 1) == [Span(1, 1, 1)]
    assert asked == [1]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.data())
def test_every_byte_of_a_join_leads_to_its_own_frame_byte(sizes: list[int], data: st.DataObject) -> None:
    frames = [ByteSource(f"f{n}", bytes(range(size)), (Piece(0, size, n, 100, size),)) for n, size in enumerate(sizes)]
    whole = joined("whole", [(frame, 0, len(frame)) for frame in frames])
    wanted = [(n, 100 + at) for n, size in enumerate(sizes) for at in range(size)]
    start = data.draw(st.integers(0, len(wanted)))
    length = data.draw(st.integers(0, len(wanted) - start))
    spans = whole.locate(start, length)
    assert [(s.frame, s.offset + at) for s in spans for at in range(s.length)] == wanted[start : start + length]


FRAMES = count(1)


@st.composite
def sources(draw: st.DrawFn, depth: int = 3) -> ByteSource:
    """A source made of frames and other sources; some pieces map as a whole, as decompressed blocks do.

    No byte of a frame stands in two places: what is sent twice is in two frames.
    """
    pieces: list[Piece] = []
    start = 0
    for _ in range(draw(st.integers(1, 4))):
        gap, length = draw(st.integers(0, 1)), draw(st.integers(1, 6))
        start += gap
        if depth and draw(st.booleans()):
            origin = draw(sources(depth - 1))
            at = draw(st.integers(0, max(0, len(origin) - length)))
            whole = length > len(origin) or not draw(st.integers(0, 4))
            mapped = draw(st.integers(1, 6).filter(lambda size: size != length)) if whole else length  # noqa: B023
            pieces.append(Piece(start, length, origin, at, mapped))
        else:
            last = pieces[-1] if pieces else None
            if last is not None and isinstance(last.origin, int) and draw(st.booleans()):
                frame, at = last.origin, last.origin_offset + last.origin_length + draw(st.integers(0, 1))
            else:
                frame, at = next(FRAMES), draw(st.integers(0, 8))
            pieces.append(Piece(start, length, frame, at, length))
        start += length
    return ByteSource("made", bytes(start), pieces)


@examples(200)
@given(sources(), st.data())
def test_runs_lead_where_the_pieces_do(source: ByteSource, data: st.DataObject) -> None:
    offset = data.draw(st.integers(0, len(source)))
    length = data.draw(st.integers(0, len(source) - offset))
    walked: list[Span] = []
    source._locate(offset, length, walked)
    assert bytes_of(source.locate(offset, length)) == bytes_of(walked)


def bytes_of(spans: list[Span]) -> list[tuple[int, int]]:
    """Spans on both sides of bytes from nowhere may be one or two."""
    return [(span.frame, span.offset + at) for span in spans for at in range(span.length)]
