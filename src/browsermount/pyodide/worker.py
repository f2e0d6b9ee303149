"""What ``web/worker.js`` calls: one mount, and the 9P sessions on it.

JavaScript and Python share a buffer in Python's heap, so that a 9P request
costs one call with one number: converting each message would cost more than
answering it.
"""

from __future__ import annotations

import asyncio
import base64
import json
import logging
import random
import traceback
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from pyodide.ffi import JsException, to_js

from browsermount.blobs.buffers import BufferCache
from browsermount.blobs.files import MemoryFiles
from browsermount.blobs.store import DEFAULT_LIMIT, Store
from browsermount.errors import BrowsermountError, InvalidState, NetworkError
from browsermount.events import Event, InterpreterReady, NetworkRefusal, Resolved
from browsermount.interpreters import install, interpreter_for
from browsermount.machines import choose_machine, for_others, runnable
from browsermount.mount import CACHE_SIZE, Mount, mount
from browsermount.ninep import Server
from browsermount.oci.credentials import CredentialRequest, Credentials
from browsermount.oci.platform import Platform
from browsermount.proxies import Proxy, parse_proxies
from browsermount.pyodide.blobs import given_layer
from browsermount.pyodide.buffers import JsBuffer
from browsermount.pyodide.early import BrowserEarlyLayer
from browsermount.pyodide.fetch import BrowserFetcher
from browsermount.pyodide.opfs import OpfsFiles
from browsermount.rootfs.tree import Tree
from browsermount.runtime.spec import Host, ProcessOptions
from browsermount.state import decode_known, process_document

if TYPE_CHECKING:
    from browsermount.network.tls import Engine

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
        storage: What ``web/mount/storage.js`` finds out: an object with ``directory``, where files
            can be kept, and ``quota``, in bytes; None where there is no place for them.
        pause: Returns a promise that is kept when the browser's other tasks have had their turn.
            Waiting for 0 seconds does not do that in Chromium: Pyodide posts a message to
            itself for it, and Chromium delivers all messages of a port in one task.
        open_tls: Takes an authority that was saved, in base64, or nothing, and returns a promise
            of the engine for encrypted connections, which is not in the memory snapshot.
        early: Takes the digits of a layer's SHA-256, and returns a promise of the
            ``EarlyLayer`` of ``web/mount/early.js`` that it comes by already, or of nothing.

    Attributes:
        proxies: Through whom the container reaches hosts.
        relay: The address of the relay that connects the container; empty where the browser sends
            its requests.
        foreign: Whether the machine is one of others.
    """

    def __init__(
        self,
        reply: Callable[[Any], None],
        size: int,
        storage: Awaitable[Any] | None = None,
        pause: Callable[[], Awaitable[Any]] | None = None,
        open_tls: Callable[[str], Awaitable[Engine]] | None = None,
        *,
        early: Callable[[str], Awaitable[Any]] | None = None,
    ) -> None:
        self.buffer = bytearray(size)
        self._view = memoryview(self.buffer)
        self._reply = reply
        self._mount: Mount | None = None
        self._session: Server | None = None
        self._pending: set[asyncio.Task[None]] = set()
        self._storage = storage
        self._pause = pause
        self._open_tls = open_tls
        self._early_layers = early
        self._opening_tls: asyncio.Task[Engine] | None = None
        # Of a session that goes on: what runs in it trusts this one.
        self._authority = ""
        self._trusts = False
        self.proxies: tuple[Proxy, ...] = ()
        self.relay = ""
        self.foreign = False
        self._store: Store | None = None
        self._persistent = False
        self._options = ProcessOptions()
        # The snapshot's generator would give every visitor the same numbers.
        random.seed()

    async def mount(
        self,
        request: str,
        emit: Callable[[str], None],
        ask: Callable[[str], Awaitable[str]],
        over: Sequence[Any] = (),
        known: str = "{}",
    ) -> str:
        """Open a session on a tree, and mount an image there.

        The session can be used from the beginning: what translates the image's programs is
        there before the image.

        Args:
            request: JSON, an object with

                - ``image``: the reference as it was given;
                - ``base``: the URL that a relative reference is relative to;
                - ``mirror``: where registries are reached instead of at their own address; may
                  be empty;
                - ``platform``: the one that is asked for, such as ``linux/amd64``; may be empty;
                - ``machine``: the one that is asked for, ``32`` or ``64``; may be empty;
                - ``allowUnverified``: whether tables of contents are believed that the manifest
                  has no digest of;
                - ``network``: ``none``, ``internal`` for other containers of this browser alone,
                  ``public`` for the internet alone, or ``all``;
                - ``hostname``: the container's host name; may be empty;
                - ``proxies``: ``{"rules", "foreign"}``, through whom the container reaches hosts;
                  see :func:`browsermount.proxies.parse_proxies`;
                - ``relay``: the address of the relay that connects the container; may be empty;
                - ``trusts``: whether the container is to trust our authority; where it is not
                  said, it is;
                - ``goesOn``: whether the container goes on from a state;
                - ``session``: the name under which the machine is going to be saved; may be empty;
                - ``vm``: the address of a machine of others that runs it, which takes what it is
                  from the bundle as container2wasm's do; where it is empty, it is one of ours;
                - ``interpreters``: the URL of the site's directory of interpreters.

            emit: Takes progress events as JSON.
            ask: Asks the person for credentials: JSON in, JSON out.
            over: What lies over the image, the lowest first: objects with ``data``, a ``Blob``, and
                its ``sha256``.
            known: JSON: of a state of the site's, what it knows of the image; see
                :func:`browsermount.state.decode_known`.

        Returns:
            JSON: ``{"image": ...}``, or ``{"error": {"code", "message", "hint", "details"}}``.
        """

        wanted = json.loads(request)
        image = wanted["image"]
        foreign = self.foreign = bool(wanted.get("vm"))
        self.relay = wanted["relay"]
        try:
            self.proxies = parse_proxies(
                wanted["proxies"]["rules"], foreign=wanted["proxies"]["foreign"]
            )
        except BrowsermountError as error:
            return json.dumps({"error": {**error.to_dict(), "details": ""}})
        store = await self._open_store()
        tree = Tree()
        translations: list[asyncio.Task[None]] = []

        def on_event(event: Event) -> None:
            emit(json.dumps(event.to_dict()))
            if isinstance(event, Resolved):
                platform = Platform.parse(event.platform)
                if not foreign:
                    translations.append(asyncio.ensure_future(translate(platform)))

        async def translate(platform: Platform) -> None:
            interpreter = interpreter_for(platform)
            if interpreter is not None:
                await install(tree, interpreter, BrowserFetcher(), wanted["interpreters"], store)
                on_event(InterpreterReady(interpreter.processor))

        async def certificate() -> bytes:
            try:
                return (await self.tls()).certificate
            except NetworkError as error:
                # The program that reads it only learns that it cannot.
                emit(json.dumps(NetworkRefusal(error.message, error.hint).to_dict()))
                raise

        async def credentials(request: CredentialRequest) -> Credentials | None:
            answer = json.loads(await ask(json.dumps(asdict(request))))
            return Credentials(answer["username"], answer["secret"]) if answer else None

        self._options = ProcessOptions(network=wanted["network"] != "none")
        if wanted.get("hostname"):
            self._options = replace(self._options, hostname=wanted["hostname"])
        if foreign:
            self._options = replace(self._options, host=Host.CONTAINER2WASM)
        self.close()
        if self._mount is not None:
            await self._mount.close()
            self._mount = None
        self._session = Server(tree.root)
        outside = wanted["network"] not in {"none", "internal"} and not self.relay
        self._trusts = outside and wanted.get("trusts", True)
        try:
            platforms = (
                for_others(wanted["platform"])
                if foreign
                else runnable(wanted["platform"], choose_machine(wanted["machine"]))
            )
            mounted = await mount(
                image,
                base=wanted["base"],
                mirror=wanted["mirror"],
                credentials=credentials,
                fetcher=BrowserFetcher(),
                store=store,
                cache=BufferCache(CACHE_SIZE, JsBuffer),
                platforms=platforms,
                allow_unverified=wanted["allowUnverified"],
                authority=certificate if self._trusts else None,
                tree=tree,
                over=[given_layer(layer) for layer in over],
                known=decode_known(json.loads(known)),
                starts=not wanted.get("goesOn"),
                early=self._early,
                options=self._options,
                sleep=self._sleep,
                on_event=on_event,
            )
            await asyncio.gather(*translations)
        except BrowsermountError as error:
            return json.dumps({"error": failure_of(error)})
        except Exception as error:
            _log.exception("mounting %s failed", image)
            return json.dumps({"error": _unexpected(error)})
        finally:
            for task in translations:
                task.cancel()
            await asyncio.gather(*translations, return_exceptions=True)
        if wanted.get("session"):
            _ = mounted.identity  # now, and not while the machine stands still
        self._mount = mounted
        return json.dumps({"image": mounted.image.to_dict()})

    @property
    def mounted(self) -> Mount | None:
        """What is mounted."""
        return self._mount

    async def _early(self, sha256: str) -> BrowserEarlyLayer | None:
        layer = await self._early_layers(sha256) if self._early_layers else None
        return BrowserEarlyLayer(layer) if layer else None

    async def _sleep(self, seconds: float) -> None:
        if seconds == 0 and self._pause is not None:
            await self._pause()
        else:
            await asyncio.sleep(seconds)

    def attach(self) -> bool:
        """Open a new session on the mounted tree, for a new guest; False when there is none."""
        self.close()
        if self._mount is None:
            return False
        self._session = self._mount.session()
        return True

    async def tls(self) -> Engine:
        """Return the engine for encrypted connections; there is one as long as the page is open.

        Raises:
            NetworkError: It cannot be fetched.
        """
        if self._opening_tls is None:
            self._opening_tls = asyncio.ensure_future(self._start_tls())
        try:
            # Others wait for it, too.
            return await asyncio.shield(self._opening_tls)
        except NetworkError:
            self._opening_tls = None
            raise

    async def _start_tls(self) -> Engine:
        assert self._open_tls is not None
        try:
            return await self._open_tls(self._authority)
        except JsException as error:
            raise NetworkError(
                f"the page's own TLS engine cannot be had: {error.message}",
                hint="Check the network connection and try again.",
            ) from error

    def save(self) -> str:
        """Return what is to be saved of the guest's session, as JSON.

        ``server`` is what :meth:`restore` takes, ``process`` how the process was started; where
        there is none, it is ``{}``.
        """
        if self._session is None or self._mount is None:
            return "{}"
        server = {
            "ninep": self._session.save(self._mount.identity),
            **({"authority": self._save_authority()} if self._trusts else {}),
        }
        return json.dumps({"server": server, "process": process_document(self._options)})

    def identify(self) -> bool:
        """Get ready for :meth:`save`, so that it takes no time; False where nothing is mounted."""
        if self._mount is None:
            return False
        _ = self._mount.identity
        return True

    def restore(self, saved: str, process: str | None = None) -> str:
        """Go on with a saved session on what is mounted.

        Args:
            saved: What :meth:`save` has given as ``server``.
            process: How the process in it was started, as JSON, where that has to be as it would be
                started now.

        Returns:
            Why that is not possible; empty where it is.
        """
        if self._session is None or self._mount is None:
            return "there is no session"
        # As JSON has it: lists in the place of tuples.
        started = json.loads(json.dumps(process_document(self._options)))
        if process is not None and json.loads(process) != started:
            return "its process was started in another way"
        try:
            server = json.loads(saved)
            self._session.restore(server.get("ninep"), self._mount.identity)
        except InvalidState as error:
            return error.message
        self._authority = str(server.get("authority", ""))
        self._opening_tls = None
        return ""

    def _save_authority(self) -> str:
        """Return the authority that the container trusts, in base64; empty if there is none yet."""
        opening = self._opening_tls
        if opening is None or not opening.done() or opening.cancelled() or opening.exception():
            return self._authority
        return base64.b64encode(opening.result().save()).decode()

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


def failure_of(error: BrowsermountError) -> dict[str, str]:
    """Return what a person is told of an error, with its causes."""
    return {**error.to_dict(), "details": _details(error)}


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
