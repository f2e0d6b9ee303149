"""Decompressed data that is held for a while, outside Python's heap where there is a way."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Protocol


class Buffer(Protocol):
    """Bytes that were stored once and are read many times."""

    @property
    def size(self) -> int:
        """How many bytes there are."""

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer only at the end."""


NewBuffer = Callable[[bytes], Buffer]
"""Stores bytes and returns them as a :class:`Buffer`."""


class MemoryBuffer:
    """A buffer in Python's heap."""

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self._data)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer only at the end."""
        return self._data[offset : offset + size]


class BufferCache:
    """Buffers by key, of which the least recently used go when they become too many.

    Args:
        limit: How many bytes may be held.
        new_buffer: Where the bytes go.
    """

    def __init__(self, limit: int, new_buffer: NewBuffer = MemoryBuffer) -> None:
        self.limit = limit
        self.new_buffer = new_buffer
        self._buffers: OrderedDict[Hashable, Buffer] = OrderedDict()
        self._size = 0

    @property
    def size(self) -> int:
        """How many bytes are held."""
        return self._size

    def get(self, key: Hashable) -> Buffer | None:
        """Return the buffer of ``key``, or None when it is not, or no more, held."""
        buffer = self._buffers.get(key)
        if buffer is not None:
            self._buffers.move_to_end(key)
        return buffer

    def put(self, key: Hashable, data: bytes) -> Buffer:
        """Hold ``data`` and return it as a buffer, which stays usable when it is let go here."""
        buffer = self.new_buffer(data)
        old = self._buffers.pop(key, None)
        self._size += buffer.size - (old.size if old is not None else 0)
        self._buffers[key] = buffer
        while self._size > self.limit and len(self._buffers) > 1:
            _, oldest = self._buffers.popitem(last=False)
            self._size -= oldest.size
        return buffer
