"""WebSockets of servers in the container."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress

from browsermount.network.client import reach
from browsermount.network.http1 import InvalidMessage, ResponseReader
from browsermount.network.stack import Stack
from browsermount.network.stream import ByteStream, Stream
from browsermount.network.websocket import (
    ABNORMAL,
    Close,
    Event,
    FrameReader,
    Opcode,
    Ping,
    WebSocketError,
    check_handshake,
    close_frame,
    frame,
    handshake,
    new_key,
)

_CLOSING_SECONDS = 10.0
"""How long a server may take to take a close frame."""


class WebSocketFailure(Exception):
    """There is no server, or none that speaks the protocol."""


class WebSocket:
    """A WebSocket that is open.

    One coroutine may receive while another one sends.

    Args:
        stream: What it is spoken over.
        begun: What was read of it already.
        protocol: The subprotocol; may be empty.
    """

    def __init__(self, stream: ByteStream, begun: bytes = b"", protocol: str = "") -> None:
        self.protocol = protocol
        self._stream = stream
        self._reader = FrameReader()
        self._begun = begun
        self._events: deque[Event] = deque()
        self._error: WebSocketError | None = None
        self._writing = asyncio.Lock()
        self._closing = False

    async def receive(self) -> str | bytes | Close:
        """Return the next message; at the end, why it has come. Pings are answered on the way.

        The end has the code :data:`~browsermount.network.websocket.ABNORMAL` where the server has
        sent no close frame. Nothing may be received after it.
        """
        try:
            while True:
                event = await self._event()
                if isinstance(event, Ping):
                    await self._write(frame(Opcode.PONG, event.payload))
                elif isinstance(event, Close):
                    if not self._closing:
                        await self._write(close_frame(event), last=True)
                    return event
                else:
                    return event
        except WebSocketError as error:
            await self._fail(error.code)
            return Close(ABNORMAL, str(error))
        except ConnectionError:
            return Close(ABNORMAL)

    async def _event(self) -> Event:
        while not self._events:
            if self._error is not None:
                raise self._error
            data, self._begun = self._begun, b""
            data = data or await self._stream.read()
            if not data:
                raise ConnectionResetError("the server has ended the connection")
            try:
                self._events.extend(self._reader.feed(data))
            except WebSocketError as error:
                self._error = error  # after all that was complete before it
        return self._events.popleft()

    async def send(self, data: str | bytes) -> None:
        """Send a message.

        Raises:
            ConnectionError: The connection is gone, or being closed.
        """
        if isinstance(data, str):
            await self._write(frame(Opcode.TEXT, data.encode()))
        else:
            await self._write(frame(Opcode.BINARY, data))

    async def close(self, close: Close) -> None:
        """Send a close frame; what the server still sends is to be received, up to its own."""
        with suppress(ConnectionError):
            await self._write(close_frame(close), last=True)

    async def _fail(self, code: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSING_SECONDS):
                await self.close(Close(code))

    async def _write(self, data: bytes, *, last: bool = False) -> None:
        async with self._writing:
            if self._closing:
                raise ConnectionResetError("the connection is being closed")
            self._closing = last
            await self._stream.write(data)


async def connect(
    stack: Stack, port: int, target: str, protocols: Sequence[str] = ()
) -> tuple[WebSocket, Stream]:
    """Open a WebSocket of a server in the container.

    Returns:
        It, and the connection, which is to be closed or aborted at the end.

    Raises:
        WebSocketFailure: There is none.
    """
    if any(not " " < it <= "~" for text in (target, *protocols) for it in text):
        raise WebSocketFailure("the address or a subprotocol has characters that it must not have")
    try:
        stream = await reach(stack, port)
    except ConnectionError as error:
        raise WebSocketFailure(str(error)) from error
    key = new_key()
    try:
        await stream.write(handshake(f"localhost:{port}", target, key, protocols))
        reader = ResponseReader(stream, "GET")
        response = await reader.head(upgrade=True)
        protocol = check_handshake(response, key, protocols)
    except (ConnectionError, InvalidMessage, WebSocketError) as error:
        stream.abort()
        raise WebSocketFailure(f"the server at port {port} has no WebSocket: {error}") from error
    except BaseException:
        stream.abort()
        raise
    return WebSocket(stream, reader.rest(), protocol), stream
