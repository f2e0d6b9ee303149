"""The guest's network through a relay: any TCP and UDP, by the Wisp protocol.

Names are looked up by the relay. As in :mod:`browsermount.network.web`, the guest gets addresses
for them that stand for names.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from browsermount.errors import BrowsermountError
from browsermount.limits import MAX_RELAY_BACKLOG, MAX_UDP_FLOWS
from browsermount.network import dns, icmp
from browsermount.network.addresses import GATEWAY, NETMASK, Endpoint, to_text
from browsermount.network.connection import Connection
from browsermount.network.names import Names
from browsermount.network.stack import Stack
from browsermount.network.stream import Stream, join
from browsermount.network.udp import Datagram
from browsermount.network.web import is_public_host
from browsermount.network.wisp import MAX_DATA, Kind, Reason, WispClient, WispStream

_READY_SECONDS = 10.0
"""How long a relay may take to say that it is there."""
_PAUSE_SECONDS = 1.0
"""How long a relay that was not there is left alone."""
_BACKLOG_SECONDS = 0.02
_SILENCE_SECONDS = 60.0
"""How long a server may be silent after the guest has sent all: it cannot be told of that."""
_MAX_TOLD = 256
_MAX_EARLY = 16
"""Datagrams that wait for the relay."""

_REFUSALS = {
    Reason.UNREACHABLE: "the relay finds no {}",
    Reason.TIMED_OUT: "the relay got no answer from {}",
    Reason.BLOCKED: "the relay does not let the container reach {}",
    Reason.THROTTLED: "the relay has slowed the container's connection with {} down",
    Reason.OVERFLOW: "{} has sent more than the container could take, and a relay cannot wait",
}


class Transport(Protocol):
    """A WebSocket that is open."""

    @property
    def backlog(self) -> int:
        """Bytes that are still to be sent."""
        ...

    def send(self, message: bytes) -> None:
        """Send a message, or drop it where the connection is lost."""
        ...

    def close(self) -> None:
        """End it."""
        ...


class Dial(Protocol):
    """Opens a WebSocket."""

    async def __call__(
        self, receive: Callable[[bytes], None], lost: Callable[[], None]
    ) -> Transport:
        """Return it when it is open.

        Args:
            receive: Takes the messages that come.
            lost: Is called once when it has ended, unless we have ended it.

        Raises:
            BrowsermountError: It cannot be opened.
        """
        ...


class RelayGateway:
    """What is at the other end of the guest's network card where a relay connects it.

    Args:
        stack: The other end.
        dial: Opens a connection with the relay, when it is needed.
        private: Whether hosts that are not of the internet may be asked for, too.
        tell: Tells a person, in one sentence and a hint, what does not work.
        recovered: Is called when the relay is there again.
    """

    def __init__(
        self,
        stack: Stack,
        dial: Dial,
        *,
        private: bool,
        tell: Callable[[str, str], None],
        recovered: Callable[[], None],
    ) -> None:
        self._stack = stack
        self._link = _Link(dial, self._tell_lost)
        self._private = private
        self._tell = tell
        self._recovered = recovered
        self._told: set[str] = set()
        self._lost = False
        self._names = Names()
        self._tasks: set[asyncio.Task[None]] = set()
        self._flows: OrderedDict[tuple[Endpoint, Endpoint], _Flow] = OrderedDict()
        stack.on_connect = self._connect
        stack.on_datagram = self._take_datagram

    def close(self) -> None:
        """Break everything off."""
        for task in self._tasks:
            task.cancel()
        self._link.close()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- What may pass -----------------------------------------------------------------------

    def _host(self, address: int) -> str | None:
        """Return the host that an address stands for; None where it may not be reached."""
        host = self._names.name(address) or to_text(address)
        if address & NETMASK == GATEWAY & NETMASK:
            return None
        if self._private or is_public_host(host):
            return host
        self._tell_once(
            f"the container may not reach {host}, which is not a host of the internet's",
            'The page allows it with network="all".',
        )
        return None

    def _tell_once(self, message: str, hint: str = "") -> None:
        if message not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(message)
            self._tell(message, hint)

    def _tell_lost(self, message: str, hint: str) -> None:
        self._lost = True
        self._tell(message, hint)

    async def _relay(self) -> tuple[WispClient, Transport]:
        found = await self._link.get()
        if self._lost:
            self._lost = False
            self._recovered()
        return found

    # -- Names -------------------------------------------------------------------------------

    def _resolve(self, query: dns.Query) -> bytes:
        if not (self._private or is_public_host(query.name)):
            return dns.answer(query, code=dns.NO_SUCH_NAME)
        if query.kind == dns.A:
            return dns.answer(query, [self._names.address(query.name)])
        # Whether there is such a name is not known here.
        known = query.kind == dns.AAAA
        return dns.answer(query, code=dns.NO_ERROR if known else dns.NOT_IMPLEMENTED)

    # -- Connections -------------------------------------------------------------------------

    def _connect(self, connection: Connection) -> None:
        host = self._host(connection.local.address)
        if host is None:
            connection.refuse()
        else:
            self._spawn(self._forward(connection, host))

    async def _forward(self, connection: Connection, host: str) -> None:
        try:
            client, transport = await self._relay()
        except BrowsermountError:
            connection.refuse()
            return
        # Whether somebody answers there, the relay says only where nobody does.
        connection.accept()
        opened = client.open(host, connection.local.port, Kind.TCP)
        await join(Stream(connection), _Remote(opened, transport), MAX_DATA)
        self._tell_refusal(opened.ended, host)

    def _tell_refusal(self, reason: Reason | None, host: str) -> None:
        if reason in _REFUSALS:
            self._tell_once(_REFUSALS[reason].format(host))

    # -- Datagrams ---------------------------------------------------------------------------

    def _take_datagram(self, datagram: Datagram) -> None:
        source, target, data = datagram
        if target == (GATEWAY, dns.PORT):
            if query := dns.parse(data):
                reply = self._resolve(query)
                self._stack.send_datagram(Datagram(target, source, reply))
            return
        flow = self._flows.get((source, target))
        if flow is None:
            host = self._host(target.address)
            if host is None:
                self._stack.refuse_datagram(datagram, icmp.PROHIBITED)
                return
            if len(self._flows) >= MAX_UDP_FLOWS:
                self._flows.popitem(last=False)[1].close()
            flow = self._flows[source, target] = _Flow(self._stack, source, target)
            self._spawn(self._open(flow, host))
        self._flows.move_to_end((source, target))
        flow.send(data)

    async def _open(self, flow: _Flow, host: str) -> None:
        try:
            client, transport = await self._relay()
            if not flow.over:
                flow.open(client.open(host, flow.target.port, Kind.UDP), transport)
                await flow.ended()
        except BrowsermountError:
            pass
        finally:
            if self._flows.get((flow.source, flow.target)) is flow:
                del self._flows[flow.source, flow.target]
            flow.close()


_HINT = "Look whether its address is right, and whether it speaks the Wisp protocol."


class RelayFailure(BrowsermountError):
    """The relay is not there, or is none."""

    code = "relay"


class _Link:
    """The connection with the relay: made when it is needed, and made anew when it is lost.

    Args:
        dial: Opens it.
        tell: Tells a person that it cannot be had, or is lost.
    """

    def __init__(self, dial: Dial, tell: Callable[[str, str], None]) -> None:
        self._dial = dial
        self._tell = tell
        self._opening: asyncio.Task[tuple[WispClient, Transport]] | None = None
        self._failed: tuple[float, BrowsermountError] | None = None
        self._transport: Transport | None = None
        self._client: WispClient | None = None

    async def get(self) -> tuple[WispClient, Transport]:
        """Return it, when it is there.

        Raises:
            BrowsermountError: It cannot be had.
        """
        if self._client is not None and self._transport is not None and self._client.ready:
            return self._client, self._transport
        now = asyncio.get_running_loop().time()
        if self._failed is not None and now - self._failed[0] < _PAUSE_SECONDS:
            raise self._failed[1]
        if self._opening is None:
            self._opening = asyncio.ensure_future(self._open())
        # One that waits for it may give up without the others.
        return await asyncio.shield(self._opening)

    def close(self) -> None:
        """End it."""
        if self._opening is not None:
            self._opening.cancel()
        self._drop()

    async def _open(self) -> tuple[WispClient, Transport]:
        transport: Transport | None = None
        client = WispClient(lambda message: transport.send(message) if transport else None)
        ready = asyncio.Event()
        client.on_ready = ready.set
        over = False

        def lost() -> None:
            nonlocal over
            over = True
            was_there = client.ready
            client.lose()
            ready.set()
            if client is self._client:
                self._drop()
                if was_there:
                    self._tell("the connection with the relay is lost", "")

        try:
            async with asyncio.timeout(_READY_SECONDS):
                transport = await self._dial(client.receive, lost)
                try:
                    await ready.wait()
                except BaseException:
                    transport.close()
                    raise
            if over:
                transport.close()
                raise RelayFailure("the relay has hung up", hint=_HINT)
        except (TimeoutError, BrowsermountError) as error:
            failure = (
                RelayFailure("the relay does not answer", hint=_HINT)
                if isinstance(error, TimeoutError)
                else error
            )
            self._failed = asyncio.get_running_loop().time(), failure
            self._tell(failure.message, failure.hint)
            raise failure from error
        finally:
            self._opening = None
        self._failed = None
        self._client, self._transport = client, transport
        return client, transport

    def _drop(self) -> None:
        if self._transport is not None:
            self._transport.close()
        if self._client is not None:
            client, self._client = self._client, None
            client.lose()
        self._transport = None


class _Remote:
    """A stream of the relay's for coroutines."""

    halves = False

    def __init__(self, stream: WispStream, transport: Transport) -> None:
        self._stream = stream
        self._transport = transport
        self._changed = asyncio.Event()
        stream.on_change = self._changed.set

    async def finish(self) -> None:
        """End it some time after the guest has sent all.

        The answer may still come, but the server cannot be told that there is nothing more.
        """
        received = -1
        while received != self._stream.received:
            received = self._stream.received
            await asyncio.sleep(_SILENCE_SECONDS)
        self.close()

    def close(self) -> None:
        """End it."""
        self._stream.close()

    def abort(self) -> None:
        """End it; there is no other way."""
        self.close()

    async def read(self) -> bytes:
        """Return what comes next; nothing at the end.

        Raises:
            ConnectionResetError: The server, or the relay, has broken it off.
        """
        while not (data := self._stream.read()) and self._stream.ended is None:
            self._changed.clear()
            await self._changed.wait()
        if not data and self._stream.ended is not Reason.VOLUNTARY:
            raise ConnectionResetError("the relay has broken the connection off")
        return data

    async def write(self, data: bytes) -> None:
        """Send at most :data:`MAX_DATA` bytes; nothing where it has ended."""
        while not self._stream.writable and self._stream.ended is None:
            self._changed.clear()
            await self._changed.wait()
        while self._transport.backlog > MAX_RELAY_BACKLOG and self._stream.ended is None:
            await asyncio.sleep(_BACKLOG_SECONDS)
        if self._stream.ended is None:
            self._stream.write(data)


class _Flow:
    """Datagrams between one port of the guest's and one of a server's.

    Args:
        stack: Where the guest is.
        source: The guest's end.
        target: The server's, as the guest sees it.
    """

    def __init__(self, stack: Stack, source: Endpoint, target: Endpoint) -> None:
        self.source = source
        self.target = target
        self._stack = stack
        self._early: list[bytes] = []
        self._stream: WispStream | None = None
        self._transport: Transport | None = None
        self._over = asyncio.Event()

    def open(self, stream: WispStream, transport: Transport) -> None:
        """Send what has waited, and from now on what comes."""
        self._stream, self._transport = stream, transport
        stream.on_change = self._receive
        early, self._early = self._early, []
        for data in early:
            self.send(data)

    @property
    def over(self) -> bool:
        """Whether it has ended."""
        return self._over.is_set()

    async def ended(self) -> None:
        """Wait for the end."""
        await self._over.wait()

    def send(self, data: bytes) -> None:
        """Send a datagram, or drop it where there is no room for it, as networks do."""
        if self._stream is None or self._transport is None:
            if len(self._early) < _MAX_EARLY:
                self._early.append(data)
        elif self._stream.writable and self._transport.backlog <= MAX_RELAY_BACKLOG:
            self._stream.write(data)

    def _receive(self) -> None:
        assert self._stream is not None
        while data := self._stream.read():
            self._stack.send_datagram(Datagram(self.target, self.source, data))
        if self._stream.ended is not None:
            self._over.set()

    def close(self) -> None:
        """End it."""
        self._over.set()
        if self._stream is not None:
            self._stream.close()
