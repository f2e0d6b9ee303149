"""Containers that are in one network with ours: by their names, by TCP and by UDP.

Each container's stack ends its TCP itself, so that it is streams that go between two of them, by a
:class:`~browsermount.network.trunk.Trunk`. A neighbour has an address in each container that asks
for its name or that it talks to; the addresses are of the range that stands for names, see
:mod:`browsermount.network.names`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

from browsermount import limits
from browsermount.network import dns
from browsermount.network.addresses import GATEWAY, GUEST, Endpoint, parse
from browsermount.network.connection import Connection, State
from browsermount.network.names import Names
from browsermount.network.stack import Stack
from browsermount.network.stream import Stream, join
from browsermount.network.trunk import MAX_DATA, Trunk, TrunkError, TrunkStream
from browsermount.network.udp import Datagram

_FIRST = parse("198.19.0.1")
_RANGE = parse("255.255.0.0")
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_RESERVED = ("localhost",)


def is_name(text: str) -> bool:
    """Tell whether a container, or a network of containers, can have this name.

    It is one label of a host name, in small letters (RFC 1123, section 2.1), so that it can neither
    be the name of a host of the internet nor one of those that stand for this machine.
    """
    return _LABEL.fullmatch(text) is not None and text not in _RESERVED


class Wire(Protocol):
    """What carries messages to one neighbour."""

    def send(self, message: bytes) -> None:
        """Send a message, or drop it where the neighbour is gone."""
        ...

    def close(self) -> None:
        """End it, for the neighbour, too."""
        ...


class Neighbourhood(Protocol):
    """Finds neighbours."""

    async def find(self, name: str) -> bool:
        """Tell whether there is one of this name now."""
        ...

    async def dial(
        self, name: str, receive: Callable[[bytes], None], lost: Callable[[], None]
    ) -> Wire:
        """Return a wire to one.

        Args:
            name: Its name.
            receive: Takes the messages that come from it.
            lost: Is called once when it has ended, unless we have ended it.

        Raises:
            ConnectionError: There is none.
        """
        ...


class _Link:
    """A wire to a neighbour, and the trunk on it."""

    def __init__(self, *, first: bool) -> None:
        self.wire: Wire | None = None
        self.trunk = Trunk(self._send, first=first)

    def _send(self, message: bytes) -> None:
        if self.wire is not None:
            self.wire.send(message)

    def receive(self, message: bytes) -> None:
        try:
            self.trunk.receive(message)
        except TrunkError:
            self.close()

    def close(self) -> None:
        self.trunk.lose()
        if self.wire is not None:
            self.wire.close()


class Neighbours:
    """Answers the guest in the place of a gateway where it means a neighbour.

    Args:
        stack: The other end of the guest's card. What is said there to do with connections and
            datagrams remains for those that are not for neighbours.
        network: The network's name.
        name: The container's own.
        neighbourhood: Finds the others.
        alone: Whether there is nothing beside neighbours: then no other name exists.
    """

    def __init__(
        self,
        stack: Stack,
        network: str,
        name: str,
        neighbourhood: Neighbourhood,
        *,
        alone: bool = False,
    ) -> None:
        self._stack = stack
        self._name = name
        self._suffix = f".{network}"
        self._neighbourhood = neighbourhood
        self._alone = alone
        self._names = Names(_FIRST)
        self._links: dict[str, _Link] = {}
        self._open: set[_Link] = set()
        self._dialling: dict[str, asyncio.Task[_Link]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._queries = 0
        self._other_connect = stack.on_connect
        self._other_datagram = stack.on_datagram
        stack.on_connect = self._connect
        stack.on_datagram = self._take_datagram

    def close(self) -> None:
        """Break everything off."""
        for task in (*self._tasks, *self._dialling.values()):
            task.cancel()
        links, self._open = self._open, set()
        self._links.clear()
        for link in links:
            link.close()

    def meet(self, name: str, wire: Wire) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        """Take a neighbour that has looked for us.

        Returns:
            What takes the messages that come from it, and what is to be called when it is gone.
        """
        link = _Link(first=False)
        link.wire = wire
        callbacks = self._use(name, link)
        if len(self._open) > limits.MAX_NEIGHBOURS:
            link.close()
            callbacks[1]()
        return callbacks

    # -- Links -------------------------------------------------------------------------------

    def _use(self, name: str, link: _Link) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        link.trunk.on_open = lambda remote: self._spawn(self._take(name, remote))
        link.trunk.on_datagram = lambda *given: self._deliver(name, *given)
        # There may be one more where both have looked for each other at once. Either does.
        self._links[name] = link
        self._open.add(link)

        def lost() -> None:
            link.trunk.lose()
            self._open.discard(link)
            if self._links.get(name) is link:
                del self._links[name]

        def receive(message: bytes) -> None:
            link.receive(message)
            if link.trunk.lost:
                lost()

        return receive, lost

    async def _link(self, name: str) -> _Link:
        """Return the way to a neighbour.

        Raises:
            ConnectionError: There is none.
        """
        link = self._links.get(name)
        if link is not None and link.wire is not None and not link.trunk.lost:
            return link
        dialling = self._dialling.get(name)
        if dialling is None:
            dialling = self._dialling[name] = asyncio.ensure_future(self._dial(name))
            dialling.add_done_callback(lambda task: self._dialled(name, task))
        # One that waits for it may give up without the others.
        return await asyncio.shield(dialling)

    def _dialled(self, name: str, task: asyncio.Task[_Link]) -> None:
        del self._dialling[name]
        if not task.cancelled():
            task.exception()  # those who wait for it are told

    async def _dial(self, name: str) -> _Link:
        link = _Link(first=True)
        receive, lost = self._use(name, link)
        try:
            link.wire = await self._neighbourhood.dial(name, receive, lost)
        except BaseException:
            lost()
            raise
        if link.trunk.lost:
            raise ConnectionError(f"{name} is gone")
        return link

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- Connections -------------------------------------------------------------------------

    def _connect(self, connection: Connection) -> None:
        address, port = connection.local
        if address & _RANGE != _FIRST & _RANGE:
            self._other_connect(connection)
        elif name := self._names.name(address):
            self._spawn(self._reach(connection, name, port))
        else:
            connection.refuse()

    async def _reach(self, connection: Connection, name: str, port: int) -> None:
        """Connect the guest with a port of a neighbour's."""
        try:
            link = await self._link(name)
            remote = _Remote(link.trunk.open(port))
        except ConnectionError:
            connection.refuse()
            return
        connection.on_change = remote.wake
        try:
            while not remote.answered and connection.state is State.PENDING:
                await remote.change()
        except BaseException:
            remote.abort()
            raise
        if not remote.accepted or connection.state is not State.PENDING:
            connection.refuse()
            remote.abort()
            return
        connection.accept()
        await remote.join(Stream(connection))

    async def _take(self, name: str, asked: TrunkStream) -> None:
        """Connect a neighbour with a port of the guest's."""
        try:
            source = self._names.address(name)
            stream = Stream(self._stack.connect(Endpoint(GUEST, asked.port), source))
        except ConnectionError:
            asked.break_off()
            return
        try:
            # Whoever asks may give up before the guest has answered.
            asked.on_change = lambda: stream.abort() if asked.reset else None
            await stream.opened()
        except BaseException as error:
            asked.break_off()
            stream.abort()
            if isinstance(error, ConnectionError):
                return
            raise
        asked.accept()
        await _Remote(asked).join(stream)

    # -- Datagrams ---------------------------------------------------------------------------

    def _take_datagram(self, datagram: Datagram) -> None:
        source, target, data = datagram
        if target == (GATEWAY, dns.PORT):
            query = dns.parse(data)
            name = self._meant(query.name) if query else None
            if query is None or name is None:
                self._resolve_elsewhere(datagram, query)
            elif self._queries < limits.MAX_NEIGHBOUR_QUERIES:
                self._spawn(self._resolve(datagram, query, name))
        elif target.address & _RANGE != _FIRST & _RANGE:
            self._other_datagram(datagram)
        elif (name := self._names.name(target.address)) is None:
            self._stack.refuse_datagram(datagram)
        elif (link := self._links.get(name)) and link.wire is not None:
            link.trunk.send_datagram(source.port, target.port, data)
        elif len(self._tasks) < limits.MAX_UDP_FLOWS:
            self._spawn(self._send_first(datagram, name))

    async def _send_first(self, datagram: Datagram, name: str) -> None:
        source, target, data = datagram
        try:
            link = await self._link(name)
        except ConnectionError:
            self._stack.refuse_datagram(datagram)
            return
        link.trunk.send_datagram(source.port, target.port, data)

    def _deliver(self, name: str, source: int, target: int, data: bytes) -> None:
        from_here = Endpoint(self._names.address(name), source)
        self._stack.send_datagram(Datagram(from_here, Endpoint(GUEST, target), data))

    # -- Names -------------------------------------------------------------------------------

    def _meant(self, host: str) -> str | None:
        """Return the container that a host name may mean; None for no container."""
        name = host.removesuffix(self._suffix)
        return name if is_name(name) else None

    def _resolve_elsewhere(self, datagram: Datagram, query: dns.Query | None) -> None:
        if not self._alone:
            self._other_datagram(datagram)
        elif query is not None:
            reply = dns.answer(query, code=dns.NO_SUCH_NAME)
            self._stack.send_datagram(Datagram(datagram.target, datagram.source, reply))

    async def _resolve(self, datagram: Datagram, query: dns.Query, name: str) -> None:
        self._queries += 1
        try:
            found = name == self._name or await self._neighbourhood.find(name)
        finally:
            self._queries -= 1
        if not found:
            self._resolve_elsewhere(datagram, query)
            return
        addresses = []
        if query.kind == dns.A:
            addresses.append(GUEST if name == self._name else self._names.address(name))
        reply = dns.answer(query, addresses)
        self._stack.send_datagram(Datagram(datagram.target, datagram.source, reply))


class _Remote:
    """A stream of a trunk for coroutines."""

    halves = True

    def __init__(self, stream: TrunkStream) -> None:
        self._stream = stream
        self._changed = asyncio.Event()
        self._broken: Callable[[], None] = lambda: None
        stream.on_change = self.wake

    def wake(self) -> None:
        """Have whoever waits look again."""
        self._changed.set()
        if self._stream.reset:
            self._broken()

    async def join(self, stream: Stream) -> None:
        """Join it with a connection of the guest's."""
        # The guest is told of a break also while one of the two waits for the other.
        self._broken = stream.abort
        self.wake()
        try:
            await join(stream, self, MAX_DATA)
        finally:
            self._broken = lambda: None

    async def finish(self) -> None:
        """Say that nothing more will be written."""
        self._stream.finish()

    def close(self) -> None:
        """Break it off where one side has not ended it."""
        self.abort()

    def abort(self) -> None:
        """Break it off, or refuse it."""
        self._stream.break_off()
        self.wake()

    async def change(self) -> None:
        """Wait until there may be something new."""
        await self._changed.wait()
        self._changed.clear()

    @property
    def accepted(self) -> bool:
        """Whether the other side has said yes, and has not broken it off since."""
        return self._stream.accepted and not self._stream.reset

    @property
    def answered(self) -> bool:
        """Whether the other side has said yes or no."""
        return self._stream.accepted or self._stream.reset

    async def read(self) -> bytes:
        """Return what comes next; nothing at the end.

        Raises:
            ConnectionResetError: It is broken off.
        """
        while True:
            if self._stream.reset:
                raise ConnectionResetError("the other container has broken the connection off")
            if (data := self._stream.read()) or self._stream.at_eof:
                return data
            await self.change()

    async def write(self, data: bytes) -> None:
        """Send all of some bytes.

        Raises:
            ConnectionResetError: It is broken off.
        """
        while data:
            if self._stream.reset:
                raise ConnectionResetError("the other container has broken the connection off")
            if room := self._stream.room:
                self._stream.write(data[:room])
                data = data[room:]
            else:
                await self.change()
