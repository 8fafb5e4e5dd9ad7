from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from dissector.source import ByteSource, Piece, Span, joined


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
