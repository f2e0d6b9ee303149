"""The guest's network by this machine's sockets: what it connects to, and who connects to it."""

from __future__ import annotations

import asyncio
import socket
import struct
import time
from collections import OrderedDict
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from browsermount.limits import MAX_UDP_FLOWS
from browsermount.network import dns, icmp
from browsermount.network.addresses import (
    GATEWAY,
    HOST,
    HOST_NAMES,
    LOOPBACK,
    NETMASK,
    Endpoint,
    is_public,
    parse,
    to_text,
)
from browsermount.network.client import reach
from browsermount.network.connection import Connection
from browsermount.network.framing import FrameSplitter, InvalidFrame, framed
from browsermount.network.stack import MAX_MTU, Stack
from browsermount.network.stream import Stream, join
from browsermount.network.udp import Datagram

_CONNECT_SECONDS = 30.0
_CHUNK = 256 << 10
_MAX_QUERIES = 64
"""Names that are looked up at once. Whoever asks for more has to ask again."""
_MAX_WAITING = 64 << 20
"""Bytes of frames for the machine; what comes beyond is lost, as from a full queue of a card."""
_MAX_DATAGRAM = 65507
_FIRST_UDP_PORT = 32768
_AT_ONCE = struct.pack("ii", 1, 0)
"""For SO_LINGER: whatever waits is dropped, and the other side gets a reset."""


@dataclass(frozen=True, slots=True)
class Publication:
    """A port of the container that can be reached from here.

    Attributes:
        address: Where we listen.
        port: At which port.
        inner: The container's port.
        udp: Whether it is one for datagrams.
    """

    address: str
    port: int
    inner: int
    udp: bool = False

    def __str__(self) -> str:
        return f"{self.address}:{self.port}"


@dataclass(frozen=True, slots=True)
class Rules:
    """What may pass.

    Attributes:
        private: Whether the container may reach more than the internet: private networks, and
            this machine by its names in :data:`~browsermount.network.addresses.HOST_NAMES`.
        publications: The ports of the container that can be reached.
        public: Whether it may reach the internet.
    """

    private: bool = False
    publications: Sequence[Publication] = field(default=())
    public: bool = True


Service = Callable[[Stream], Coroutine[Any, Any, None]]
"""Talks to the machine over a connection, and closes it."""


class Network:
    """What is at the other end of the machine's network card.

    Args:
        frames: A stream of the card's frames.
        rules: What may pass.
        say: Tells a person, in one line, what the container was refused.
        mtu: Bytes of the largest packet that the card takes.
        services: Who serves what the machine connects to in its own network.
    """

    def __init__(
        self,
        frames: socket.socket,
        rules: Rules,
        say: Callable[[str], None],
        *,
        mtu: int = MAX_MTU,
        services: Mapping[Endpoint, Service] = MappingProxyType({}),
    ) -> None:
        self._frames = frames
        self._rules = rules
        self._say = say
        self._services = services
        self._refused: set[int] = set()
        self._stack = Stack(self._send, time.monotonic, mtu=mtu)
        self._stack.on_connect = self._connect
        self._stack.on_datagram = self._take_datagram
        self._tasks: set[asyncio.Task[None]] = set()
        self._queries = 0
        self._flows: OrderedDict[tuple[Endpoint, Endpoint], _Flow] = OrderedDict()
        self._servers: list[asyncio.Server | _UdpPublication] = []
        self._by_port: dict[int, _UdpPublication] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._writer: asyncio.StreamWriter | None = None

    @property
    def stack(self) -> Stack:
        """Where the container's connections are."""
        return self._stack

    async def open(self) -> None:
        """Listen at the published ports, and begin to answer the machine.

        Raises:
            OSError: A port cannot be had; ``filename`` is its address.
        """
        reader, self._writer = await asyncio.open_connection(sock=self._frames, limit=4 * _CHUNK)
        self._loop = asyncio.get_running_loop()
        for publication in self._rules.publications:
            try:
                self._servers.append(await self._publish(publication))
            except OSError as error:
                raise OSError(error.errno, error.strerror, str(publication)) from None
        self._serving = self._spawn(self._serve(reader))

    async def ended(self) -> None:
        """Wait until the machine has hung up."""
        await asyncio.wait({self._serving})

    async def close(self) -> None:
        """Break all connections off."""
        for server in self._servers:
            server.close()
        for flow in self._flows.values():
            flow.close()
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._writer is not None:
            self._writer.close()

    # -- Frames ------------------------------------------------------------------------------

    async def _serve(self, reader: asyncio.StreamReader) -> None:
        splitter = FrameSplitter()
        with suppress(ConnectionError, InvalidFrame):
            while data := await reader.read(4 * _CHUNK):
                self._stack.receive(splitter.feed(data))
                self._set_timer()

    def _send(self, frame: bytes) -> None:
        writer = self._writer
        if writer is None or writer.is_closing():
            return
        if writer.transport.get_write_buffer_size() < _MAX_WAITING:
            writer.write(framed(frame))
        if self._timer is None:
            # Whatever is sent may have to be sent again.
            self._loop.call_soon(self._set_timer)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if (deadline := self._stack.deadline) is not None:
            delay = max(0.01, deadline - time.monotonic())
            self._timer = self._loop.call_later(delay, self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._stack.tick()
        self._set_timer()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- What the container may reach --------------------------------------------------------

    def _address(self, address: int) -> str | None:
        """Return what an address of the container's network is here; None where it is refused."""
        if address == HOST and self._rules.private:
            return to_text(LOOPBACK)
        if address & NETMASK == GATEWAY & NETMASK or not self._rules.public:
            return None
        if is_public(address) or self._rules.private:
            return to_text(address)
        if address not in self._refused and len(self._refused) < _MAX_QUERIES:
            self._refused.add(address)
            self._say(
                f"the container may not reach {to_text(address)}, which is not an address of the "
                "internet's; --network all allows it"
            )
        return None

    # -- Connections -------------------------------------------------------------------------

    def _connect(self, connection: Connection) -> None:
        if service := self._services.get(connection.local):
            connection.accept()
            self._spawn(self._attend(connection, service))
            return
        address = self._address(connection.local.address)
        if address is None:
            connection.refuse()
        else:
            self._spawn(self._forward(connection, address))

    async def _attend(self, connection: Connection, service: Service) -> None:
        stream = Stream(connection)
        try:
            await service(stream)
        except BaseException:
            stream.abort()
            raise

    async def _forward(self, connection: Connection, address: str) -> None:
        opening = asyncio.open_connection(address, connection.local.port, limit=_CHUNK)
        try:
            reader, writer = await asyncio.wait_for(opening, _CONNECT_SECONDS)
        except (OSError, TimeoutError):
            connection.refuse()
            return
        connection.accept()
        await join(Stream(connection), _SocketStream(reader, writer))

    async def _publish(self, publication: Publication) -> asyncio.Server | _UdpPublication:
        if publication.udp:
            return _UdpPublication(publication, self._stack, self._by_port)

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            try:
                stream = await reach(self._stack, publication.inner)
            except (ConnectionError, asyncio.CancelledError):
                _break_off(writer)
                return
            await join(stream, _SocketStream(reader, writer))

        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            self._spawn(serve(reader, writer))

        return await asyncio.start_server(
            accept, publication.address, publication.port, limit=_CHUNK
        )

    # -- Datagrams ---------------------------------------------------------------------------

    def _take_datagram(self, datagram: Datagram) -> None:
        source, target, data = datagram
        if target == (GATEWAY, dns.PORT):
            self._look_up(datagram)
        elif target.address == GATEWAY and target.port in self._by_port:
            self._by_port[target.port].answer(datagram)
        elif (address := self._address(target.address)) is None:
            code = icmp.PORT_UNREACHABLE if target.address == GATEWAY else icmp.PROHIBITED
            self._stack.refuse_datagram(datagram, code)
        else:
            flow = self._flows.get((source, target))
            if flow is None:
                if len(self._flows) >= MAX_UDP_FLOWS:
                    self._flows.popitem(last=False)[1].close()
                try:
                    flow = _Flow(datagram, address, self._stack)
                except OSError:
                    self._stack.refuse_datagram(datagram)
                    return
                self._flows[source, target] = flow
            self._flows.move_to_end((source, target))
            flow.send(data)

    def _look_up(self, datagram: Datagram) -> None:
        query = dns.parse(datagram.data)
        if query is not None and self._queries < _MAX_QUERIES:
            self._queries += 1
            self._spawn(self._answer(datagram, query))

    async def _answer(self, datagram: Datagram, query: dns.Query) -> None:
        try:
            reply = await self._resolve(query)
        finally:
            self._queries -= 1
        self._stack.send_datagram(Datagram(datagram.target, datagram.source, reply))

    async def _resolve(self, query: dns.Query) -> bytes:
        if query.kind == dns.AAAA:
            return dns.answer(query)
        if query.kind != dns.A:
            return dns.answer(query, code=dns.NOT_IMPLEMENTED)
        if query.name in HOST_NAMES and self._rules.private:
            return dns.answer(query, [HOST])
        if query.name in HOST_NAMES or not self._rules.public:
            return dns.answer(query, code=dns.NO_SUCH_NAME)
        try:
            found = await self._loop.getaddrinfo(
                query.name, None, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
        except socket.gaierror as error:
            again = error.errno == socket.EAI_AGAIN
            return dns.answer(query, code=dns.SERVER_FAILURE if again else dns.NO_SUCH_NAME)
        except (OSError, UnicodeError):
            return dns.answer(query, code=dns.SERVER_FAILURE)
        # This machine's own names stand for itself, and not for the container.
        addresses = (parse(str(where[0])) for *_, where in found)
        return dns.answer(query, [HOST if it >> 24 == 127 else it for it in addresses])


class _Flow:
    """Datagrams between one port of the container's and one of a server's."""

    def __init__(self, first: Datagram, address: str, stack: Stack) -> None:
        self._stack = stack
        self._last = first
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.connect((address, first.target.port))
        except OSError:
            self._socket.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)

    def send(self, data: bytes) -> None:
        self._last = self._last._replace(data=data)
        with suppress(BlockingIOError):
            try:
                self._socket.send(data)
            except ConnectionRefusedError:
                self._stack.refuse_datagram(self._last)
            except OSError:
                pass

    def _receive(self) -> None:
        source, target, _ = self._last
        try:
            data = self._socket.recv(_MAX_DATAGRAM)
        except ConnectionRefusedError:
            self._stack.refuse_datagram(self._last)
        except OSError:
            pass
        else:
            self._stack.send_datagram(Datagram(target, source, data))

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()


class _UdpPublication:
    """A port here whose datagrams go to one of the container's.

    Args:
        publication: Which ports.
        stack: Where the container is.
        by_port: Gets the ports of the gateway's at which the container's answers come.
    """

    def __init__(
        self, publication: Publication, stack: Stack, by_port: dict[int, _UdpPublication]
    ) -> None:
        self._inner = publication.inner
        self._stack = stack
        self._by_port = by_port
        self._clients: OrderedDict[Any, int] = OrderedDict()
        self._ports: dict[int, Any] = {}
        family, _, _, _, where = socket.getaddrinfo(
            publication.address, publication.port, type=socket.SOCK_DGRAM
        )[0]
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        try:
            self._socket.setblocking(False)
            self._socket.bind(where)
        except OSError:
            self._socket.close()
            raise
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._socket, self._receive)

    def _receive(self) -> None:
        with suppress(OSError):
            data, client = self._socket.recvfrom(_MAX_DATAGRAM)
            source = Endpoint(GATEWAY, self._port(client))
            self._stack.send_datagram(Datagram(source, Endpoint(LOOPBACK, self._inner), data))

    def _port(self, client: Any) -> int:
        """Return the port of the gateway's that stands for a client."""
        if client not in self._clients:
            if len(self._clients) >= MAX_UDP_FLOWS:
                _, port = self._clients.popitem(last=False)
                del self._ports[port], self._by_port[port]
            port = next(p for p in range(_FIRST_UDP_PORT, 65536) if p not in self._by_port)
            self._clients[client] = port
            self._ports[port] = client
            self._by_port[port] = self
        self._clients.move_to_end(client)
        return self._clients[client]

    def answer(self, datagram: Datagram) -> None:
        """Pass on what the container has answered."""
        if datagram.source.port == self._inner:
            with suppress(OSError):
                self._socket.sendto(datagram.data, self._ports[datagram.target.port])

    def close(self) -> None:
        self._loop.remove_reader(self._socket)
        self._socket.close()


class _SocketStream:
    """A connection of this machine's."""

    halves = True

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def read(self) -> bytes:
        return await self._reader.read(_CHUNK)

    async def write(self, data: bytes) -> None:
        self._writer.write(data)
        await self._writer.drain()

    async def finish(self) -> None:
        self._writer.write_eof()

    def close(self) -> None:
        self._writer.close()

    def abort(self) -> None:
        _break_off(self._writer)


def _break_off(writer: asyncio.StreamWriter) -> None:
    """Reset a connection: to be closed only, would look as if all had been sent."""
    link = writer.get_extra_info("socket")
    with suppress(OSError):
        link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _AT_ONCE)
    writer.transport.abort()
