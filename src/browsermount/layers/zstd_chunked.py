"""zstd:chunked: layers of many zstd frames with a table of contents in a skippable one.

Specification: https://github.com/containers/storage/blob/main/docs/containers-storage-zstd-chunked.md
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from browsermount.errors import InvalidLayer
from browsermount.layers.compression import Zstd
from browsermount.layers.garbage import uncollected
from browsermount.layers.index import LayerIndex, LayerKind
from browsermount.layers.span import Codec
from browsermount.layers.toc import place, read_toc
from browsermount.steps import Steps

# Annotations of a layer in the manifest; the second form is older.
_PREFIXES = ("io.github.containers.zstd-chunked.", "io.containers.zstd-chunked.")

FOOTER_SIZE = 72
"""How many bytes at a blob's end tell whether it is zstd:chunked."""

_SKIPPABLE = b"\x50\x2a\x4d\x18"
_MAGIC = b"GNUlInUx"
_CRFS = 1  # the one kind of table that there is


@dataclass(frozen=True, slots=True)
class TocPlace:
    """Where the compressed table of contents is in the blob, and how long the plain one is."""

    offset: int
    size: int
    plain_size: int


def annotations_of(annotations: Mapping[str, str]) -> tuple[TocPlace, str] | None:
    """Return what a manifest says of a layer: where its table is, and that one's digest.

    The digest is that of the compressed table.

    Raises:
        InvalidLayer: The annotations are malformed.
    """
    for prefix in _PREFIXES:
        position = annotations.get(f"{prefix}manifest-position")
        checksum = annotations.get(f"{prefix}manifest-checksum")
        if position is None or checksum is None:
            continue
        fields = position.split(":")
        if len(fields) != 4 or not all(f.isascii() and f.isdigit() for f in fields):
            raise InvalidLayer(f"the annotation {prefix}manifest-position is {position[:80]!r}")
        if int(fields[3][:20]) == _CRFS:
            return TocPlace(*(int(f[:20]) for f in fields[:3])), checksum
    return None


def parse_footer(tail: bytes) -> TocPlace | None:
    """Read the footer, a skippable frame.

    Args:
        tail: The last :data:`FOOTER_SIZE` or more bytes of a blob.

    Returns:
        None where the blob has no such footer.
    """
    # Newer ones also say where the tar-split data is.
    for size in (64, 40):
        frame = tail[-size - 8 :]
        if not frame.startswith(_SKIPPABLE + size.to_bytes(4, "little")):
            continue
        offset, stored, plain, kind = (
            int.from_bytes(frame[start : start + 8], "little") for start in range(8, 40, 8)
        )
        if frame.endswith(_MAGIC) and kind == _CRFS:
            return TocPlace(offset, stored, plain)
    return None


def unpack_toc(stored: bytes, where: TocPlace) -> Steps[bytes]:
    """Return the table of contents, in steps.

    Args:
        stored: The compressed one.
        where: What was said of it.

    Raises:
        InvalidLayer: It cannot be decompressed, or has another length.
    """
    plain = bytearray()
    for part in Zstd().feed(stored):
        plain += part
        if len(plain) > where.plain_size:
            break
        yield
    if len(plain) != where.plain_size:
        raise InvalidLayer("the table of contents is longer or shorter than it should be")
    return bytes(plain)


def index_from_toc(toc: bytes, end: int) -> Steps[LayerIndex]:
    """Make the index of a layer from its table of contents, in steps.

    Args:
        toc: The JSON document, which has been verified.
        end: Where it begins in the blob and so all else ends.

    Raises:
        InvalidLayer: The table is malformed.
    """
    with uncollected():
        files = yield from read_toc(toc)
        entries, spans = yield from place(files, Codec.ZSTD, end, lambda name: False)
    return LayerIndex(LayerKind.ZSTD_CHUNKED, entries, spans, from_toc=True)
