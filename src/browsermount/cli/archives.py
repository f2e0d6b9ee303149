"""Writing tar archives member by member, in the pax format."""

from __future__ import annotations

import tarfile
from collections.abc import Mapping, Sequence

from browsermount.layers.entry import Entry, FileType

_TYPES = {
    None: tarfile.LNKTYPE,
    FileType.FIFO: tarfile.FIFOTYPE,
    FileType.CHARACTER: tarfile.CHRTYPE,
    FileType.DIRECTORY: tarfile.DIRTYPE,
    FileType.BLOCK: tarfile.BLKTYPE,
    FileType.REGULAR: tarfile.REGTYPE,
    FileType.SYMLINK: tarfile.SYMTYPE,
}


def sparse_header(entry: Entry, pieces: Sequence[tuple[int, int]]) -> bytes:
    """Return the blocks that stand before the pieces of a file with holes.

    GNU tar's manual, "Storing Sparse Files", version 1.0: readable by GNU tar, bsdtar, and Go.

    Args:
        entry: The member.
        pieces: The offset and size of each piece, in their order.
    """
    # The last one tells where the file ends.
    pieces = [*pieces, (entry.size, 0)]
    numbers = [len(pieces), *(number for piece in pieces for number in piece)]
    places = b"".join(b"%d\n" % number for number in numbers)
    places += padding(len(places))
    records = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": text(entry.name),
        "GNU.sparse.realsize": str(entry.size),
    }
    stored = len(places) + sum(size for _, size in pieces)
    return header(entry._replace(size=stored), records) + places


def header(entry: Entry, records: Mapping[str, str] | None = None) -> bytes:
    """Return the blocks that stand before a member's content.

    Args:
        entry: The member.
        records: Further records of its pax header.
    """
    info = tarfile.TarInfo(text(entry.name))
    info.type = _TYPES[entry.type]
    info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
    info.devmajor, info.devminor = entry.rdev
    info.linkname = text(entry.link)
    seconds, nanoseconds = divmod(entry.mtime_ns, 10**9)
    info.mtime = seconds
    if entry.type is FileType.REGULAR:
        info.size = entry.size
    records = dict(records or {})
    if nanoseconds:
        records["mtime"] = _decimal(entry.mtime_ns)
    for attribute, value in entry.xattrs.items() if entry.type is not None else ():
        # A keyword ends at "="; GNU tar has this way to write one with it.
        keyword = text(attribute).replace("%", "%25").replace("=", "%3D")
        records[f"SCHILY.xattr.{keyword}"] = text(value)
    info.pax_headers = records
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """Return what fills up the last block of a content of ``size`` bytes."""
    return bytes(-size % tarfile.BLOCKSIZE)


def ending(size: int = 0) -> bytes:
    """Return what ends an archive of ``size`` bytes.

    Two blocks of zeros do; it is filled up to what a tape's record was.
    """
    zeros = 2 * tarfile.BLOCKSIZE
    return bytes(zeros + -(size + zeros) % tarfile.RECORDSIZE)


def _decimal(ns: int) -> str:
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    return f"{sign}{ns // 10**9}.{ns % 10**9:09}"


def text(data: bytes) -> str:
    """Return bytes as the text that tarfile turns into the same bytes."""
    return data.decode("utf-8", "surrogateescape")
