"""An arena in JavaScript buffers, outside Python's heap.

WebAssembly memory never shrinks and ends at 4 GiB, what is in it counts
against every growth, and a ``bytearray`` that grows is copied; buffers of
their own have none of these troubles.
"""

from __future__ import annotations

from typing import Any

import js

CHUNK = 4 << 20
"""Bytes in each buffer."""


class BufferArena:
    """A :class:`browsermount.blobs.arena.Arena` in ``ArrayBuffer`` objects of equal size."""

    def __init__(self, chunk: int = CHUNK) -> None:
        self._chunk = chunk
        self._buffers: list[Any] = []
        self._size = 0

    @property
    def size(self) -> int:
        """How many bytes were appended."""
        return self._size

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        view = memoryview(data)
        while view:
            index, start = divmod(self._size, self._chunk)
            if index == len(self._buffers):
                self._buffers.append(js.Uint8Array.new(self._chunk))
            part = view[: self._chunk - start]
            self._buffers[index].subarray(start, start + len(part)).assign(part)
            self._size += len(part)
            view = view[len(part) :]

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer at the end."""
        end = min(offset + size, self._size)
        parts = []
        while offset < end:
            index, start = divmod(offset, self._chunk)
            stop = min(self._chunk, start + end - offset)
            parts.append(self._buffers[index].subarray(start, stop).to_bytes())
            offset += stop - start
        # Reads that lie in one buffer, which is nearly all of them, are not copied again.
        return parts[0] if len(parts) == 1 else b"".join(parts)
