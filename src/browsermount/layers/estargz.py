"""eStargz: gzip layers with a table of contents at their end.

Specification: https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md
"""

from __future__ import annotations

from browsermount.errors import InvalidLayer
from browsermount.layers.deflate import inflate_members
from browsermount.layers.garbage import uncollected
from browsermount.layers.index import LayerIndex, LayerKind
from browsermount.layers.span import Codec
from browsermount.layers.tar import TarParser
from browsermount.layers.toc import MAX_TOC_SIZE, place, read_toc
from browsermount.steps import Steps

TOC_NAME = b"stargz.index.json"
PREFETCH_LANDMARK = b".prefetch.landmark"
NO_PREFETCH_LANDMARK = b".no.prefetch.landmark"
_METADATA = (TOC_NAME, PREFETCH_LANDMARK, NO_PREFETCH_LANDMARK)

DIGEST_ANNOTATION = "containerd.io/snapshot/stargz/toc.digest"
"""The annotation of a layer in the manifest that has the digest of the table of contents."""

FOOTER_SIZE = 51
"""How many bytes at a blob's end tell whether it is eStargz."""

_LEGACY_FOOTER_SIZE = 47
_GZIP_WITH_EXTRA = b"\x1f\x8b\x08\x04"
_EXTRA_AT = 10


def parse_footer(tail: bytes) -> tuple[int, int] | None:
    """Read the footer: section "Footer"; also that of stargz, which came before.

    Args:
        tail: The last :data:`FOOTER_SIZE` or more bytes of a blob.

    Returns:
        Where the table of contents begins in the blob, and how long the footer is; None
        where the blob has no such footer.
    """
    for size, extra in ((FOOTER_SIZE, b"\x1a\x00SG\x16\x00"), (_LEGACY_FOOTER_SIZE, b"\x16\x00")):
        footer = tail[-size:]
        if len(footer) < size or not footer.startswith(_GZIP_WITH_EXTRA):
            continue
        if footer[_EXTRA_AT : _EXTRA_AT + len(extra)] != extra:
            continue
        field = footer[_EXTRA_AT + len(extra) :][:22]
        if field[16:] != b"STARGZ":
            continue
        try:
            return int(field[:16], 16), size
        except ValueError:
            continue
    return None


def is_metadata(name: bytes) -> bool:
    """Tell whether a member belongs to the format and not to the file system."""
    return name.endswith(_METADATA) and layer_path(name) in _METADATA


def layer_path(name: bytes) -> bytes:
    """Return the name of a member without what does not tell it from others, such as ``./``."""
    return b"/".join(part for part in name.split(b"/") if part not in (b"", b"."))


def unpack_toc(stored: bytes) -> Steps[bytes]:
    """Return the table of contents, in steps: a gzip member with a tar archive of one file.

    Args:
        stored: The blob's bytes from where the footer says to the footer.

    Raises:
        InvalidLayer: They hold no table, or too large a one.
    """
    plain = bytearray()
    parser = TarParser()
    for part in inflate_members(stored):
        plain += part
        if len(plain) > MAX_TOC_SIZE:
            raise InvalidLayer(f"the table of contents is larger than {MAX_TOC_SIZE} bytes")
        yield
    found = parser.feed(bytes(plain))
    if not found or found[0].name != TOC_NAME or len(found[0].segments) != 1:
        raise InvalidLayer(f"the layer has no {TOC_NAME.decode()} where its footer says")
    (segment,) = found[0].segments
    toc = plain[segment.stream_offset : segment.stream_offset + segment.size]
    if len(toc) < segment.size:
        raise InvalidLayer("the table of contents is cut off")
    return bytes(toc)


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
        prefetch = 0
        for file in files:
            name = file.entry.name
            if (
                name.endswith(PREFETCH_LANDMARK)
                and layer_path(name) == PREFETCH_LANDMARK
                and file.chunks
            ):
                # What is before the landmark is what its maker put there.
                prefetch = file.chunks[0].offset
        entries, spans = yield from place(files, Codec.GZIP, end, is_metadata)
    return LayerIndex(LayerKind.ESTARGZ, entries, spans, from_toc=True, prefetch=min(prefetch, end))
