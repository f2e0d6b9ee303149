"""eStargz: gzip layers with a table of contents at their end.

Specification: https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md
"""

from __future__ import annotations

TOC_NAME = b"stargz.index.json"
PREFETCH_LANDMARK = b".prefetch.landmark"
NO_PREFETCH_LANDMARK = b".no.prefetch.landmark"

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
    path = b"/".join(part for part in name.split(b"/") if part not in (b"", b"."))
    return path in (TOC_NAME, PREFETCH_LANDMARK, NO_PREFETCH_LANDMARK)
