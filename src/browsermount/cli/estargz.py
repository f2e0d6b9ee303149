"""Writing eStargz layers: gzipped archives whose files can be read one by one.

https://github.com/containerd/stargz-snapshotter/blob/main/docs/estargz.md
"""

from __future__ import annotations

import base64
import hashlib
import json
import zlib
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, BinaryIO

from browsermount import limits
from browsermount.cli.archives import ending, header, padding
from browsermount.errors import InvalidLayer
from browsermount.layers.entry import Entry, FileType
from browsermount.layers.estargz import (
    NO_PREFETCH_LANDMARK,
    PREFETCH_LANDMARK,
    TOC_NAME,
    is_metadata,
    layer_path,
)

CHUNK_SIZE = 4 << 20
"""Bytes of a file that are a chunk of their own, as the estargz library has it."""

_LANDMARK = b"\x0f"
_GZIP_WBITS = 31
_TYPES = {
    None: "hardlink",
    FileType.FIFO: "fifo",
    FileType.CHARACTER: "char",
    FileType.DIRECTORY: "dir",
    FileType.BLOCK: "block",
    FileType.REGULAR: "reg",
    FileType.SYMLINK: "symlink",
}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Read = Callable[[Entry, int, int], bytes]
"""Returns so many bytes from an offset of an entry's content."""


class _Members:
    """gzip members, one after the other, with the digests of all that they hold."""

    def __init__(self, target: BinaryIO, level: int) -> None:
        self._target = target
        self._level = level
        self._compressor: Any = None
        self.offset = 0
        self.plain_size = 0
        self.blob = hashlib.sha256()
        self.plain = hashlib.sha256()

    def write(self, data: bytes) -> None:
        """Add bytes to the member that is open."""
        if self._compressor is None:
            self._compressor = zlib.compressobj(self._level, zlib.DEFLATED, _GZIP_WBITS)
        self.plain.update(data)
        self.plain_size += len(data)
        self.write_raw(self._compressor.compress(data))

    def close(self) -> None:
        """End the member that is open: the next one begins at ``offset``."""
        if self._compressor is not None:
            self.write_raw(self._compressor.flush())
            self._compressor = None

    def write_raw(self, data: bytes) -> None:
        """Write bytes that are compressed already."""
        self._target.write(data)
        self.blob.update(data)
        self.offset += len(data)


class EstargzLayer:
    """A layer as it was written.

    Attributes:
        digest: Of the blob, as ``sha256:...``; ``size`` is its length.
        diff_id: Of the archive in it.
        plain_size: The archive's length.
        toc_digest: Of the table of contents, for the annotation in the manifest.
    """

    def __init__(self, members: _Members, toc_digest: str) -> None:
        self.digest = f"sha256:{members.blob.hexdigest()}"
        self.size = members.offset
        self.diff_id = f"sha256:{members.plain.hexdigest()}"
        self.plain_size = members.plain_size
        self.toc_digest = toc_digest


def write_estargz(
    target: BinaryIO,
    entries: Sequence[Entry],
    read: Read,
    *,
    level: int,
    first: Sequence[bytes] = (),
) -> EstargzLayer:
    """Write a layer of ``entries``, with the landmark that says how much is to be prefetched.

    Args:
        target: Gets the blob.
        entries: The members in their order. Marks and tables of an eStargz layer that they
            come from are left out.
        read: Gives their contents.
        level: How hard zlib tries, 1 to 9.
        first: The names, as by :func:`browsermount.layers.estargz.layer_path`, of what is
            needed first, in that order; those that are not there do not matter.

    Raises:
        InvalidLayer: A name or time is none that a table of contents can hold.
    """
    members = _Members(target, level)
    rows: list[dict[str, Any]] = []
    entries = [entry for entry in entries if not is_metadata(entry.name)]
    before, after = _split(entries, first)
    name = PREFETCH_LANDMARK if before else NO_PREFETCH_LANDMARK
    landmark = Entry(name, FileType.REGULAR, mode=0o444, size=len(_LANDMARK))
    for entry in before:
        _write(members, rows, entry, read)
    _write(members, rows, landmark, lambda entry, offset, size: _LANDMARK)
    for entry in after:
        _write(members, rows, entry, read)
    members.close()
    toc_offset = members.offset
    toc = json.dumps({"version": 1, "entries": rows}, separators=(",", ":")).encode()
    members.write(header(Entry(TOC_NAME, FileType.REGULAR, size=len(toc))))
    members.write(toc + padding(len(toc)) + ending()[:1024])
    members.close()
    members.write_raw(_footer(toc_offset))
    return EstargzLayer(members, f"sha256:{hashlib.sha256(toc).hexdigest()}")


def _split(entries: Sequence[Entry], first: Sequence[bytes]) -> tuple[list[Entry], Sequence[Entry]]:
    """Return the members that come before the landmark, and those that come behind it.

    The directories and the other name of a file come along, so that the archive can still be
    unpacked from its start to its end.
    """
    places: dict[bytes, list[int]] = {}
    for place, entry in enumerate(entries):
        places.setdefault(layer_path(entry.name), []).append(place)
    moved: dict[int, None] = {}

    def move(name: bytes) -> None:
        # Of several members of one name the last one counts: they stay in their order.
        if len(found := places.get(name, [])) != 1 or found[0] in moved:
            return
        if b"/" in name:
            move(name.rpartition(b"/")[0])
        entry = entries[found[0]]
        if entry.type is None:
            move(layer_path(entry.link))
        moved[found[0]] = None

    for name in first:
        move(name)
    rest = [entry for place, entry in enumerate(entries) if place not in moved]
    return [entries[place] for place in moved], rest


def _write(members: _Members, rows: list[dict[str, Any]], entry: Entry, read: Read) -> None:
    row = _row(entry)
    rows.append(row)
    members.write(header(entry))
    if entry.type is not FileType.REGULAR:
        return
    if entry.holes > limits.MAX_HOLES:
        raise InvalidLayer(
            f"{entry.name!r} has {entry.holes} bytes of holes, which eStargz cannot hold but as "
            "zeros",
            hint="Choose another compression for this image.",
        )
    whole = hashlib.sha256()
    for offset in range(0, entry.size, CHUNK_SIZE):
        size = min(CHUNK_SIZE, entry.size - offset)
        members.close()
        chunk = row if offset == 0 else {"name": row["name"], "type": "chunk"}
        chunk["offset"] = members.offset
        if offset:
            chunk["chunkOffset"] = offset
            rows.append(chunk)
        if entry.size > CHUNK_SIZE:
            chunk["chunkSize"] = size
        data = read(entry, offset, size)
        members.write(data)
        whole.update(data)
        chunk["chunkDigest"] = f"sha256:{hashlib.sha256(data).hexdigest()}"
    row["digest"] = f"sha256:{whole.hexdigest()}"
    members.write(padding(entry.size))


def _row(entry: Entry) -> dict[str, Any]:
    """Return an entry's row of the table of contents; what is zero or empty is left out."""
    row: dict[str, Any] = {"name": _name(entry, entry.name), "type": _TYPES[entry.type]}
    if entry.type is FileType.REGULAR and entry.size:
        row["size"] = entry.size
    if seconds := entry.mtime_ns // 10**9:
        row["modtime"] = _time(entry, seconds)
    if entry.link:
        row["linkName"] = _name(entry, entry.link)
    numbers = {"mode": entry.mode, "uid": entry.uid, "gid": entry.gid}
    numbers |= {"devMajor": entry.rdev[0], "devMinor": entry.rdev[1]}
    row |= {name: number for name, number in numbers.items() if number}
    if entry.xattrs and entry.type is not None:
        row["xattrs"] = {
            _name(entry, name): base64.b64encode(value).decode()
            for name, value in entry.xattrs.items()
        }
    return row


def _name(entry: Entry, name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise InvalidLayer(
            f"the name {name!r} of {entry.name!r} is not UTF-8, which eStargz cannot hold",
            hint="Choose another compression for this image.",
        ) from None


def _time(entry: Entry, seconds: int) -> str:
    try:
        return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%dT%H:%M:%SZ}".zfill(20)
    except OverflowError:
        raise InvalidLayer(
            f"the time of {entry.name!r} is not between the years 1 and 9999, which are what "
            "eStargz can hold",
            hint="Choose another compression for this image.",
        ) from None


def _footer(toc_offset: int) -> bytes:
    """Return an empty gzip member that says in its extra field where the table is."""
    field = f"{toc_offset:016x}STARGZ".encode()
    extra = b"SG" + len(field).to_bytes(2, "little") + field
    start = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + len(extra).to_bytes(2, "little") + extra
    return start + b"\x01\0\0\xff\xff" + bytes(8)
