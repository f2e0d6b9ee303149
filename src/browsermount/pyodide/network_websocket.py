"""WebSockets of servers in the container, for ``web/mount/guest-socket.js``."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import Any

from pyodide.ffi import to_js

from browsermount.network.stream import Stream
from browsermount.network.websocket import Close
from browsermount.network.websocket_client import WebSocket, WebSocketFailure, connect
from browsermount.pyodide.network import PageNetwork


class PageSocket:
    """A WebSocket, or why there is none.

    Attributes:
        error: Why there is none; empty where there is one.
        protocol: The subprotocol; may be empty.
        code: At the end, why it has come.
        reason: The same for people.
    """

    def __init__(self, socket: WebSocket | None, stream: Stream | None, error: str = "") -> None:
        self.error = error
        self.protocol = socket.protocol if socket else ""
        self.code = 0
        self.reason = ""
        self._socket = socket
        self._stream = stream

    async def next(self) -> Any:
        """Return what comes next: text, or a ``Uint8Array``; at the end, nothing."""
        assert self._socket is not None
        message = await self._socket.receive()
        if isinstance(message, Close):
            self.code, self.reason = message.code, message.reason
            return None
        return message if isinstance(message, str) else to_js(message)

    async def send(self, data: Any, is_text: bool) -> None:
        """Send a message, given as an ``ArrayBuffer``; text as UTF-8."""
        assert self._socket is not None
        content = data.to_bytes()
        with suppress(ConnectionError):  # the end comes with what is received
            await self._socket.send(content.decode() if is_text else content)

    async def close(self, code: int, reason: str) -> None:
        """Say that nothing more will come."""
        assert self._socket is not None
        await self._socket.close(Close(code, reason))

    def end(self) -> None:
        """End the connection."""
        if self._stream is not None:
            self._stream.close()

    def abort(self) -> None:
        """Break the connection off."""
        if self._stream is not None:
            self._stream.abort()


async def open_socket(network: PageNetwork, port: int, target: str, protocols: str) -> PageSocket:
    """Open a WebSocket of a server in the container.

    Args:
        network: The container's.
        port: The server's.
        target: The path, with the query.
        protocols: JSON, a list of subprotocols.
    """
    given = [str(it) for it in json.loads(protocols)]
    try:
        return PageSocket(*await connect(network.stack, port, target, given))
    except WebSocketFailure as error:
        return PageSocket(None, None, str(error))
