"""zstd:chunked: layers of many zstd frames with a table of contents in a skippable one.

Specification: https://github.com/containers/storage/blob/main/docs/containers-storage-zstd-chunked.md
"""

from __future__ import annotations

FOOTER_SIZE = 72
"""How many bytes at a blob's end tell whether it is zstd:chunked."""

_SKIPPABLE = b"\x50\x2a\x4d\x18"
_MAGIC = b"GNUlInUx"
_CRFS = 1  # the one kind of table that there is


def parse_footer(tail: bytes) -> tuple[int, int, int] | None:
    """Read the footer, a skippable frame.

    Args:
        tail: The last :data:`FOOTER_SIZE` or more bytes of a blob.

    Returns:
        Where the compressed table of contents begins in the blob, its length, and that of
        the plain one; None where the blob has no such footer.
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
            return offset, stored, plain
    return None
