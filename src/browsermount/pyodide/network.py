"""What ``web/mount/network.js`` calls: the other end of the guest's network card, in the page.

Frames come and go as in :mod:`browsermount.pyodide.worker`: those of the guest through a buffer in
Python's heap, many at once, each with its length in front.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

import js
from pyodide.ffi import JsException, to_js

from browsermount.errors import NetworkError
from browsermount.events import NetworkRefusal, Recovered
from browsermount.network.client import GuestAnswer, request
from browsermount.network.framing import FrameSplitter
from browsermount.network.relay import RelayGateway
from browsermount.network.stack import ETHERNET_MTU, MAX_MTU, Stack
from browsermount.network.tls import Engine
from browsermount.network.web import WebGateway
from browsermount.proxies import Proxy
from browsermount.pyodide.network_relay import dial


class Shared(Protocol):
    """What all machines of a page have in common: :class:`browsermount.pyodide.worker.Worker`."""

    proxies: tuple[Proxy, ...]
    relay: str
    foreign: bool

    async def tls(self) -> Engine:
        """Return the engine for encrypted connections."""
        ...


_LOOPBACK = "127.0.0.1"


class PageNetwork:
    """The network of one machine.

    Args:
        send: Takes frames for the guest, each a ``Uint8Array``.
        size: How many bytes the buffer has.
        network: What can be reached: ``public`` for the internet, ``all`` for hosts nearby, too, or
            ``internal`` for other containers alone.
        shared: What outlives the machine.
        emit: Takes events as JSON.
    """

    def __init__(
        self,
        send: Callable[[Any], None],
        size: int,
        network: str,
        shared: Shared,
        emit: Callable[[str], None],
    ) -> None:
        self.buffer = bytearray(size)
        self._view = memoryview(self.buffer)
        self._splitter = FrameSplitter()
        self._timer: asyncio.TimerHandle | None = None
        self._looking = False
        self._send = send
        self._stack = Stack(
            self._send_frame, time.monotonic, mtu=ETHERNET_MTU if shared.foreign else MAX_MTU
        )

        def tell(message: str, hint: str) -> None:
            emit(json.dumps(NetworkRefusal(message, hint).to_dict()))

        private = network == "all"
        self._gateway: WebGateway | RelayGateway | None = None
        if network == "internal":
            pass
        elif shared.relay:
            self._gateway = RelayGateway(
                self._stack,
                partial(dial, shared.relay),
                private=private,
                tell=tell,
                recovered=lambda: emit(json.dumps(Recovered().to_dict())),
            )
        else:
            self._gateway = WebGateway(
                self._stack,
                fetch,
                shared.tls,
                private=private,
                proxies=shared.proxies,
                tell=tell,
            )

    @property
    def stack(self) -> Stack:
        """The other end of the card."""
        return self._stack

    @property
    def is_internal(self) -> bool:
        """Whether it reaches other containers alone."""
        return self._gateway is None

    def handle(self, length: int) -> None:
        """Take the frames in the first ``length`` bytes of the buffer."""
        self._stack.receive(self._splitter.feed(bytes(self._view[:length])))

    async def request(
        self, port: int, method: str, target: str, headers: str, body: Any
    ) -> PageRequest:
        """Send a request to a server in the container.

        Args:
            port: The server's.
            method: In capital letters.
            target: The path, with the query.
            headers: JSON, a list of names and values.
            body: An ``ArrayBuffer``, or nothing.
        """
        given = [(str(name), str(value)) for name, value in json.loads(headers)]
        content = body.to_bytes() if body else b""
        try:
            return PageRequest(
                await request(self._stack, port, method, target, headers=given, body=content)
            )
        except NetworkError as error:
            return PageRequest(error)

    def save(self) -> str:
        """Return what :meth:`reset` takes, as JSON."""
        return json.dumps(self._stack.save())

    def reset(self, saved: str) -> None:
        """Tell a guest that was saved that its connections are gone.

        Raises:
            InvalidState: See :meth:`browsermount.network.stack.Stack.reset`.
        """
        self._stack.reset(json.loads(saved))

    def close(self) -> None:
        """Give up all requests."""
        if self._gateway is not None:
            self._gateway.close()
        if self._timer is not None:
            self._timer.cancel()

    def _send_frame(self, frame: bytes) -> None:
        self._send(to_js(frame))
        # Whatever is sent may have to be sent again.
        if self._timer is None and not self._looking:
            self._looking = True
            asyncio.get_running_loop().call_soon(self._set_timer)

    def _set_timer(self) -> None:
        self._looking = False
        if self._timer is None and (deadline := self._stack.deadline) is not None:
            delay = max(0.1, deadline - time.monotonic())
            self._timer = asyncio.get_running_loop().call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._stack.tick()
        self._set_timer()


class PageRequest:
    """The answer to a request of the page's.

    Attributes:
        error: What is wrong; empty where nothing is.
        status: The status code.
        headers: JSON, a list of names and values.
    """

    def __init__(self, result: GuestAnswer | NetworkError) -> None:
        self.error = ""
        self.status = 0
        self.headers = "[]"
        self._answer: GuestAnswer | None = None
        self._chunks: AsyncIterator[bytes] | None = None
        if isinstance(result, NetworkError):
            self.error = result.message
        else:
            self._answer = result
            self._chunks = result.chunks()
            self.status = result.head.status
            self.headers = json.dumps(result.head.headers)

    async def next(self) -> Any:
        """Return what comes next of the body, a ``Uint8Array``; an empty one at the end.

        Where the body breaks off, :attr:`error` says so.
        """
        try:
            if self._chunks is not None:
                async for chunk in self._chunks:
                    return to_js(chunk)
        except NetworkError as error:
            self.error = error.message
        return to_js(b"")

    def close(self) -> None:
        """Give up what has not been read."""
        if self._answer is not None:
            self._answer.close()


@dataclass(slots=True)
class _BrowserAnswer:
    """A :class:`browsermount.network.web.Answer` on a ``Response`` of the browser."""

    url: str
    status: int
    headers: list[tuple[str, str]]
    body: Any
    controller: Any = field(repr=False)

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the body once, as it comes."""
        if self.body is None:
            return
        reader = self.body.getReader()
        try:
            while not (result := await reader.read()).done:
                yield result.value.to_bytes()
        except JsException as error:
            raise _failure(self.url, f"the connection broke: {error.message}") from error

    async def aclose(self) -> None:
        """Give up what has not been read."""
        self.controller.abort()


async def fetch(
    method: str, url: str, headers: list[tuple[str, str]], body: bytes
) -> _BrowserAnswer:
    """Send a request by the browser's fetch; see :class:`browsermount.network.web.Fetch`."""
    if js.location.protocol == "https:" and not url.startswith(f"http://{_LOOPBACK}"):
        # The page must not ask anybody without encryption.
        url = "https://" + url.removeprefix("http://")
    controller = js.AbortController.new()
    options = {
        "method": method,
        "headers": headers,
        "signal": controller.signal,
        "redirect": "follow",
        "cache": "no-store",
        # The page's cookies, and where it is, are not for whom the container asks.
        "credentials": "omit",
        "referrerPolicy": "no-referrer",
    }
    if body:
        options["body"] = body
    try:
        response = await js.fetch(url, to_js(options, dict_converter=js.Object.fromEntries))
    except JsException as error:
        raise _failure(url, f"the browser says {error.message}") from error
    except asyncio.CancelledError:
        controller.abort()
        raise
    found = [(str(name), str(value)) for name, value in response.headers.entries()]
    return _BrowserAnswer(url, response.status, found, response.body, controller)


def _failure(url: str, reason: str) -> NetworkError:
    return NetworkError(
        f"{url} cannot be read: {reason}",
        hint="Either it is not there, or its server does not allow pages of other sites to read "
        f"from it: it would have to send Access-Control-Allow-Origin: {js.location.origin}. "
        "The owner of the page can name a proxy (network-proxy).",
    )
