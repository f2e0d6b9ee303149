"""Frames out of a stream of bytes, for transports that do not keep frames apart."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from browsermount.ninep.wire import HEADER

_SIZE = struct.Struct("<I")


class FramingError(ValueError):
    """The stream does not hold frames; nothing that follows can be made sense of."""


class FrameSplitter:
    """Cuts a stream into 9P frames by the ``size[4]`` that each begins with.

    Args:
        limit: The largest frame in bytes that is taken.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next bytes and iterate over the frames that are whole.

        Raises:
            FramingError: A frame is shorter than a header or longer than the limit.
        """
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= _SIZE.size:
            (size,) = _SIZE.unpack_from(self._buffer, start)
            if not HEADER.size <= size <= self._limit:
                raise FramingError(f"a frame of {size} bytes")
            if len(self._buffer) - start < size:
                break
            yield bytes(self._buffer[start : start + size])
            start += size
        del self._buffer[:start]
