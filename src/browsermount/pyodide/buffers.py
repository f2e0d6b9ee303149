"""Buffers in JavaScript's memory, outside Python's heap.

WebAssembly memory never shrinks and ends at 4 GiB, and what is in it counts
against every growth; buffers of their own have none of these troubles.
"""

from __future__ import annotations

from typing import Any

from pyodide.ffi import to_js


class JsBuffer:
    """A :class:`browsermount.blobs.buffers.Buffer` in a ``Uint8Array``, its ``array``."""

    __slots__ = ("array", "size")

    def __init__(self, data: bytes) -> None:
        self.array: Any = to_js(data)
        self.size = len(data)

    @classmethod
    def of(cls, array: Any) -> JsBuffer:
        """Return a buffer of an array that is there already, and does not change any more."""
        buffer = cls.__new__(cls)
        buffer.array = array
        buffer.size = int(array.length)
        return buffer

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; fewer only at the end."""
        result: bytes = self.array.subarray(offset, offset + size).to_bytes()
        return result
