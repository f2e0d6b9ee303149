"""The page's gateway on a port of this machine, so that real programs can be its clients."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from browsermount.limits import RECEIVE_BUFFER, SEND_BUFFER
from browsermount.network.addresses import Endpoint, parse
from browsermount.network.connection import State
from browsermount.network.tls import Engine
from browsermount.network.web import WebGateway
from tests.core.test_web_gateway import Answer
from tests.tls_engine import new_engine

HOST = parse("93.184.215.14")


class SocketConnection:
    """What a connection of the stack's is for the gateway, on a socket."""

    def __init__(self, transport: asyncio.Transport, port: int) -> None:
        self.local = Endpoint(HOST, port)
        self.remote = Endpoint(HOST, 1)
        self.on_change: Callable[[], None] = lambda: None
        self.state = State.PENDING
        self.reset = False
        self.most = 0
        self._transport = transport
        self._received = bytearray()
        self._eof = False

    def accept(self) -> None:
        self.state = State.OPEN

    def refuse(self) -> None:
        self.abort()

    def take(self, data: bytes) -> None:
        self._received += data
        if len(self._received) > RECEIVE_BUFFER:
            self._transport.pause_reading()
        self.on_change()

    def end(self, eof: bool) -> None:
        self._eof = True
        if not eof:
            self.state = State.GONE
        self.on_change()

    @property
    def unread(self) -> int:
        return len(self._received)

    @property
    def at_eof(self) -> bool:
        return self._eof and not self._received

    @property
    def room(self) -> int:
        held = self._transport.get_write_buffer_size()
        self.most = max(self.most, held)
        return max(0, SEND_BUFFER - held) if self.state is State.OPEN else 0

    @property
    def done(self) -> bool:
        return self.state is State.GONE or not self._transport.get_write_buffer_size()

    def read(self, limit: int) -> bytes:
        data = bytes(self._received[:limit])
        del self._received[:limit]
        if self._received or not self._eof:
            self._transport.resume_reading()
        return data

    def write(self, data: bytes) -> int:
        if data:
            self._transport.write(data)
        return len(data)

    def finish(self) -> None:
        with contextlib.suppress(OSError):
            self._transport.write_eof()

    def close(self) -> None:
        self._transport.close()

    def abort(self) -> None:
        self.state = State.GONE
        self._transport.abort()


class _Protocol(asyncio.Protocol):
    def __init__(self, server: Server) -> None:
        self._server = server

    def connection_made(self, transport: Any) -> None:
        transport.set_write_buffer_limits(0)
        self._connection = SocketConnection(transport, self._server.seen_port)
        self._server.connections.append(self._connection)
        self._server.stack.on_connect(self._connection)

    def data_received(self, data: bytes) -> None:
        self._connection.take(data)

    def eof_received(self) -> bool:
        self._connection.end(eof=True)
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self._connection.end(eof=False)

    def pause_writing(self) -> None:
        pass

    def resume_writing(self) -> None:
        self._connection.on_change()


@dataclass
class Server:
    """A gateway whose clients come through sockets."""

    answer: Callable[[str], Any] = lambda url: Answer()
    seen_port: int = 443
    private: bool = False
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.told: list[str] = []
        self.connections: list[SocketConnection] = []
        self.engine = new_engine()
        self.stack: Any = SimpleNamespace()

        async def fetch(
            method: str, url: str, headers: list[tuple[str, str]], body: bytes
        ) -> Answer:
            self.asked.append((method, url, dict(headers), body))
            return self.answer(url)

        async def tls() -> Engine:
            return self.engine

        self.gateway = WebGateway(
            self.stack,
            fetch,
            tls,
            private=self.private,
            tell=lambda message, hint: self.told.append(message),
            **self.options,
        )

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[int]:
        """Listen at a port of 127.0.0.1."""
        loop = asyncio.get_running_loop()
        server = await loop.create_server(lambda: _Protocol(self), "127.0.0.1", 0)
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            server.close()
            self.gateway.close()

    def trust(self, folder: Path) -> Path:
        """Write the authority's certificate as a file for programs."""
        text = base64.encodebytes(self.engine.certificate).decode()
        path = folder / "authority.pem"
        path.write_text(f"-----BEGIN CERTIFICATE-----\n{text}-----END CERTIFICATE-----\n")
        return path
