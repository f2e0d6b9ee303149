"""Files in a directory of the host, shared by all processes that use it."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from filelock import FileLock

from browsermount.blobs.files import File, NoRoom

_LOCK = ".lock"
_NEW = ".new-"
_NEW_SECONDS = 3600.0
"""After so long, a file that is being written belongs to a process that was killed."""


class DirectoryFile:
    """A file of a :class:`DirectoryFiles`."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o600)

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""
        return os.pread(self._descriptor, size, offset)

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at ``offset``; see :meth:`browsermount.blobs.files.File.write`."""
        view = memoryview(data)
        try:
            while view:
                written = os.pwrite(self._descriptor, view, offset)
                offset += written
                view = view[written:]
        except OSError as error:
            raise NoRoom(str(error)) from error

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        self.close()


class DirectoryFiles:
    """A :class:`browsermount.blobs.files.Files` in a directory, which is made where it is missing.

    Args:
        path: The directory; nothing else may be in it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    async def open(self, name: str) -> File:
        """Open a file; see :meth:`browsermount.blobs.files.Files.open`."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            return DirectoryFile(self.path / name)
        except OSError as error:
            raise NoRoom(str(error)) from error

    async def read(self, name: str) -> bytes | None:
        """Return a whole file, or None where there is none."""
        try:
            return (self.path / name).read_bytes()
        except OSError:
            return None

    async def replace(self, name: str, data: bytes) -> None:
        """Write a whole file; others see the old or the new one, never a part."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=self.path, prefix=_NEW, delete=False) as file:
                try:
                    file.write(data)
                    file.close()
                    Path(file.name).replace(self.path / name)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            raise NoRoom(str(error)) from error

    async def remove(self, name: str) -> bool:
        """Remove a file; who has it open keeps it until then."""
        try:
            (self.path / name).unlink(missing_ok=True)
        except OSError:
            return False
        return True

    async def names(self) -> list[str]:
        """Return the names of all files, with those that a killed process has left."""
        try:
            return [
                name
                for name in os.listdir(self.path)
                if not name.startswith(".") or (name.startswith(_NEW) and self._is_left(name))
            ]
        except OSError:
            return []

    def _is_left(self, name: str) -> bool:
        try:
            return time.time() - (self.path / name).lstat().st_mtime > _NEW_SECONDS
        except OSError:
            return False

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Keep other processes out; held for moments only, so that waiting for it may block."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise NoRoom(str(error)) from error
        with FileLock(self.path / _LOCK):
            yield
