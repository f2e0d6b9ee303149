"""Our WebSockets against a server of somebody else's: wsproto."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

import pytest
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Ping,
    Pong,
    Request,
    TextMessage,
)

from browsermount.network.http1 import ResponseReader
from browsermount.network.websocket import Close, check_handshake, handshake, new_key
from browsermount.network.websocket_client import WebSocket


class Wire:
    """The connection with the server, which answers at once."""

    def __init__(self) -> None:
        self.server = WSConnection(ConnectionType.SERVER)
        self.seen: list[Event] = []
        self._bytes = asyncio.Queue[bytes]()
        self.protocols: Sequence[str] = ()

    async def read(self) -> bytes:
        return await self._bytes.get()

    async def write(self, data: bytes) -> None:
        # However the bytes are cut.
        for at in range(0, len(data), 1000):
            self.server.receive_data(data[at : at + 1000])
            for event in self.server.events():
                self.seen.append(event)
                self._answer(event)

    def _answer(self, event: Event) -> None:
        if isinstance(event, Request):
            self.say(AcceptConnection(subprotocol=event.subprotocols[-1]))
        elif isinstance(event, TextMessage | BytesMessage):
            half = len(event.data) // 2
            kind = type(event)
            self.say(kind(data=event.data[:half], message_finished=False))
            self.say(Ping(payload=b"?"))
            self.say(kind(data=event.data[half:], message_finished=event.message_finished))
        elif isinstance(event, CloseConnection) and self.server.state is not ConnectionState.CLOSED:
            self.say(event.response())

    def say(self, event: Event) -> None:
        self._bytes.put_nowait(self.server.send(event))


async def connected() -> tuple[Wire, WebSocket]:
    wire = Wire()
    key = new_key()
    await wire.write(handshake("localhost:80", "/chat?a=b", key, ["v1", "v2"]))
    reader = ResponseReader(wire, "GET")
    protocol = check_handshake(await reader.head(upgrade=True), key, ["v1", "v2"])
    assert protocol == "v2"
    return wire, WebSocket(wire, reader.rest(), protocol)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 900, 65535, 65536, 300_000])
def test_messages_come_back(size: int) -> None:
    async def test() -> None:
        wire, socket = await connected()
        text, data = "ü" * (size // 2), random.Random(size).randbytes(size)
        for message in (text, data):
            await socket.send(message)
        # The server gives each piece back in two parts.
        got: list[str | bytes] = []
        whole: dict[type, str | bytes] = {str: "", bytes: b""}
        while len(whole[str]) < len(text) or len(whole[bytes]) < len(data) or not got:
            message = await socket.receive()
            assert isinstance(message, str | bytes)
            got.append(message)
            whole[type(message)] += message  # type: ignore[operator]
        assert whole == {str: text, bytes: data}
        request = wire.seen[0]
        assert isinstance(request, Request)
        assert (request.target, request.host) == ("/chat?a=b", "localhost:80")
        assert any(isinstance(event, Pong) and event.payload == b"?" for event in wire.seen)

    asyncio.run(test())


def test_either_side_closes() -> None:
    async def test() -> None:
        wire, socket = await connected()
        await socket.close(Close(4000, "enough"))
        assert await socket.receive() == Close(4000, "enough")
        end = wire.seen[-1]
        assert isinstance(end, CloseConnection)
        assert (end.code, end.reason) == (4000, "enough")
        with pytest.raises(ConnectionError):
            await socket.send("late")
        wire, socket = await connected()
        wire.say(CloseConnection(code=1012, reason="restart"))
        assert await socket.receive() == Close(1012, "restart")
        end = wire.seen[-1]
        assert isinstance(end, CloseConnection)
        assert end.code == 1012

    asyncio.run(test())
