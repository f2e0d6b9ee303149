"""Two containers in one network, of which the test plays both guests."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

import pytest

from browsermount.network.neighbours import Neighbours, is_name

from .guest_network import ACK, FIN, GUEST, PSH, RST, SYN, Guest, Peer, ethernet, ip
from .loop import run

FIRST = bytes((198, 19, 0, 1))


MEMBERS: list[Member] = []


class Wire:
    """One end of what joins two of them."""

    def __init__(self) -> None:
        self.other: Wire | None = None
        self.receive: Callable[[bytes], None] = lambda message: None
        self.lost: Callable[[], None] = lambda: None

    def send(self, message: bytes) -> None:
        if self.other is not None:
            asyncio.get_running_loop().call_soon(self.other.receive, message)

    def close(self) -> None:
        if self.other is not None:
            other, self.other = self.other, None
            other.other = None
            asyncio.get_running_loop().call_soon(other.lost)


class Browser:
    """Where the containers are."""

    def __init__(self) -> None:
        self.members: dict[str, Member] = {}
        self.wires: list[Wire] = []

    async def find(self, name: str) -> bool:
        await asyncio.sleep(0)
        return name in self.members


@dataclass
class Hood:
    browser: Browser
    own: str

    async def find(self, name: str) -> bool:
        return await self.browser.find(name)

    async def dial(
        self, name: str, receive: Callable[[bytes], None], lost: Callable[[], None]
    ) -> Wire:
        if not await self.browser.find(name):
            raise ConnectionRefusedError
        near, far = Wire(), Wire()
        near.other, far.other = far, near
        near.receive, near.lost = receive, lost
        far.receive, far.lost = self.browser.members[name].neighbours.meet(self.own, far)
        self.browser.wires.append(near)
        return near


class Member:
    def __init__(self, browser: Browser, name: str, *, alone: bool = False) -> None:
        self.guest = Guest()
        self.others: list[str] = []
        stack = self.guest.stack
        stack.on_connect = lambda it: (self.others.append(f"tcp {it.local}"), it.refuse())[1]
        stack.on_datagram = lambda it: self.others.append(f"udp {it.target}")
        self.neighbours = Neighbours(stack, "shop", name, Hood(browser, name), alone=alone)
        browser.members[name] = self
        MEMBERS.append(self)

    async def asks(self, name: str, kind: int = 1) -> bytes | None:
        """Ask for a name; returns the answer, if there is any."""
        self.guest.take()
        question = b"".join(bytes((len(it),)) + it.encode() for it in name.split("."))
        question += struct.pack("!BHH", 0, kind, 1)
        self.guest.udp(53, struct.pack("!HHHHHH", 7, 0x100, 1, 0, 0, 0) + question)
        await settle()
        packets = self.guest.packets()
        return packets[0][28:] if packets else None


def play(test: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run a test, and close what it has left open."""

    async def whole() -> None:
        try:
            await test()
        finally:
            while MEMBERS:
                MEMBERS.pop().neighbours.close()
            await settle()

    run(whole())


async def settle() -> None:
    for _ in range(30):
        await asyncio.sleep(0)


def two() -> tuple[Browser, Member, Member]:
    browser = Browser()
    return browser, Member(browser, "web"), Member(browser, "db")


async def connected() -> tuple[Browser, Member, Member, Peer, Peer]:
    """Have db connect to web's port 80."""
    browser, web, db = two()
    assert await db.asks("web") is not None
    client = Peer(db.guest, target=(FIRST, 80))
    client.send(SYN)
    await settle()
    assert db.guest.segments() == []  # not before the other one has said yes
    (syn,) = web.guest.segments()
    assert (syn.flags, syn.source[0], syn.target) == (SYN, FIRST, (GUEST, 80))
    server = Peer(web.guest, port=80, target=syn.source, ack=syn.seq + 1)
    server.send(SYN | ACK)
    await settle()
    (answer,) = db.guest.segments()
    assert answer.flags == SYN | ACK
    client.ack = answer.seq + 1
    client.send(ACK)
    web.guest.take()
    return browser, web, db, client, server


def test_names() -> None:
    async def test() -> None:
        _, _, db = two()
        for name in ("web", "web.shop", "WEB", "Web.Shop"):
            answer = await db.asks(name)
            assert answer is not None
            assert answer[-4:] == FIRST
            assert answer[3] & 15 == 0
        own = await db.asks("db")
        assert own is not None
        assert own[-4:] == GUEST
        # There are no other addresses, but there is the name.
        other = await db.asks("web", kind=28)
        assert other is not None
        assert (other[3] & 15, other[6:8]) == (0, b"\0\0")
        assert db.others == []
        # What no container has is asked elsewhere.
        for name in ("api", "api.shop", "web.shop.example", "web.example", "localhost"):
            assert await db.asks(name) is None
        assert len(db.others) == 5

    play(test)


def test_no_other_names_where_there_is_nothing_else() -> None:
    async def test() -> None:
        browser, _, _ = two()
        member = Member(browser, "api", alone=True)
        answer = await member.asks("web")
        assert answer is not None
        assert answer[-4:] == FIRST
        for name in ("none", "server.example"):
            answer = await member.asks(name)
            assert answer is not None
            assert (answer[3] & 15, answer[6:8]) == (3, b"\0\0")
        assert member.others == []

    play(test)


@pytest.mark.parametrize("name", ["web", "a", "0", "a-b", "x" * 63])
def test_what_is_a_name(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize(
    "name",
    ["", "localhost", "a.b", "-a", "a-", "A", "a_b", "x" * 64, "ä", "a/b", "host.docker.internal"],
)
def test_what_is_no_name(name: str) -> None:
    assert not is_name(name)


def test_a_connection_and_its_end() -> None:
    async def test() -> None:
        _, web, db, client, server = await connected()
        client.send(PSH | ACK, b"question")
        await settle()
        assert server.receive(web.guest.segments()) == b"question"
        server.send(PSH | ACK, b"answer")
        await settle()
        assert client.receive(db.guest.segments()) == b"answer"
        client.send(FIN | ACK)
        await settle()
        (end,) = [it for it in web.guest.segments() if it.flags & FIN]
        server.receive([end])
        server.send(PSH | ACK, b"more")  # the other half is open still
        server.send(FIN | ACK)
        await settle()
        assert client.receive([it for it in db.guest.segments() if it.data or it.flags & FIN]) == (
            b"more"
        )
        client.send(ACK)
        await settle()
        assert web.guest.stack.connections == db.guest.stack.connections == 0

    play(test)


def test_several_at_once_find_the_same_way() -> None:
    async def test() -> None:
        browser, web, db = two()
        await db.asks("web")
        for port in range(40000, 40003):
            Peer(db.guest, port=port, target=(FIRST, 80)).send(SYN)
            await asyncio.sleep(0)
        await settle()
        assert [it.flags for it in web.guest.segments()] == [SYN] * 3
        assert len(browser.wires) == 1

    play(test)


def test_nobody_listens() -> None:
    async def test() -> None:
        _, web, db = two()
        await db.asks("web")
        client = Peer(db.guest, target=(FIRST, 81))
        client.send(SYN)
        await settle()
        (syn,) = web.guest.segments()
        server = Peer(web.guest, port=81, target=syn.source, ack=syn.seq + 1)
        server.send(RST | ACK)
        await settle()
        (answer,) = db.guest.segments()
        assert answer.flags & RST
        assert web.guest.stack.connections == db.guest.stack.connections == 0

    play(test)


def test_a_client_that_gives_up_before_the_answer() -> None:
    async def test() -> None:
        _, web, db = two()
        await db.asks("web")
        client = Peer(db.guest, target=(FIRST, 80))
        client.send(SYN)
        await settle()
        client.send(RST)
        await settle()
        assert web.guest.stack.connections == db.guest.stack.connections == 0

    play(test)


@pytest.mark.parametrize("full", [False, True])
def test_one_that_is_gone_resets_its_connections(full: bool) -> None:
    async def test() -> None:
        browser, web, db, _, server = await connected()
        if full:  # also where the guest takes nothing
            for _ in range(100):
                server.send(PSH | ACK, bytes(1000))
                await settle()
                web.guest.take()
        db.guest.take()
        del browser.members["web"]
        browser.wires[0].other = None
        browser.wires[0].lost()
        await settle()
        (end,) = db.guest.segments()
        assert end.flags & RST
        assert db.guest.stack.connections == 0
        # And who connects again is refused at once, until there is another one.
        again = Peer(db.guest, port=40001, target=(FIRST, 80))
        again.send(SYN)
        await settle()
        (answer,) = db.guest.segments()
        assert answer.flags & RST
        assert await db.asks("web") is None
        other = Member(browser, "web")
        Peer(db.guest, port=40002, target=(FIRST, 80)).send(SYN)
        await settle()
        assert [it.flags for it in other.guest.segments()] == [SYN]

    play(test)


def test_who_breaks_off_here_breaks_off_there() -> None:
    async def test() -> None:
        for ours in (True, False):
            _, web, db, client, server = await connected()
            (client if ours else server).send(RST | ACK)
            await settle()
            ends = (web if ours else db).guest.segments()
            assert [bool(it.flags & RST) for it in ends] == [True]
            assert web.guest.stack.connections == db.guest.stack.connections == 0

    play(test)


def test_datagrams_and_their_answers() -> None:
    async def test() -> None:
        _, web, db = two()
        await db.asks("web")
        payload = struct.pack("!HHHH", 5000, 6000, 13, 0) + b"hello"
        db.guest.give(udp(payload, FIRST))
        await settle()
        (packet,) = web.guest.packets()
        assert packet[12:20] == FIRST + GUEST
        assert packet[20:24] + packet[28:] == struct.pack("!HH", 5000, 6000) + b"hello"
        payload = struct.pack("!HHHH", 6000, 5000, 11, 0) + b"yes"
        web.guest.give(udp(payload, FIRST))
        await settle()
        (packet,) = db.guest.packets()
        assert packet[12:20] == FIRST + GUEST
        assert packet[20:24] + packet[28:] == struct.pack("!HH", 6000, 5000) + b"yes"

    play(test)


def udp(payload: bytes, target: bytes) -> bytes:
    return ethernet(ip(17, payload, target=target))


def test_addresses_that_stand_for_nobody() -> None:
    async def test() -> None:
        _, _, db = two()
        Peer(db.guest, target=(bytes((198, 19, 7, 7)), 80)).send(SYN)
        await settle()
        assert db.guest.segments()[0].flags & RST
        db.guest.give(udp(struct.pack("!HHHH", 1, 2, 8, 0), bytes((198, 19, 7, 7))))
        await settle()
        (unreachable,) = db.guest.packets()
        assert (unreachable[9], unreachable[20]) == (1, 3)
        # And all else is for who was there before.
        Peer(db.guest, target=(bytes((198, 18, 0, 1)), 80)).send(SYN)
        db.guest.udp(123, b"time")
        assert db.others == ["tcp 198.18.0.1:80", "udp 192.168.127.1:123"]

    play(test)


def test_one_that_speaks_nonsense_is_dropped() -> None:
    async def test() -> None:
        browser, web, db, _, _ = await connected()
        wire = browser.wires[0]
        assert wire.other is not None
        wire.other.receive(b"\xff\0\0\0\1")
        wire.receive(b"\xff\0\0\0\1")
        await settle()
        assert web.guest.stack.connections == db.guest.stack.connections == 0
        assert all(it.flags & RST for it in (*web.guest.segments(), *db.guest.segments()))

    play(test)
