"""Tar archives, read as they stream by.

Formats: POSIX.1-2017 pax and ustar
(https://pubs.opengroup.org/onlinepubs/9699919799/utilities/pax.html), GNU tar's
long names and sparse files (https://www.gnu.org/software/tar/manual/,
"Basic Tar Format" and "Sparse Formats"), and the way in which container tools
write extended attributes: ``SCHILY.xattr.`` (star) and ``LIBARCHIVE.xattr.``.

The parser holds no content: it counts through the stream and notes where each
file's bytes are.
"""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Generator
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import unquote_to_bytes

from browsermount import limits
from browsermount.errors import InvalidLayer
from browsermount.layers.entry import (
    MAJORS,
    MAX_FILE_SIZE,
    MINORS,
    NO_XATTRS,
    Entry,
    FileType,
    Segment,
    check_xattrs,
)

BLOCK = 512

_ZERO_BLOCK = bytes(BLOCK)
_ENDS = b"\0 "
_ADLER_MODULUS = 65521
_TYPES = {
    b"0": FileType.REGULAR,
    b"\0": FileType.REGULAR,
    b"7": FileType.REGULAR,
    b"S": FileType.REGULAR,
    b"1": None,
    b"2": FileType.SYMLINK,
    b"3": FileType.CHARACTER,
    b"4": FileType.BLOCK,
    b"5": FileType.DIRECTORY,
    b"6": FileType.FIFO,
}
# Members that say something about the next one; L and K are GNU's, X is Solaris's pax header.
_META_TYPES = frozenset({b"x", b"X", b"g", b"L", b"K"})


# What fits into the seconds of Linux's struct timespec64, in nanoseconds.
_FIRST_TIME = -(1 << 63) * 1_000_000_000
_LAST_TIME = ((1 << 63) - 1) * 1_000_000_000


class _Malformed(Exception):
    pass


@dataclass(slots=True)
class _Pending:
    """What the members before a file said about it."""

    pax: dict[bytes, bytes]
    name: bytes | None = None
    link: bytes | None = None
    # Pax sparse 0.0 repeats a key, so the map needs the records in order.
    sparse_numbers: list[int] | None = None


class TarParser:
    """Finds the members of an archive in a stream of bytes.

    Feed it the stream in chunks of any size; it gives each member as soon as the
    member's header has passed, with segments that may still be to come.
    """

    def __init__(self) -> None:
        self._offset = 0
        self._buffer = bytearray()
        self._skip = 0
        self._padding = 0
        self._ended = False
        self._at_header = True
        self._zero_blocks = 0
        self._cost = 0
        self._steps = self._run()
        self._wanted = next(self._steps)
        self._found: list[Entry] = []

    @property
    def ended(self) -> bool:
        """Whether the end-of-archive mark has passed; what follows it is ignored."""
        return self._ended

    def feed(self, data: bytes) -> list[Entry]:
        """Take the next bytes of the stream and return the members that they complete.

        Raises:
            InvalidLayer: The stream is not a tar archive.
        """
        if self._ended:
            return []
        position = 0
        length = len(data)
        found = self._found = []
        while True:
            if self._skip:
                step = min(self._skip, length - position)
                position += step
                self._skip -= step
                self._offset += step
                if self._skip:
                    break
            missing = self._wanted - len(self._buffer)
            if length - position < missing:
                self._buffer += data[position:]
                break
            block = data[position : position + missing]
            position += missing
            if self._buffer:
                block = bytes(self._buffer) + block
                self._buffer.clear()
            self._offset += len(block)
            try:
                self._wanted = self._steps.send(block)
            except StopIteration:
                self._ended = True
                break
            except _Malformed as error:
                raise InvalidLayer(
                    f"not a tar archive at byte {self._offset - len(block)}: {error}"
                ) from None
        return found

    @property
    def skippable(self) -> int:
        """How many of the next bytes need not be fed: contents and what fills up their blocks."""
        return self._skip

    def skip(self, size: int) -> None:
        """Pass over the next ``size`` bytes, at most :attr:`skippable`."""
        self._skip -= size
        self._offset += size

    def close(self) -> None:
        """Say that the stream has ended.

        Raises:
            InvalidLayer: It ended within a member.
        """
        # A missing end mark is let pass, as by GNU tar and Go's archive/tar, and so is missing
        # padding after the last member: `umoci insert` (0.4.7) writes such layers.
        cut = self._skip > self._padding or self._buffer or not self._at_header
        if not self._ended and cut:
            raise InvalidLayer(f"the tar archive ends in the middle of a member at {self._offset}")

    def _run(self) -> Generator[int, bytes, None]:
        """Yield how many bytes are wanted next, and get them sent."""
        pending = _Pending({})
        described = 0
        while True:
            self._at_header = True
            header = yield BLOCK
            self._at_header = False
            if header == _ZERO_BLOCK:
                self._zero_blocks += 1
                if self._zero_blocks == 2:
                    return
                continue
            if self._zero_blocks:
                raise _Malformed("a block of zeros stands alone between members")
            size = _check_and_size(header)
            kind = header[156:157]
            if kind in _META_TYPES:
                if size > limits.MAX_META_SIZE:
                    raise _Malformed(f"a header of {size} bytes is too long")
                described += BLOCK + size
                if described > 4 * limits.MAX_META_SIZE:
                    raise _Malformed("a member has too many headers")
                body = (yield _padded(size))[:size] if size else b""
                _note(pending, kind, body)
                continue
            entry, stored = _entry(header, size, pending)
            if entry.type is FileType.REGULAR:
                entry = yield from self._place(entry, stored, header, kind, pending)
            elif entry.size:
                # Whatever their size says, nothing follows these (as in Go's archive/tar).
                entry = entry._replace(size=0)
            if described:
                pending = _Pending({})
                described = 0
            self._cost += entry.cost
            if self._cost > limits.MAX_METADATA:
                raise _Malformed(
                    f"its members take more than {limits.MAX_METADATA >> 20} MiB of memory"
                )
            self._found.append(entry)

    def _place(
        self, entry: Entry, stored: int, header: bytes, kind: bytes, pending: _Pending
    ) -> Generator[int, bytes, Entry]:
        """Return a regular file with where its content is, and have that skipped."""
        pax = pending.pax
        size = entry.size
        segments: tuple[Segment, ...] = ()
        body_start = self._offset
        numbers: list[int] | None = None
        if kind == b"S":
            numbers = yield from _gnu_sparse_map(header)
            size = _checked_size(_number(header[483:495]))
            body_start = self._offset
        elif pax.get(b"GNU.sparse.major") == b"1":
            numbers = yield from _pax_sparse_map()
            stored -= self._offset - body_start
            body_start = self._offset
        elif b"GNU.sparse.map" in pax:
            numbers = [_decimal(text) for text in pax[b"GNU.sparse.map"].split(b",") if text]
        elif pending.sparse_numbers is not None:
            numbers = pending.sparse_numbers
        if numbers is None:
            if stored:
                segments = (Segment(0, body_start, stored),)
        else:
            real = pax.get(b"GNU.sparse.realsize") or pax.get(b"GNU.sparse.size")
            if real is not None:
                size = _file_size(real)
            segments = _sparse_segments(numbers, body_start, stored, size)
        if stored < 0:
            raise _Malformed("a sparse map is longer than its member")
        self._skip = _padded(stored)
        self._padding = self._skip - stored
        if size == entry.size and not segments:
            return entry
        # As _replace() does, in a quarter of its time: there are many.
        return Entry(*entry[:6], size, *entry[7:-1], segments)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _text(raw: bytes) -> bytes:
    return raw.partition(b"\0")[0]


# Most fields of a header are those of the header before it.
@lru_cache(maxsize=4096)
def _number(raw: bytes) -> int:
    """Read a number field: octal digits, or GNU's base 256."""
    if raw[-1] in _ENDS:
        try:
            return int(raw[:-1], 8)  # what nearly all are
        except ValueError:
            pass
    if raw[0] & 0x80:
        value = int.from_bytes(raw, "big")
        bits = 8 * len(raw)
        # Bit 7 of the first byte is the mark, bit 6 the sign of a two's complement number.
        value &= (1 << (bits - 1)) - 1
        return value - (1 << (bits - 1)) if raw[0] & 0x40 else value
    digits = raw.strip(b" \0").split(b"\0", 1)[0].rstrip()
    if not digits:
        return 0
    try:
        return int(digits, 8)
    except ValueError:
        raise _Malformed(f"{raw!r} is not a number") from None


def _decimal(text: bytes) -> int:
    """Read a number of a pax record, which may have a plus sign, as Go reads it."""
    text = text.removeprefix(b"+")
    if not text.isdigit() or len(text) > 20:
        raise _Malformed(f"{text[:30]!r} is not a decimal number")
    return int(text)


def _check_and_size(header: bytes) -> int:
    field = header[148:156]
    try:
        expected = _number(field)
    except _Malformed:
        expected = -1
    # The field itself counts as blanks. Half of Adler-32 is just this sum, modulo a number that
    # only a header of unlikely bytes comes to, and much faster than sum().
    counted = expected + sum(field) - 8 * 0x20
    if zlib.adler32(header) & 0xFFFF != (counted + 1) % _ADLER_MODULUS:
        unsigned = sum(header) - sum(field) + 8 * 0x20
        # Some old tars summed signed characters.
        high = sum(byte > 127 for byte in header) - sum(byte > 127 for byte in field)
        if unsigned - 256 * high != expected:
            raise _Malformed("a header's checksum is wrong")
    return _checked_size(_number(header[124:136]))


def _file_size(text: bytes) -> int:
    return _checked_size(_decimal(text))


def _checked_size(size: int) -> int:
    if not 0 <= size < MAX_FILE_SIZE:
        raise _Malformed(f"a member has the size {size}")
    return size


def _note(pending: _Pending, kind: bytes, body: bytes) -> None:
    """Take in a member that describes the next one."""
    if kind == b"L":
        pending.name = _text(body)
    elif kind == b"K":
        pending.link = _text(body)
    elif kind != b"g":
        # Global headers are ignored, as every container engine does: what they hold in
        # practice is a comment (git archive), and applying them would make layers mean
        # something else here than there.
        _note_pax(pending, body)


def _note_pax(pending: _Pending, body: bytes) -> None:
    """Read pax records: ``length key=value\\n``; a length counts its whole record."""
    position = 0
    while position < len(body):
        space = body.find(b" ", position, position + 21)
        if space < 0:
            if not body[position:].strip(b"\0"):
                return
            raise _Malformed("a pax record has no length")
        end = position + _decimal(body[position:space])
        record = body[space + 1 : end - 1]
        key, equals, value = record.partition(b"=")
        if end > len(body) or end <= space or body[end - 1 : end] != b"\n" or not equals:
            raise _Malformed("a pax record is malformed")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):
            if pending.sparse_numbers is None:
                pending.sparse_numbers = []
            pending.sparse_numbers.append(_decimal(value))
        else:
            pending.pax[key] = value
        position = end


def _entry(header: bytes, size: int, pending: _Pending) -> tuple[Entry, int]:
    """Return the member that a header describes and how many bytes follow the header."""
    pax = pending.pax
    kind = header[156:157]
    try:
        file_type = _TYPES[kind]
    except KeyError:
        raise _Malformed(f"a member has the unknown type {kind!r}") from None
    name = _text(header[:100])
    # In the old GNU format this field holds something else.
    if header[345] and header[257:263] == b"ustar\0":
        name = _text(header[345:500]) + b"/" + name
    if pending.name is not None:
        name = pending.name
    link = pending.link
    uid = gid = mtime = None
    if pax:
        # An empty value leaves what the header says (POSIX, "pax Extended Header").
        name = pax.get(b"GNU.sparse.name") or pax.get(b"path") or name
        link = pax.get(b"linkpath") or link
        uid, gid = pax.get(b"uid") or None, pax.get(b"gid") or None
        mtime = pax.get(b"mtime") or None
        if pax.get(b"size"):
            size = _file_size(pax[b"size"])
    if not name and file_type is FileType.DIRECTORY:
        name = b"./"  # the root, as docker, umoci and GNU tar have it
    if not name or b"\0" in name:
        raise _Malformed("a member has no valid name")
    if file_type is FileType.REGULAR and name.endswith(b"/") and kind in (b"0", b"\0"):
        file_type = FileType.DIRECTORY  # how tars before POSIX wrote directories
    if link is None:
        link = _text(header[157:257])
    if max(len(name), len(link)) > limits.MAX_PATH:
        raise _Malformed(f"{name[:40]!r}... has a path longer than {limits.MAX_PATH} bytes")
    rdev = (0, 0)
    if file_type in (FileType.CHARACTER, FileType.BLOCK):
        rdev = (_number(header[329:337]), _number(header[337:345]))
        if not (0 <= rdev[0] < MAJORS and 0 <= rdev[1] < MINORS):
            raise _Malformed(f"a device has the number {rdev[0]}:{rdev[1]}")
    entry = Entry(
        name,
        file_type,
        _number(header[100:108]) & 0o7777,
        _owner(uid, header[108:116]),
        _owner(gid, header[116:124]),
        _time(header[136:148]) if mtime is None else _clamped(_nanoseconds(mtime)),
        size,
        link,
        rdev,
        _xattrs(pax) if pax else NO_XATTRS,
    )
    if pax:
        check_xattrs(entry, _Malformed)
    return entry, size


@lru_cache(maxsize=1024)
def _time(field: bytes) -> int:
    return _clamped(_number(field) * 1_000_000_000)


def _clamped(time: int) -> int:
    return min(max(time, _FIRST_TIME), _LAST_TIME)


@lru_cache(maxsize=1024)
def _owner(pax: bytes | None, field: bytes) -> int:
    value = _decimal(pax) if pax is not None else _number(field)
    if not 0 <= value < 1 << 32:
        raise _Malformed(f"a member has the owner {value}")
    return value


def _nanoseconds(text: bytes) -> int:
    """Read a pax time: decimal seconds, possibly negative, with any number of decimals."""
    whole, _, fraction = text.partition(b".")
    negative = whole.startswith(b"-")
    seconds = _decimal(whole.removeprefix(b"-") or b"0")
    nanoseconds = _decimal((fraction + b"000000000")[:9])
    value = seconds * 1_000_000_000 + nanoseconds
    return -value if negative else value


def _xattrs(pax: dict[bytes, bytes]) -> dict[bytes, bytes]:
    found = {
        key.removeprefix(b"SCHILY.xattr."): value
        for key, value in pax.items()
        if key.startswith(b"SCHILY.xattr.")
    }
    if any(b"\0" in name for name in found):
        raise _Malformed("the name of an extended attribute holds a zero byte")
    if found:
        # bsdtar writes both forms, and odd names differently in each of them: taken
        # together they would be attributes that the file never had. Container engines
        # only read star's form.
        return found
    for key, value in pax.items():
        if key.startswith(b"LIBARCHIVE.xattr."):
            try:
                decoded = base64.b64decode(value + b"=" * (-len(value) % 4))
            except binascii.Error:
                raise _Malformed(f"{key!r} is not base64") from None
            found[unquote_to_bytes(key.removeprefix(b"LIBARCHIVE.xattr."))] = decoded
    return found


def _gnu_sparse_map(header: bytes) -> Generator[int, bytes, list[int]]:
    """Read the map of an old GNU sparse member: 4 pairs in the header, 21 in each block after."""
    numbers: list[int] = []
    fields, extended = header[386:482], header[482]
    while True:
        for start in range(0, len(fields), 12):
            if not fields[start]:
                break
            numbers.append(_number(fields[start : start + 12]))
        if not extended:
            return numbers
        if len(numbers) * 12 > limits.MAX_META_SIZE:
            raise _Malformed("a sparse map is too long")
        block = yield BLOCK
        fields, extended = block[:504], block[504]


def _pax_sparse_map() -> Generator[int, bytes, list[int]]:
    """Read the map of a pax sparse 1.0 member: decimal lines at the start of its content."""
    numbers: list[int] = []
    count: int | None = None
    rest = b""
    while count is None or len(numbers) < 2 * count:
        block = yield BLOCK
        *lines, rest = (rest + block).split(b"\n")
        if len(rest) > BLOCK or len(numbers) * 12 > limits.MAX_META_SIZE:
            raise _Malformed("a sparse map is too long")
        for line in lines:
            if count is None:
                count = _decimal(line)
            elif len(numbers) < 2 * count:
                numbers.append(_decimal(line))
    return numbers


def _sparse_segments(
    numbers: list[int], body_start: int, stored: int, size: int
) -> tuple[Segment, ...]:
    if len(numbers) % 2:
        raise _Malformed("a sparse map has an odd number of numbers")
    segments = []
    position = 0
    last_end = 0
    for offset, length in zip(numbers[::2], numbers[1::2], strict=True):
        if offset < last_end or length < 0 or offset + length > size:
            raise _Malformed("a sparse map is out of order or longer than its file")
        if length:
            segments.append(Segment(offset, body_start + position, length))
        position += length
        last_end = offset + length
    if position > stored:
        raise _Malformed("a sparse map is longer than its content")
    return tuple(segments)
