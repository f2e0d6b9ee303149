"""What is in a file: bytes that are read when they are asked for."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from typing import Protocol

from browsermount.layers.entry import Segment


class Content(Protocol):
    """The bytes of one file."""

    @property
    def size(self) -> int:
        """The file's length in bytes."""

    def read_now(self, offset: int, size: int) -> bytes | None:
        """Return up to ``size`` bytes from ``offset``, or None when they have to be awaited."""

    async def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer only at the end of the file.

        Raises:
            OSError: The bytes cannot be had.
        """


class Stream(Protocol):
    """The decompressed stream of a layer."""

    def read_now(self, offset: int, size: int) -> bytes | None:
        """Return ``size`` bytes from ``offset``, or None when they have to be awaited."""

    async def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``.

        Raises:
            OSError: The bytes cannot be had.
        """


class BytesContent:
    """Contents that are in memory."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes = b"") -> None:
        self._data = data

    @property
    def size(self) -> int:
        """The file's length in bytes."""
        return len(self._data)

    def read_now(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""
        return self._data[offset : offset + size]

    async def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""
        return self.read_now(offset, size)


class StreamContent:
    """Contents in one piece of a layer's stream: what nearly all files have."""

    __slots__ = ("size", "start", "stream")

    def __init__(self, stream: Stream, start: int, size: int) -> None:
        self.stream = stream
        self.start = start
        self.size = size

    def read_now(self, offset: int, size: int) -> bytes | None:
        """Return up to ``size`` bytes from ``offset``, or None when they have to be awaited."""
        size = min(size, self.size - offset)
        return self.stream.read_now(self.start + offset, size) if size > 0 else b""

    async def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; see :meth:`Content.read`."""
        size = min(size, self.size - offset)
        return await self.stream.read(self.start + offset, size) if size > 0 else b""


class SparseContent:
    """Contents in several pieces of a layer's stream, with holes between them."""

    __slots__ = ("_segments", "_stream", "size")

    def __init__(self, stream: Stream, segments: Sequence[Segment], size: int) -> None:
        self._stream = stream
        self._segments = segments
        self.size = size

    @property
    def pieces(self) -> Iterator[tuple[int, int]]:
        """Iterate over where in the file there is something else than holes, and how much."""
        return ((segment.file_offset, segment.size) for segment in self._segments)

    def read_now(self, offset: int, size: int) -> bytes | None:
        """Return up to ``size`` bytes from ``offset``, or None when they have to be awaited."""
        result = bytearray(max(min(size, self.size - offset), 0))
        for place, start, length in self._pieces(offset, len(result)):
            data = self._stream.read_now(start, length)
            if data is None:
                return None
            result[place : place + length] = data
        return bytes(result)

    async def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; see :meth:`Content.read`."""
        result = bytearray(max(min(size, self.size - offset), 0))
        for place, start, length in self._pieces(offset, len(result)):
            result[place : place + length] = await self._stream.read(start, length)
        return bytes(result)

    def _pieces(self, offset: int, size: int) -> Iterator[tuple[int, int, int]]:
        """Iterate over where in the result, and from where in the stream, how many bytes go."""
        start = bisect_right(self._segments, offset, key=lambda s: s.file_offset) - 1
        for number in range(max(start, 0), len(self._segments)):
            segment = self._segments[number]
            if segment.file_offset >= offset + size:
                return
            first = max(offset, segment.file_offset)
            last = min(offset + size, segment.file_offset + segment.size)
            if first < last:
                start = segment.stream_offset + first - segment.file_offset
                yield first - offset, start, last - first


EMPTY = BytesContent()


def content_of(stream: Stream, segments: Sequence[Segment], size: int) -> Content:
    """Return the simplest content for ``segments`` of ``stream``."""
    if size == 0:
        return EMPTY
    if len(segments) == 1 and segments[0].file_offset == 0 and segments[0].size == size:
        return StreamContent(stream, segments[0].stream_offset, size)
    return SparseContent(stream, segments, size)
