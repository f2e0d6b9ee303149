"""What ``web/worker.js`` calls: one mount, and the 9P sessions on it.

JavaScript and Python share a buffer in Python's heap, so that a 9P request
costs one call with one number: converting each message would cost more than
answering it.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import traceback
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import asdict
from typing import Any

from pyodide.ffi import to_js

from browsermount.blobs.buffers import BufferCache
from browsermount.blobs.files import MemoryFiles
from browsermount.blobs.store import DEFAULT_LIMIT, Store
from browsermount.errors import BrowsermountError
from browsermount.events import Event, Resolved
from browsermount.interpreters import Interpreters
from browsermount.mount import CACHE_SIZE, Mount, mount
from browsermount.ninep import Server
from browsermount.oci.credentials import CredentialRequest, Credentials
from browsermount.oci.platform import Platform, choose_platforms
from browsermount.pyodide.buffers import JsBuffer
from browsermount.pyodide.fetch import BrowserFetcher
from browsermount.pyodide.opfs import OpfsFiles

_log = logging.getLogger(__name__)

MEMORY_LIMIT = 256 << 20
"""Bytes that are kept where the browser has no other place for them than memory."""


SHARE = 0.6
"""How much of what the browser lets us keep is used at most."""


class Worker:
    """A mount and the 9P session that a guest has on it.

    Args:
        reply: Takes the replies that could not be given at once, each a ``Uint8Array``.
        size: How long a 9P frame may be.
        storage: What ``web/storage.js`` finds out: an object with ``directory``, where files
            can be kept, and ``quota``, in bytes; None where there is no place for them.
    """

    def __init__(
        self, reply: Callable[[Any], None], size: int, storage: Awaitable[Any] | None = None
    ) -> None:
        self.buffer = bytearray(size)
        self._view = memoryview(self.buffer)
        self._reply = reply
        self._mount: Mount | None = None
        self._session: Server | None = None
        self._pending: set[asyncio.Task[None]] = set()
        self._storage = storage
        self._store: Store | None = None
        self._persistent = False
        # The snapshot's generator would give every visitor the same numbers.
        random.seed()

    async def mount(
        self,
        request: str,
        emit: Callable[[str], None],
        ask: Callable[[str], Awaitable[str]],
    ) -> str:
        """Mount an image and open a session on it.

        Args:
            request: JSON, an object with

                - ``image``: the reference as it was given;
                - ``base``: the URL that a relative reference is relative to;
                - ``mirror``: where registries are reached instead of at their own address; may
                  be empty;
                - ``platform``: the one that is asked for, such as ``linux/amd64``; may be empty;
                - ``allowUnverified``: whether tables of contents are believed that the manifest
                  has no digest of;
                - ``interpreters``: the URL of the site's directory of interpreters.

            emit: Takes progress events as JSON.
            ask: Asks the person for credentials: JSON in, JSON out.

        Returns:
            JSON: ``{"image": ...}``, or ``{"error": {"code", "message", "hint", "details"}}``.
        """

        wanted = json.loads(request)
        image = wanted["image"]
        store = await self._open_store()
        translation = Interpreters(BrowserFetcher(), wanted["interpreters"], store)

        def on_event(event: Event) -> None:
            if isinstance(event, Resolved):
                translation.start(Platform.parse(event.platform))
            emit(json.dumps(event.to_dict()))

        async def credentials(request: CredentialRequest) -> Credentials | None:
            answer = json.loads(await ask(json.dumps(asdict(request))))
            return Credentials(answer["username"], answer["secret"]) if answer else None

        self.close()
        if self._mount is not None:
            await self._mount.close()
            self._mount = None
        try:
            mounted = await mount(
                image,
                base=wanted["base"],
                mirror=wanted["mirror"],
                credentials=credentials,
                fetcher=BrowserFetcher(),
                store=store,
                cache=BufferCache(CACHE_SIZE, JsBuffer),
                platforms=choose_platforms(wanted["platform"]),
                allow_unverified=wanted["allowUnverified"],
                on_event=on_event,
            )
            await translation.install(mounted.tree, mounted.image.platform)
        except BrowsermountError as error:
            return json.dumps({"error": {**error.to_dict(), "details": _details(error)}})
        except Exception as error:
            _log.exception("mounting %s failed", image)
            return json.dumps({"error": _unexpected(error)})
        finally:
            translation.close()
        self._mount = mounted
        self.attach()
        return json.dumps({"image": mounted.image.to_dict()})

    def attach(self) -> bool:
        """Open a new session on the mounted tree, for a new guest; False when there is none."""
        self.close()
        if self._mount is None:
            return False
        self._session = self._mount.session()
        return True

    def fill(self) -> None:
        """Begin to fetch what has not been read yet, whenever the guest is idle."""
        if self._mount is not None:
            self._mount.start_fill()

    async def usage(self) -> str:
        """Return how much is kept, as JSON: ``{"size", "limit", "objects", "persistent"}``."""
        usage = await (await self._open_store()).usage()
        return json.dumps({**asdict(usage), "persistent": self._persistent})

    async def clear(self) -> str:
        """Let everything go that is kept and not in use, and return :meth:`usage`."""
        await (await self._open_store()).clear()
        return await self.usage()

    async def _open_store(self) -> Store:
        if self._store is None:
            found = await self._storage if self._storage is not None else None
            if self._store is not None:
                return self._store  # somebody else was faster
            if found is None:
                self._store = Store(MemoryFiles(JsBuffer), limit=MEMORY_LIMIT)
            else:
                limit = min(int(found.quota * SHARE), DEFAULT_LIMIT)
                self._store = Store(OpfsFiles(found.directory), limit=limit)
                self._persistent = True
        return self._store

    def close(self) -> None:
        """End the session: late replies of it must not reach the next guest."""
        for task in self._pending:
            task.cancel()
        self._pending.clear()
        self._session = None

    def handle(self, length: int) -> int:
        """Answer the 9P request in the first ``length`` bytes of the buffer.

        Returns:
            The length of the reply, which replaces the request in the buffer; 0 when
            it will come later through ``reply``; -1 when the session cannot go on.
        """
        if self._session is None:
            return -1
        try:
            answer = self._session.handle(bytes(self._view[:length]))
        except Exception:
            _log.exception("the 9P session broke")
            return -1
        if isinstance(answer, bytes):
            size = len(answer)
            self._view[:size] = answer
            # No reply: the two sides no longer agree where frames begin.
            return size or -1
        task = asyncio.ensure_future(self._finish(answer))
        self._pending.add(task)
        task.add_done_callback(self._pending.discard)
        return 0

    async def _finish(self, answer: Coroutine[Any, Any, bytes | None]) -> None:
        reply = await answer
        if reply is not None:
            self._reply(to_js(reply))


def _details(error: BaseException) -> str:
    """Return the chain of causes, for those who want to know more."""
    lines = []
    cause = error.__cause__
    while cause is not None:
        lines.append(f"{type(cause).__name__}: {cause}")
        cause = cause.__cause__
    return "\n".join(lines)


def _unexpected(error: Exception) -> dict[str, str]:
    return {
        "code": "internal",
        "message": f"browsermount failed: {type(error).__name__}: {error}",
        "hint": "This is a defect of browsermount: please report it with the details below.",
        "details": "".join(traceback.format_exception(error)),
    }
