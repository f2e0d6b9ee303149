"""Where the decompressed stream of a layer is kept, outside Python's heap where there is a way."""

from __future__ import annotations

import os
import tempfile
from typing import Protocol


class Arena(Protocol):
    """Bytes that are appended once and read many times."""

    @property
    def size(self) -> int:
        """How many bytes were appended."""

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer at the end."""


class MemoryArena:
    """An arena in Python's heap, for tests and small things."""

    def __init__(self) -> None:
        self._data = bytearray()

    @property
    def size(self) -> int:
        """How many bytes were appended."""
        return len(self._data)

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        self._data += data

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer at the end."""
        return bytes(memoryview(self._data)[offset : offset + size])


class FileArena:
    """An arena in an unnamed temporary file, which goes when the arena does."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile(prefix="browsermount-", buffering=0)  # noqa: SIM115
        self._size = 0

    @property
    def size(self) -> int:
        """How many bytes were appended."""
        return self._size

    def append(self, data: bytes) -> None:
        """Add bytes at the end."""
        view = memoryview(data)
        while view:
            written = os.pwrite(self._file.fileno(), view, self._size)
            self._size += written
            view = view[written:]

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer at the end."""
        return os.pread(self._file.fileno(), size, offset)
