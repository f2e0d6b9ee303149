"""One member of a layer's archive."""

from __future__ import annotations

from collections.abc import Mapping
from enum import IntEnum
from types import MappingProxyType
from typing import NamedTuple

from browsermount import limits

# Linux's device numbers have 12 and 20 bits (kdev_t.h).
MAJORS = 1 << 12
MINORS = 1 << 20

MAX_FILE_SIZE = 1 << 62
"""What no file's size may reach, in bytes; Linux's limit is little more (loff_t)."""


class FileType(IntEnum):
    """File types, with the values that ``st_mode`` has for them (POSIX, sys/stat.h; Linux)."""

    FIFO = 0o010000
    CHARACTER = 0o020000
    DIRECTORY = 0o040000
    BLOCK = 0o060000
    REGULAR = 0o100000
    SYMLINK = 0o120000


class Segment(NamedTuple):
    """``size`` bytes of a file from ``file_offset``, found at ``stream_offset`` of the layer.

    What lies between the segments of a file is a hole and reads as zeros.
    """

    file_offset: int
    stream_offset: int
    size: int


def check_xattrs(entry: Entry, error: type[Exception]) -> None:
    """Raise ``error`` where a file has attributes that Linux cannot hold."""
    if not entry.xattrs:
        return
    if any(len(name) > limits.MAX_NAME for name in entry.xattrs):
        raise error(
            f"{entry.name[:100]!r} has an extended attribute whose name is longer than "
            f"{limits.MAX_NAME} bytes"
        )
    if sum(len(name) + len(value) for name, value in entry.xattrs.items()) > limits.MAX_XATTRS_SIZE:
        raise error(
            f"{entry.name[:100]!r} has more than {limits.MAX_XATTRS_SIZE} bytes of extended "
            "attributes"
        )


NO_XATTRS: Mapping[bytes, bytes] = MappingProxyType({})


class Entry(NamedTuple):
    """A member as the archive gives it.

    Attributes:
        name: The path as written: it may start with ``/`` or ``./`` and hold ``..``.
        type: The file type, or None for a hard link to ``link``.
        mode: Permission bits with setuid, setgid and sticky.
        mtime_ns: Nanoseconds since 1970, possibly negative.
        size: The file's length in bytes.
        link: A symlink's target or the path of the file that a hard link is another name of.
        rdev: Major and minor number of a device.
        xattrs: Extended attributes by full name, such as ``user.comment``.
        segments: Where the content is in the layer's decompressed stream.
    """

    name: bytes
    type: FileType | None
    mode: int = 0
    uid: int = 0
    gid: int = 0
    mtime_ns: int = 0
    size: int = 0
    link: bytes = b""
    rdev: tuple[int, int] = (0, 0)
    xattrs: Mapping[bytes, bytes] = NO_XATTRS
    segments: tuple[Segment, ...] = ()

    @property
    def holes(self) -> int:
        """How many bytes of the file are stored nowhere and read as zeros."""
        return self.size - sum(segment.size for segment in self.segments)

    @property
    def cost(self) -> int:
        """About how many bytes of memory the entry takes."""
        size = limits.ENTRY_COST + len(self.name) + len(self.link)
        if self.xattrs:
            size += sum(len(name) + len(value) for name, value in self.xattrs.items())
        return size + limits.SEGMENT_COST * len(self.segments)
