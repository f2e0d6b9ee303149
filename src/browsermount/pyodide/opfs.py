"""Files in the origin private file system of the browser.

File System standard, https://fs.spec.whatwg.org/: only workers get handles that read and
write at once.  Tabs of one origin share the files, and take turns by a lock of the Web
Locks API.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import js
from pyodide.ffi import JsException, create_proxy, to_js

from browsermount.blobs.files import File, NoRoom

_LOCK = "browsermount-store"

LOCK_SECONDS = 10.0
"""How long a tab waits for the others and has the lock itself: what is done with it takes moments.

A storage that does not answer would else keep all tabs waiting, for as long as this one is open.
"""


ANSWER_SECONDS = 30.0
"""How long the storage may take for one answer; then it counts as one that has no room."""


async def _answer(ask: Callable[..., Any], *arguments: Any) -> Any:
    """Ask the storage something, and wait for the answer.

    Raises:
        NoRoom: It fails, or does not answer.
    """
    try:
        return await asyncio.wait_for(ask(*arguments), ANSWER_SECONDS)
    except JsException as error:
        raise NoRoom(str(error)) from error
    except TimeoutError as error:
        raise NoRoom(f"the storage has not answered for {ANSWER_SECONDS:.0f} seconds") from error


def _options(**values: Any) -> Any:
    return to_js(values, dict_converter=js.Object.fromEntries)


class OpfsFile:
    """A :class:`browsermount.blobs.files.File` on a ``FileSystemSyncAccessHandle``."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle

    def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``."""
        array = js.Uint8Array.new(size)
        count = self._handle.read(array, _options(at=offset))
        result: bytes = array.subarray(0, count).to_bytes()
        return result

    def write(self, offset: int, data: bytes) -> None:
        """Write bytes at ``offset``; see :meth:`browsermount.blobs.files.File.write`."""
        try:
            written = self._handle.write(to_js(data), _options(at=offset))
        except JsException as error:
            raise NoRoom(str(error)) from error
        if written != len(data):
            raise NoRoom(f"only {written} of {len(data)} bytes were written")

    def close(self) -> None:
        """Let the file go, so that it can be removed."""
        self._handle.close()


class OpfsFiles:
    """A :class:`browsermount.blobs.files.Files` in a directory of the origin's private files.

    Args:
        directory: A ``FileSystemDirectoryHandle``.
    """

    def __init__(self, directory: Any) -> None:
        self._directory = directory

    async def open(self, name: str) -> File:
        """Open a file; see :meth:`browsermount.blobs.files.Files.open`."""
        handle = await _answer(self._directory.getFileHandle, name, _options(create=True))
        # Where the mode is not known it is ignored, and another tab that has the file open
        # keeps us out.
        mode = _options(mode="readwrite-unsafe")
        return OpfsFile(await _answer(handle.createSyncAccessHandle, mode))

    async def read(self, name: str) -> bytes | None:
        """Return a whole file, or None where there is none."""
        try:
            handle = await _answer(self._directory.getFileHandle, name)
            file = await _answer(handle.getFile)
            buffer = await _answer(file.arrayBuffer)
        except NoRoom:
            return None
        result: bytes = buffer.to_bytes()
        return result

    async def replace(self, name: str, data: bytes) -> None:
        """Write a whole file; others see the old or the new one, never a part."""
        handle = await _answer(self._directory.getFileHandle, name, _options(create=True))
        writable = await _answer(handle.createWritable)
        try:
            await _answer(writable.write, to_js(data))
            await _answer(writable.close)
        except NoRoom:
            # Else what was written stays beside the file, and counts against the quota.
            with suppress(NoRoom):
                await _answer(writable.abort)
            raise

    async def remove(self, name: str) -> bool:
        """Remove a file; False when a tab has it open."""
        try:
            await _answer(self._directory.removeEntry, name)
        except NoRoom as error:
            return str(getattr(error.__cause__, "name", "")) == "NotFoundError"
        return True

    async def names(self) -> list[str]:
        """Return the names of all files; none where the storage does not tell."""
        try:
            keys = self._directory.keys()
            names = []
            async with asyncio.timeout(ANSWER_SECONDS):
                while not (step := await keys.next()).done:
                    names.append(str(step.value))
            return names
        except (JsException, TimeoutError):
            return []

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        """Keep other tabs out; held for moments only.

        Raises:
            NoRoom: Other tabs do not let us in, or what is done takes too long.
        """
        entered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done = js.Promise.withResolvers()
        waiting = js.AbortController.new()

        def granted(_lock: Any) -> Any:
            if not entered.done():
                entered.set_result(None)
            return done.promise

        proxy = create_proxy(granted)
        held = js.navigator.locks.request(_LOCK, _options(signal=waiting.signal), proxy)
        try:
            async with asyncio.timeout(LOCK_SECONDS):
                await entered
                yield
        except TimeoutError as error:
            raise NoRoom(f"the storage has not answered for {LOCK_SECONDS:.0f} seconds") from error
        finally:
            done.resolve(None)
            waiting.abort()  # of use only where we were not let in
            with suppress(JsException):
                await held
            proxy.destroy()
