"""Writing tar archives member by member, in the pax format."""

from __future__ import annotations

import tarfile

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


def header(entry: Entry) -> bytes:
    """Return the blocks that stand before a member's content."""
    info = tarfile.TarInfo(text(entry.name))
    info.type = _TYPES[entry.type]
    info.mode, info.uid, info.gid = entry.mode, entry.uid, entry.gid
    info.devmajor, info.devminor = entry.rdev
    info.linkname = text(entry.link)
    seconds, nanoseconds = divmod(entry.mtime_ns, 10**9)
    info.mtime = seconds
    if entry.type is FileType.REGULAR:
        info.size = entry.size
    records: dict[str, str] = {}
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
