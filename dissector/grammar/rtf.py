"""Compressed RTF [MS-OXRTFCP], opened by the compressed-rtf library. The text is derived, not bytes of the value."""

from __future__ import annotations

from dissector.node import Node, Summary

SPEC = "MS-OXRTFCP 2.1.3.1"
MOST = 64 << 20
"""Bytes of text that a value may claim; a larger claim is not opened."""


def rtf_of(data: bytes) -> bytes | None:
    """The RTF text in a PidTagRtfCompressed value; None where it is damaged, or claims more than MOST bytes."""
    from compressed_rtf import decompress

    if len(data) < 16 or int.from_bytes(data[4:8], "little") > MOST or len(data) > MOST:
        return None
    try:
        made = decompress(data)
    except Exception:  # the library says ValueError, IndexError or struct.error of damaged data
        return None
    return bytes(made)


def derived_text(node: Node) -> Node | None:
    """The text of a compressed RTF value as a child made from the whole of it; None for any other node."""
    if node.spec != SPEC or not node.children:
        return None
    text = rtf_of(node.data)
    if text is None:
        return None
    source = node.source.derive("decompressed RTF", node.offset, node.length, text)
    return Node("RTF", source, 0, len(text), text.decode("latin-1"), spec="MS-OXRTFCP 2.2.1")


class RtfSummary(Summary):
    """The header in words, and how the text begins."""

    __slots__ = ()

    def __call__(self, node: Node) -> str:
        made = derived_text(node)
        told = super().__call__(node)
        return f"{told}: {made.value[:60]!r}" if made is not None else told
