"""What a store keeps its bytes in: named files of a memory, a directory or a browser."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol

from browsermount.blobs.buffers import Buffer, MemoryBuffer, NewBuffer
from browsermount.blobs.ranges import RangeSet


class NoRoom(Exception):
    """Nothing more can be written: the disk is full, or the browser's quota is used up."""


class File(Protocol):
    """A file that is written in pieces, in any order, and read at once."""

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; what was never written may be anything."""

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at ``offset``, after a hole where the file is shorter.

        Raises:
            NoRoom: They do not fit.
        """

    def close(self) -> None:
        """Let the file go; it stays where it is kept."""


class Files(Protocol):
    """Named files, shared with whoever else uses the same place."""

    async def open(self, name: str) -> File:
        """Open a file for reading and writing; it is made where it is missing.

        Raises:
            NoRoom: It cannot be made or opened.
        """

    async def read(self, name: str) -> bytes | None:
        """Return a whole file, or None where there is none."""

    async def replace(self, name: str, data: bytes) -> None:
        """Write a whole file.

        Raises:
            NoRoom: It does not fit.
        """

    async def remove(self, name: str) -> bool:
        """Remove a file; False when it is in use elsewhere and stays."""

    async def names(self) -> list[str]:
        """Return the names of all files."""

    def lock(self) -> AbstractAsyncContextManager[None]:
        """Keep everybody else out who asks for this lock."""


class MemoryFile:
    """A file in memory.

    Args:
        new_buffer: Where the bytes go.
    """

    def __init__(self, new_buffer: NewBuffer = MemoryBuffer) -> None:
        self._new_buffer = new_buffer
        self._written = RangeSet()
        self._starts: list[int] = []
        self._pieces: list[Buffer] = []

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; see :meth:`File.read`."""
        parts = []
        index = max(bisect_right(self._starts, offset) - 1, 0)
        while size > 0 and index < len(self._starts):
            skip = offset - self._starts[index]
            part = self._pieces[index].read(skip, size) if skip >= 0 else b""
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
            index += 1
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at ``offset``; bytes that are there already stay as they are."""
        for start, end in list(self._written.missing(offset, offset + len(data))):
            index = bisect_right(self._starts, start)
            self._starts.insert(index, start)
            self._pieces.insert(index, self._new_buffer(data[start - offset : end - offset]))
        self._written.add(offset, offset + len(data))

    def close(self) -> None:
        """Do nothing: the memory goes with the object."""


class MemoryFiles:
    """Files in memory, which go when the object does.

    Args:
        new_buffer: Where their bytes go.
    """

    def __init__(self, new_buffer: NewBuffer = MemoryBuffer) -> None:
        self._new_buffer = new_buffer
        self._files: dict[str, MemoryFile] = {}
        self._whole: dict[str, bytes] = {}

    async def open(self, name: str) -> File:
        """Open a file; see :meth:`Files.open`."""
        return self._files.setdefault(name, MemoryFile(self._new_buffer))

    async def read(self, name: str) -> bytes | None:
        """Return a file that was written as a whole; see :meth:`Files.read`."""
        return self._whole.get(name)

    async def replace(self, name: str, data: bytes) -> None:
        """Write a whole file; see :meth:`Files.replace`."""
        self._whole[name] = data

    async def remove(self, name: str) -> bool:
        """Remove a file; see :meth:`Files.remove`."""
        self._files.pop(name, None)
        self._whole.pop(name, None)
        return True

    async def names(self) -> list[str]:
        """Return the names of all files."""
        return [*self._files, *self._whole]

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Nobody else can see these files."""
        yield
