"""The messages of 9P2000.L as bytes.

A message is one class whose annotated fields are the message's fields in their
order.  ``size[4] type[1] tag[2]`` stand before them; all integers are little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import (
    Annotated,
    Any,
    ClassVar,
    NamedTuple,
    Self,
    TypeVar,
    dataclass_transform,
    get_type_hints,
)

NOTAG = 0xFFFF
NOFID = 0xFFFFFFFF
HEADER = struct.Struct("<IBH")
READ_OVERHEAD = HEADER.size + 4
"""Bytes of an Rread or Rreaddir that are not data."""
MAX_WELEM = 16
"""Names that one Twalk may have."""

U8 = Annotated[int, "B"]
U16 = Annotated[int, "H"]
U32 = Annotated[int, "I"]
U64 = Annotated[int, "Q"]
String = Annotated[bytes, "string"]
Data = Annotated[bytes, "data"]
Names = Annotated[tuple[bytes, ...], "names"]


class Qid(NamedTuple):
    """A file's identity: ``type[1] version[4] path[8]``."""

    type: int
    version: int
    path: int


QidField = Annotated[Qid, "qid"]
Qids = Annotated[tuple[Qid, ...], "qids"]

QTDIR = 0x80
QTSYMLINK = 0x02
QTFILE = 0x00

_QID = struct.Struct("<BIQ")
_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")


class WireError(ValueError):
    """Bytes that are not the message that they claim to be."""


class Message:
    """Base of all messages; ``TYPE`` is the message type number."""

    TYPE: ClassVar[int]
    # What comes one after the other: runs of integers as one Struct, or fields by their kind.
    _plan: ClassVar[tuple[tuple[str, struct.Struct | None], ...]]

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Read the fields from the bytes behind the header.

        Raises:
            WireError: There are too few or too many bytes.
        """
        values: list[Any] = []
        position = 0
        try:
            for kind, fixed in cls._plan:
                if fixed is not None:
                    values += fixed.unpack_from(body, position)
                    position += fixed.size
                else:
                    value, position = _DECODE[kind](body, position)
                    values.append(value)
        except struct.error:
            raise WireError(f"{cls.__name__} is too short") from None
        if position != len(body):
            raise WireError(f"{cls.__name__} is too long")
        return cls(*values)

    def encode(self, tag: int) -> bytes:
        """Return the whole frame."""
        parts = [b""]
        values = [getattr(self, field.name) for field in fields(self)]  # type: ignore[arg-type]
        for kind, fixed in self._plan:
            if fixed is not None:
                count = len(fixed.format) - 1
                parts.append(fixed.pack(*values[:count]))
                del values[:count]
            else:
                parts.append(_ENCODE[kind](values.pop(0)))
        size = HEADER.size + sum(map(len, parts))
        parts[0] = HEADER.pack(size, self.TYPE, tag)
        return b"".join(parts)


def _decode_string(body: bytes, position: int) -> tuple[bytes, int]:
    (length,) = _U16.unpack_from(body, position)
    start = position + 2
    return _slice(body, start, length), start + length


def _decode_data(body: bytes, position: int) -> tuple[bytes, int]:
    (length,) = _U32.unpack_from(body, position)
    start = position + 4
    return _slice(body, start, length), start + length


def _decode_names(body: bytes, position: int) -> tuple[tuple[bytes, ...], int]:
    (count,) = _U16.unpack_from(body, position)
    position += 2
    names = []
    for _ in range(count):
        name, position = _decode_string(body, position)
        names.append(name)
    return tuple(names), position


def _decode_qid(body: bytes, position: int) -> tuple[Qid, int]:
    return Qid(*_QID.unpack_from(body, position)), position + _QID.size


def _decode_qids(body: bytes, position: int) -> tuple[tuple[Qid, ...], int]:
    (count,) = _U16.unpack_from(body, position)
    position += 2
    qids = []
    for _ in range(count):
        qid, position = _decode_qid(body, position)
        qids.append(qid)
    return tuple(qids), position


def _slice(body: bytes, start: int, length: int) -> bytes:
    if start + length > len(body):
        raise WireError("a field is longer than its message")
    return bytes(body[start : start + length])


def _encode_string(value: bytes) -> bytes:
    return _U16.pack(len(value)) + value


_DECODE = {
    "string": _decode_string,
    "data": _decode_data,
    "names": _decode_names,
    "qid": _decode_qid,
    "qids": _decode_qids,
}
_ENCODE: dict[str, Callable[[Any], bytes]] = {
    "string": _encode_string,
    "data": lambda value: _U32.pack(len(value)) + value,
    "names": lambda value: _U16.pack(len(value)) + b"".join(map(_encode_string, value)),
    "qid": lambda value: _QID.pack(*value),
    "qids": lambda value: _U16.pack(len(value)) + b"".join(_QID.pack(*qid) for qid in value),
}

MESSAGES: dict[int, type[Message]] = {}
"""All messages by their type number."""

M = TypeVar("M", bound=Message)


@dataclass_transform()
def _message(number: int) -> Callable[[type[M]], type[M]]:
    """Make a class the message of this type number: a dataclass with a plan for its fields."""

    def make(cls: type[M]) -> type[M]:
        cls = dataclass(cls)
        cls.TYPE = number
        plan: list[tuple[str, struct.Struct | None]] = []
        integers = ""
        hints = get_type_hints(cls, include_extras=True)
        for field in fields(cls):  # type: ignore[arg-type]
            kind = hints[field.name].__metadata__[0]
            if len(kind) == 1:
                integers += kind
                continue
            if integers:
                plan.append(("", struct.Struct("<" + integers)))
                integers = ""
            plan.append((kind, None))
        if integers:
            plan.append(("", struct.Struct("<" + integers)))
        cls._plan = tuple(plan)
        MESSAGES[number] = cls
        return cls

    return make


def decode(frame: bytes) -> tuple[int, Message]:
    """Read a whole frame and return its tag and message.

    Raises:
        WireError: The frame is malformed, or its type is not known.
    """
    if len(frame) < HEADER.size:
        raise WireError("a frame is shorter than a header")
    size, number, tag = HEADER.unpack_from(frame)
    if size != len(frame):
        raise WireError("a frame has another length than it says")
    message = MESSAGES.get(number)
    if message is None:
        raise WireError(f"message type {number} is not known")
    return tag, message.decode(frame[HEADER.size :])


class DirEntry(NamedTuple):
    """One entry in an Rreaddir: ``qid[13] offset[8] type[1] name[s]``.

    ``offset`` is where a later Treaddir goes on behind this entry; ``type`` is a ``DT_`` value.
    """

    qid: Qid
    offset: int
    type: int
    name: bytes

    def encode(self) -> bytes:
        """Return the entry as it stands in an Rreaddir."""
        return _DIRENT.pack(*self.qid, self.offset, self.type, len(self.name)) + self.name


_DIRENT = struct.Struct("<BIQQBH")


def decode_entries(data: bytes) -> list[DirEntry]:
    """Read the entries of an Rreaddir.

    Raises:
        WireError: The last entry is cut off.
    """
    entries = []
    position = 0
    while position < len(data):
        try:
            *qid, offset, kind, length = _DIRENT.unpack_from(data, position)
        except struct.error:
            raise WireError("a directory entry is cut off") from None
        position += _DIRENT.size
        entries.append(DirEntry(Qid(*qid), offset, kind, _slice(data, position, length)))
        position += length
    return entries


@_message(7)
class Rlerror(Message):
    """The request failed; ``ecode`` is a Linux error number."""

    ecode: U32


@_message(8)
class Tstatfs(Message):
    """Ask about the file system."""

    fid: U32


@_message(9)
class Rstatfs(Message):
    """What statfs(2) says."""

    fstype: U32
    bsize: U32
    blocks: U64
    bfree: U64
    bavail: U64
    files: U64
    ffree: U64
    fsid: U64
    namelen: U32


@_message(12)
class Tlopen(Message):
    """Open a file; ``flags`` as of open(2) in Linux."""

    fid: U32
    flags: U32


@_message(13)
class Rlopen(Message):
    """The file is open; ``iounit`` 0 leaves the size of reads to msize."""

    qid: QidField
    iounit: U32


@_message(14)
class Tlcreate(Message):
    """Create a file and open it."""

    fid: U32
    name: String
    flags: U32
    mode: U32
    gid: U32


@_message(16)
class Tsymlink(Message):
    """Create a symlink."""

    dfid: U32
    name: String
    symtgt: String
    gid: U32


@_message(18)
class Tmknod(Message):
    """Create a device or FIFO."""

    dfid: U32
    name: String
    mode: U32
    major: U32
    minor: U32
    gid: U32


@_message(20)
class Trename(Message):
    """Rename a file."""

    fid: U32
    dfid: U32
    name: String


@_message(22)
class Treadlink(Message):
    """Read a symlink."""

    fid: U32


@_message(23)
class Rreadlink(Message):
    """A symlink's target."""

    target: String


@_message(24)
class Tgetattr(Message):
    """Ask for attributes."""

    fid: U32
    request_mask: U64


@_message(25)
class Rgetattr(Message):
    """Attributes; ``valid`` says which of them count."""

    valid: U64
    qid: QidField
    mode: U32
    uid: U32
    gid: U32
    nlink: U64
    rdev: U64
    size: U64
    blksize: U64
    blocks: U64
    atime_sec: U64
    atime_nsec: U64
    mtime_sec: U64
    mtime_nsec: U64
    ctime_sec: U64
    ctime_nsec: U64
    btime_sec: U64
    btime_nsec: U64
    gen: U64
    data_version: U64


@_message(26)
class Tsetattr(Message):
    """Change attributes."""

    fid: U32
    valid: U32
    mode: U32
    uid: U32
    gid: U32
    size: U64
    atime_sec: U64
    atime_nsec: U64
    mtime_sec: U64
    mtime_nsec: U64


@_message(30)
class Txattrwalk(Message):
    """Open an extended attribute, or with an empty name the list of them."""

    fid: U32
    newfid: U32
    name: String


@_message(31)
class Rxattrwalk(Message):
    """The length of what Tread will give."""

    size: U64


@_message(32)
class Txattrcreate(Message):
    """Set an extended attribute."""

    fid: U32
    name: String
    attr_size: U64
    flags: U32


@_message(40)
class Treaddir(Message):
    """Read a directory from a cookie on."""

    fid: U32
    offset: U64
    count: U32


@_message(41)
class Rreaddir(Message):
    """Whole directory entries, none at the end."""

    data: Data


@_message(50)
class Tfsync(Message):
    """Bring a file to stable storage."""

    fid: U32
    datasync: U32


@_message(51)
class Rfsync(Message):
    """It is there."""


@_message(52)
class Tlock(Message):
    """Take or give up a POSIX lock."""

    fid: U32
    type_: U8
    flags: U32
    start: U64
    length: U64
    proc_id: U32
    client_id: String


@_message(53)
class Rlock(Message):
    """0 where the lock was granted."""

    status: U8


@_message(54)
class Tgetlock(Message):
    """Ask who holds a lock."""

    fid: U32
    type_: U8
    start: U64
    length: U64
    proc_id: U32
    client_id: String


@_message(55)
class Rgetlock(Message):
    """The lock that is in the way, or type 2 (F_UNLCK)."""

    type_: U8
    start: U64
    length: U64
    proc_id: U32
    client_id: String


@_message(70)
class Tlink(Message):
    """Create a hard link."""

    dfid: U32
    fid: U32
    name: String


@_message(72)
class Tmkdir(Message):
    """Create a directory."""

    dfid: U32
    name: String
    mode: U32
    gid: U32


@_message(74)
class Trenameat(Message):
    """Rename within directories."""

    olddirfid: U32
    oldname: String
    newdirfid: U32
    newname: String


@_message(76)
class Tunlinkat(Message):
    """Remove a name."""

    dirfd: U32
    name: String
    flags: U32


@_message(100)
class Tversion(Message):
    """Start a session."""

    msize: U32
    version: String


@_message(101)
class Rversion(Message):
    """The session's terms."""

    msize: U32
    version: String


@_message(102)
class Tauth(Message):
    """Start authentication."""

    afid: U32
    uname: String
    aname: String
    n_uname: U32


@_message(104)
class Tattach(Message):
    """Get the root."""

    fid: U32
    afid: U32
    uname: String
    aname: String
    n_uname: U32


@_message(105)
class Rattach(Message):
    """The root's identity."""

    qid: QidField


@_message(108)
class Tflush(Message):
    """Give up a request."""

    oldtag: U16


@_message(109)
class Rflush(Message):
    """It is given up or answered."""


@_message(110)
class Twalk(Message):
    """Go down from a file by names."""

    fid: U32
    newfid: U32
    names: Names


@_message(111)
class Rwalk(Message):
    """One qid for each step that worked."""

    qids: Qids


@_message(116)
class Tread(Message):
    """Read from an open file."""

    fid: U32
    offset: U64
    count: U32


@_message(117)
class Rread(Message):
    """What was read, nothing at the end."""

    data: Data


@_message(118)
class Twrite(Message):
    """Write to an open file."""

    fid: U32
    offset: U64
    data: Data


@_message(120)
class Tclunk(Message):
    """Forget a fid."""

    fid: U32


@_message(121)
class Rclunk(Message):
    """It is forgotten."""


@_message(122)
class Tremove(Message):
    """Remove a file and forget its fid."""

    fid: U32
