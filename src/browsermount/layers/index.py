"""What is known of a layer once it has been read: its members, and where their content is."""

from __future__ import annotations

import hashlib
import sys
import zlib
from array import array
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import accumulate, islice, pairwise, repeat
from operator import add
from typing import Any, Literal

from browsermount import limits
from browsermount.layers.entry import NO_XATTRS, Entry, FileType, Segment
from browsermount.layers.garbage import uncollected
from browsermount.layers.span import OWN_ALGORITHM, Codec, Over, Span
from browsermount.oci.digest import Digest
from browsermount.steps import Steps, finish

Stored = Literal["blob", "plain"]

VERSION = 1
"""Version of the form that :meth:`LayerIndex.to_bytes` gives."""

MAX_PLAIN_SIZE = 2 * limits.MAX_METADATA
"""Bytes that the columns of an index may have together: more than any index that we write."""

_ENTRIES = 1000
"""Members or spans that are read in one step."""

_MAGIC = b"bmindex"
_CHECKSUM_SIZE = 16
_TYPES = (None, *FileType)
_ALGORITHMS = (OWN_ALGORITHM, "sha256", "sha384", "sha512")
_OVERS: tuple[Over, ...] = ("plain", "blob")
_STORED: tuple[Stored, ...] = ("blob", "plain")
_SECOND = 1_000_000_000


# Makes a named tuple of values. None of Python's own code is executed for each: in the page it is
# not compiled yet when the first index is read, and takes 20 times as long as later.
_made: Any = tuple.__new__


class LayerKind(IntEnum):
    """The forms in which layers are stored."""

    TAR = 0
    GZIP = 1
    ZSTD = 2
    ESTARGZ = 3
    ZSTD_CHUNKED = 4


class UnusableIndex(ValueError):
    """The bytes are not an index, or are one of another version, or were damaged."""


@dataclass(slots=True)
class LayerIndex:
    """The members of a layer and where their content is.

    Attributes:
        kind: How the layer is stored.
        entries: The members in their order.
        spans: Where the plain stream is to be had from, by ``stream_offset``. Not all of
            the stream may be in one: only what members need.
        stored: What spans point into: the blob, or the plain stream, which then has to be
            kept, because the blob cannot be entered in the middle.
        from_toc: Whether this comes from the layer's own table of contents, and not from
            reading all of it. If it does not although ``kind`` has such a table, the
            manifest does not vouch for the table.
        prefetch: How many bytes from the blob's start hold the files that its maker thought
            to be needed first; 0 where nothing is known of that.
    """

    kind: LayerKind
    entries: list[Entry] = field(default_factory=list)
    spans: list[Span] = field(default_factory=list)
    stored: Stored = "blob"
    from_toc: bool = False
    prefetch: int = 0

    def to_bytes(self) -> bytes:
        """Return the index in a compact form for a cache."""
        return finish(self.to_bytes_in_steps())

    def to_bytes_in_steps(self) -> Steps[bytes]:
        """Do what :meth:`to_bytes` does, column by column."""
        writer = _Writer()
        flags = [self.kind, _STORED.index(self.stored), self.from_toc, self.prefetch]
        writer.numbers(flags)
        yield from _write_entries(writer, self.entries)
        yield from _write_spans(writer, self.spans)
        body = _MAGIC + bytes([VERSION]) + writer.finish()
        return body + hashlib.blake2b(body, digest_size=_CHECKSUM_SIZE).digest()

    @classmethod
    def from_bytes(cls, data: bytes) -> LayerIndex:
        """Read what :meth:`to_bytes` gave.

        Raises:
            UnusableIndex: See there; the layer has to be read once more.
        """
        return finish(cls.from_bytes_in_steps(data))

    @classmethod
    def from_bytes_in_steps(cls, data: bytes) -> Steps[LayerIndex]:
        """Do what :meth:`from_bytes` does, in steps.

        Raises:
            UnusableIndex: See there.
        """
        start = len(_MAGIC) + 1
        if len(data) < start + _CHECKSUM_SIZE or data[:start] != _MAGIC + bytes([VERSION]):
            raise UnusableIndex("not an index, or one of another version")
        body, checksum = data[:-_CHECKSUM_SIZE], data[-_CHECKSUM_SIZE:]
        if hashlib.blake2b(body, digest_size=_CHECKSUM_SIZE).digest() != checksum:
            raise UnusableIndex("the index is damaged")
        reader = _Reader(body, start)
        try:
            kind, stored, from_toc, prefetch = reader.numbers()
            with uncollected():
                entries = yield from _read_entries(reader)
                spans = yield from _read_spans(reader)
            return cls(LayerKind(kind), entries, spans, _STORED[stored], bool(from_toc), prefetch)
        except (LookupError, ValueError, OverflowError, zlib.error) as error:
            # The checksum is no secret: whoever can write to the cache can make one that is right.
            raise UnusableIndex("the index is malformed") from error


def _write_entries(writer: _Writer, entries: Sequence[Entry]) -> Steps[None]:
    # By columns: these compress well, and whole columns are fast to write and read.
    writer.numbers(0 if e.type is None else e.type >> 12 for e in entries)
    yield
    writer.numbers(e.mode for e in entries)
    yield
    writer.numbers(e.uid for e in entries)
    yield
    writer.numbers(e.gid for e in entries)
    yield
    writer.numbers(e.mtime_ns // _SECOND for e in entries)
    yield
    writer.numbers(e.mtime_ns % _SECOND for e in entries)
    yield
    writer.numbers(e.size for e in entries)
    yield
    writer.numbers(e.rdev[0] << 20 | e.rdev[1] for e in entries)
    yield
    writer.strings([e.name for e in entries])
    yield
    writer.strings([e.link for e in entries])
    yield
    writer.numbers(len(e.segments) for e in entries)
    yield
    segments = [segment for e in entries for segment in e.segments]
    writer.numbers(s.file_offset for s in segments)
    yield
    writer.rising(s.stream_offset for s in segments)
    yield
    writer.numbers(s.size for s in segments)
    yield
    writer.numbers(len(e.xattrs) for e in entries)
    yield
    writer.strings([name for e in entries for name in e.xattrs])
    yield
    writer.strings([value for e in entries for value in e.xattrs.values()])
    yield


def _read_entries(reader: _Reader) -> Steps[list[Entry]]:
    types, modes, uids, gids, seconds, rests, sizes, rdevs = (reader.numbers() for _ in range(8))
    yield
    names = reader.strings()
    yield
    links = reader.strings()
    counts = reader.numbers()
    yield
    places = zip(reader.numbers(), reader.rising(), reader.numbers(), strict=True)
    segments = map(_made, repeat(Segment), places)
    yield
    xattr_counts = reader.numbers()
    xattrs = zip(reader.strings(), reader.strings(), strict=True)
    yield
    columns = zip(
        names,
        map({0 if t is None else t >> 12: t for t in _TYPES}.__getitem__, types),
        modes,
        uids,
        gids,
        map(add, map(_SECOND.__mul__, seconds), rests),
        sizes,
        links,
        map(divmod, rdevs, repeat(1 << 20)),
        map(dict, map(islice, repeat(xattrs), xattr_counts))
        if any(xattr_counts)
        else [NO_XATTRS] * len(xattr_counts),
        map(tuple, map(islice, repeat(segments), counts)),
        strict=True,
    )
    rest = map(_made, repeat(Entry), columns)
    entries: list[Entry] = []
    while some := list(islice(rest, _ENTRIES)):
        entries += some
        yield
    return entries


def _write_spans(writer: _Writer, spans: Sequence[Span]) -> Steps[None]:
    writer.rising(s.stream_offset for s in spans)
    yield
    writer.numbers(s.size for s in spans)
    yield
    writer.rising(s.blob_offset for s in spans)
    yield
    writer.numbers(s.blob_size for s in spans)
    yield
    writer.numbers(s.codec for s in spans)
    yield
    writer.numbers(s.skip for s in spans)
    yield
    writer.numbers(s.bits for s in spans)
    yield
    writer.numbers(_OVERS.index(s.over) for s in spans)
    yield
    writer.numbers(_ALGORITHMS.index(s.digest.algorithm) for s in spans)
    yield
    writer.strings([bytes.fromhex(s.digest.encoded) for s in spans], compress=False)
    yield
    writer.strings([s.packed_window for s in spans], compress=False)
    yield


def _read_spans(reader: _Reader) -> Steps[list[Span]]:
    stream_offsets, sizes = reader.rising(), reader.numbers()
    blob_offsets, blob_sizes = reader.rising(), reader.numbers()
    codecs = map(list(Codec).__getitem__, reader.numbers())
    skips, bits = reader.numbers(), reader.numbers()
    overs = map(_OVERS.__getitem__, reader.numbers())
    algorithms = map(_ALGORITHMS.__getitem__, reader.numbers())
    hexes = map(bytes.hex, reader.strings())
    digests = map(_made, repeat(Digest), zip(algorithms, hexes, strict=True))
    windows = reader.strings()
    yield
    columns = stream_offsets, sizes, blob_offsets, blob_sizes, codecs, digests, overs, skips, bits
    rest = map(_made, repeat(Span), zip(*columns, windows, strict=True))
    spans: list[Span] = []
    while some := list(islice(rest, _ENTRIES)):
        spans += some
        yield
    return spans


class _Writer:
    """Writes columns one after the other, each with its length in front."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def numbers(self, values: Iterable[int]) -> None:
        """Write signed numbers of 64 bits."""
        self.block(_little(array("q", values)).tobytes())

    def rising(self, values: Iterable[int]) -> None:
        """Write numbers that mostly rise."""
        self.numbers(b - a for a, b in pairwise([0, *values]))

    def strings(self, values: Sequence[bytes], *, compress: bool = True) -> None:
        """Write strings of bytes."""
        self.numbers(map(len, values))
        self.block(b"".join(values), compress=compress)

    def block(self, data: bytes, *, compress: bool = True) -> None:
        """Write bytes."""
        packed = zlib.compress(data, 3) if compress else data
        self._parts += [bytes([compress]), len(packed).to_bytes(8, "little"), packed]

    def finish(self) -> bytes:
        """Return all that was written."""
        return b"".join(self._parts)


class _Reader:
    """Reads what :class:`_Writer` wrote; the checksum has been found right.

    Raises:
        LookupError, ValueError, OverflowError, zlib.error: It was somebody else who wrote it.
    """

    def __init__(self, data: bytes, position: int) -> None:
        self._data = memoryview(data)
        self._position = position
        self._left = MAX_PLAIN_SIZE

    def numbers(self) -> array[int]:
        values = array("q")
        values.frombytes(self.block())
        return _little(values)

    def rising(self) -> list[int]:
        return list(accumulate(self.numbers()))

    def strings(self) -> list[bytes]:
        ends = list(accumulate(self.numbers(), initial=0))
        data = bytes(self.block())
        return [data[start:end] for start, end in pairwise(ends)]

    def block(self) -> bytes | memoryview:
        start = self._position + 9
        end = start + int.from_bytes(self._data[self._position + 1 : start], "little")
        packed = self._data[start:end]
        compressed = self._data[self._position]
        self._position = end
        plain: bytes | memoryview = packed
        if compressed:
            decompressor = zlib.decompressobj()
            plain = decompressor.decompress(packed, self._left + 1)
        self._left -= len(plain)
        if self._left < 0 or (compressed and not decompressor.eof):
            raise ValueError("a column is too long, or too short")
        return plain


def _little(values: array[int]) -> array[int]:
    """Turn numbers from or to little-endian order, in place."""
    if sys.byteorder == "big":
        values.byteswap()
    return values
