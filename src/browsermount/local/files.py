"""Files of this machine, fetched as if a server had them: what ``file:`` URLs name."""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Protocol
from urllib.parse import unquote, urlsplit

from browsermount.errors import NetworkError

_CHUNK = 1 << 18
_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Opened(Protocol):
    """Bytes that can be read at any offset."""

    def read_at(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer only at the end."""

    def close(self) -> None:
        """Let go of what was opened."""


class OpenedFile:
    """A file, or ``size`` bytes from ``start`` of one that somebody else closes."""

    def __init__(self, file: BinaryIO, start: int = 0, *, shared: bool = False) -> None:
        self._file = file
        self._start = start
        self._shared = shared

    def read_at(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer only at the end."""
        self._file.seek(self._start + offset)
        return self._file.read(size)

    def close(self) -> None:
        """Close the file, unless it is shared."""
        if not self._shared:
            self._file.close()


class OpenedBytes:
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read_at(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, fewer only at the end."""
        return self._data[offset : offset + size]

    def close(self) -> None:
        """Do nothing."""


@dataclass
class FileResponse:
    """A :class:`browsermount.fetch.Response` that is a piece of something opened."""

    url: str
    status: int = 404
    headers: Mapping[str, str] = field(default_factory=dict)
    opened: Opened | None = None
    start: int = 0
    size: int = 0

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the bytes that were asked for."""
        position, end = self.start, self.start + self.size
        while self.opened is not None and position < end:
            try:
                chunk = self.opened.read_at(position, min(_CHUNK, end - position))
            except OSError as error:
                raise NetworkError(f"cannot read {self.url}: {error.strerror}") from error
            if not chunk:
                raise NetworkError(f"{self.url} became shorter while it was read")
            position += len(chunk)
            yield chunk

    async def aclose(self) -> None:
        """Close the file."""
        if self.opened is not None:
            self.opened.close()
            self.opened = None


def respond(
    url: str, opened: Opened, length: int, headers: Mapping[str, str] | None
) -> FileResponse:
    """Answer a request for something of ``length`` bytes as RFC 9110 has it, with one range."""
    wanted = {name.lower(): value for name, value in (headers or {}).items()}.get("range", "")
    start, end = 0, length
    match = _RANGE.fullmatch(wanted.replace(" ", ""))
    if match is None or match[0] == "bytes=-":
        return FileResponse(url, 200, {"content-length": str(length)}, opened, 0, length)
    if match[1]:
        start = int(match[1])
        end = min(length, int(match[2]) + 1) if match[2] else length
    else:
        start = max(0, length - int(match[2]))
    if start >= end:
        opened.close()
        return FileResponse(url, 416, {"content-range": f"bytes */{length}"})
    fields = {
        "content-length": str(end - start),
        "content-range": f"bytes {start}-{end - 1}/{length}",
    }
    return FileResponse(url, 206, fields, opened, start, end - start)


class FileFetcher:
    """A :class:`browsermount.fetch.Fetcher` of ``file:`` URLs."""

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FileResponse:
        """Open a file; one that is not there, or is no file, is answered with 404.

        Raises:
            NetworkError: The file is there and cannot be read.
        """
        path = Path(unquote(urlsplit(url).path))
        if not path.is_file():
            return FileResponse(url)
        try:
            file = path.open("rb")
        except OSError as error:
            raise NetworkError(
                f"cannot read {path}: {error.strerror}", hint="Check the file's permissions."
            ) from error
        return respond(url, OpenedFile(file), os.fstat(file.fileno()).st_size, headers)
