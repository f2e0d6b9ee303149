"""The WebSocket with a relay, in the page; see :class:`browsermount.network.relay.Dial`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import js
from pyodide.ffi import JsException, create_proxy, to_js

from browsermount.network.relay import RelayFailure

_CLOSED = 3
"""``WebSocket.CLOSED``."""
_OPEN = 1


class BrowserSocket:
    """A :class:`browsermount.network.relay.Transport` on the browser's ``WebSocket``."""

    def __init__(
        self, socket: Any, receive: Callable[[bytes], None], lost: Callable[[], None]
    ) -> None:
        self._socket = socket
        self._receive = receive
        self._lost = lost
        self._opened = asyncio.get_running_loop().create_future()
        socket.binaryType = "arraybuffer"
        self._proxies = [create_proxy(it) for it in (self._open, self._take, self._end)]
        socket.onopen, socket.onmessage, socket.onclose = self._proxies

    async def opened(self) -> bool:
        """Wait until it is open, or cannot be."""
        return bool(await self._opened)

    @property
    def backlog(self) -> int:
        """Bytes that are still to be sent."""
        return int(self._socket.bufferedAmount)

    def send(self, message: bytes) -> None:
        """Send a message, or drop it where the connection is lost."""
        if self._socket.readyState == _OPEN:
            self._socket.send(to_js(message))

    def close(self) -> None:
        """End it."""
        if self._proxies:
            self._socket.onopen = self._socket.onmessage = self._socket.onclose = None
            if self._socket.readyState != _CLOSED:
                self._socket.close()
            proxies, self._proxies = self._proxies, []
            # One of them may be what is running.
            asyncio.get_running_loop().call_soon(lambda: [proxy.destroy() for proxy in proxies])

    def _open(self, event: Any) -> None:
        self._settle(True)

    def _take(self, event: Any) -> None:
        # Text is nothing that a relay says.
        if hasattr(event.data, "byteLength"):
            self._receive(event.data.to_bytes())

    def _end(self, event: Any) -> None:
        if self._opened.done():
            self._lost()
        self._settle(False)

    def _settle(self, opened: bool) -> None:
        if not self._opened.done():
            self._opened.set_result(opened)


async def dial(
    url: str, receive: Callable[[bytes], None], lost: Callable[[], None]
) -> BrowserSocket:
    """Open a WebSocket.

    Raises:
        RelayFailure: It cannot be opened.
    """
    try:
        socket = BrowserSocket(js.WebSocket.new(url), receive, lost)
    except JsException as error:
        raise RelayFailure(
            f"the relay {url} cannot be used: the browser says {error.message}",
            hint="A page that came by HTTPS can use relays at wss:// only.",
        ) from error
    try:
        if await socket.opened():
            return socket
    except BaseException:
        socket.close()
        raise
    socket.close()
    raise RelayFailure(
        f"the relay {url} cannot be reached",
        hint="Look whether it runs, and whether it takes connections of this page.",
    )
