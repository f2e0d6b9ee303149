"""Ports that the command line publishes, without a machine: how breaks look to who connects."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable

import pytest

from browsermount.cli.sockets import Network, Publication, Rules
from browsermount.network import stack
from browsermount.network.framing import FrameSplitter, framed
from tests.core.guest_network import (
    ACK,
    PSH,
    RST,
    SYN,
    Guest,
    Peer,
    Segment,
    ethernet,
    read_segment,
)
from tests.servers.program import free_port


class Card:
    """The guest's end of the frames."""

    def __init__(self, link: socket.socket) -> None:
        link.setblocking(False)
        self._link = link
        self._splitter = FrameSplitter()
        self._frames: list[bytes] = []
        # Any frame tells its address.
        self.give(ethernet(b"", 0x88B5))

    def give(self, frame: bytes) -> None:
        self._link.send(framed(frame))

    async def segment(self, flags: int) -> Segment:
        """The next segment that has these flags."""
        loop = asyncio.get_running_loop()
        while True:
            while self._frames:
                frame = self._frames.pop(0)
                if frame[12:14] == b"\x08\0" and frame[23] == 6:
                    found = read_segment(frame[14:])
                    if found.flags & flags == flags:
                        return found
            data = await asyncio.wait_for(loop.sock_recv(self._link, 1 << 16), 30)
            self._frames += self._splitter.feed(data)


def play(
    test: Callable[[Card, asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]],
) -> None:
    """Run a test with somebody who has connected to a published port."""
    port = free_port()

    async def whole() -> None:
        ours, theirs = socket.socketpair()
        network = Network(ours, Rules(publications=[Publication("127.0.0.1", port, 80)]), print)
        await network.open()
        card = Card(theirs)
        # It has been heard when it is answered.
        card.give(ethernet(bytes.fromhex("0001080006040001") + bytes(20), 0x0806))
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            await test(card, reader, writer)
        finally:
            writer.close()
            await network.close()
            theirs.close()

    asyncio.run(whole())


def test_what_the_container_resets_is_reset_and_not_ended() -> None:
    """Else half of what it has sent would pass for all."""

    async def test(card: Card, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        syn = await card.segment(SYN)
        server = Peer(Guest(), 80, syn.source, ack=syn.seq + 1, source=syn.target[0])
        card.give(server.segment(SYN | ACK))
        server.seq += 1
        await card.segment(ACK)
        card.give(server.segment(PSH | ACK, b"the half"))
        assert await asyncio.wait_for(reader.readexactly(8), 30) == b"the half"
        server.seq += 8
        card.give(server.segment(RST | ACK))
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 30)

    play(test)


def test_one_connection_too_many_is_reset(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack, "MAX_CONNECTIONS", 0)

    async def test(card: Card, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with pytest.raises(ConnectionResetError):
            await asyncio.wait_for(reader.read(), 30)

    play(test)
