"""The Wisp protocol, and the guest's connections through a relay that is played by the test."""

from __future__ import annotations

import asyncio
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from browsermount import limits
from browsermount.errors import NetworkError
from browsermount.network import relay
from browsermount.network.relay import RelayGateway
from browsermount.network.wisp import MAX_DATA, Kind, Reason, WispClient

from .guest_network import ACK, FIN, RST, SYN, Guest, Peer
from .loop import run

CONNECT, DATA, CONTINUE, CLOSE, INFO = 1, 2, 3, 4, 5


def packet(kind: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack("<BI", kind, stream) + payload


def go_on(stream: int, window: int) -> bytes:
    return packet(CONTINUE, stream, struct.pack("<I", window))


def client(window: int = 2) -> tuple[WispClient, list[bytes]]:
    sent: list[bytes] = []
    made = WispClient(sent.append)
    made.receive(go_on(0, window))
    return made, sent


def test_packets_of_a_stream() -> None:
    made, sent = client()
    assert made.ready
    stream = made.open("näher.example", 443, Kind.TCP)
    stream.write(b"hello")
    stream.close()
    host = "näher.example".encode()
    assert sent == [
        packet(CONNECT, 1, b"\x01\xbb\x01" + host),
        packet(DATA, 1, b"hello"),
        packet(CLOSE, 1, b"\x02"),
    ]
    # A number is not used twice, and what still comes for the first one is nobody's.
    made.open("b", 53, Kind.UDP)
    assert sent[-1] == packet(CONNECT, 2, b"\x02\x35\x00b")
    made.receive(packet(DATA, 1, b"late"))
    assert made.unread == 0


def test_no_more_is_sent_than_the_relay_has_room_for() -> None:
    made, _ = client(window=2)
    stream = made.open("a", 1, Kind.TCP)
    stream.write(b"1")
    stream.write(b"2")
    assert not stream.writable
    with pytest.raises(ValueError, match="no room"):
        stream.write(b"3")
    woken: list[bool] = []
    stream.on_change = lambda: woken.append(stream.writable)
    made.receive(go_on(1, 1))
    stream.write(b"3")
    assert woken == [True]
    assert not stream.writable
    # However much it claims
    made.receive(go_on(1, 0xFFFFFFFF))
    for _ in range(limits.MAX_RELAY_WINDOW):
        stream.write(b"x")
    assert not stream.writable
    datagrams = made.open("a", 1, Kind.UDP)
    for _ in range(1000):
        datagrams.write(b"x")


def test_what_nobody_reads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("browsermount.network.wisp.MAX_RELAY_UNREAD", 1000)
    made, sent = client()
    slow, quick = made.open("a", 1, Kind.TCP), made.open("b", 1, Kind.TCP)
    for _ in range(3):
        made.receive(packet(DATA, 1, bytes(300)))
    made.receive(packet(DATA, 2, bytes(90)))
    assert slow.ended is None
    made.receive(packet(DATA, 2, bytes(90)))
    assert slow.ended is Reason.OVERFLOW
    assert quick.ended is None
    assert sent[-1] == packet(CLOSE, 1, b"\x81")
    assert made.unread == 180
    assert quick.read() == bytes(90)
    assert made.unread == 90
    quick.close()
    assert made.unread == 0


def test_what_is_no_packet_is_left_out() -> None:
    chance = random.Random(5)
    made, _ = client()
    stream = made.open("a", 1, Kind.TCP)
    for message in (
        b"",
        b"\x02",
        packet(CONTINUE, 1, b"\1"),
        packet(INFO, 0, b"\2\0"),
        b"\xff" * 9,
    ):
        made.receive(message)
    assert stream.ended is None
    for _ in range(3000):
        made.receive(chance.randbytes(chance.randrange(12)))
        made.receive(packet(chance.randrange(7), chance.randrange(4), chance.randbytes(5)))
        made.open("b", 1, Kind.TCP)
        stream.read()
    made.lose()
    assert not made.ready


@dataclass
class Relay:
    """A relay, the guest before it, and what a person is told."""

    there: bool = True
    greets: bool = True
    private: bool = False
    backlog: int = 0
    messages: list[bytes] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    recovered: int = 0
    dialled: int = 0
    closed: int = 0

    def __post_init__(self) -> None:
        self.guest = Guest()

        def recovered() -> None:
            self.recovered += 1

        self.gateway = RelayGateway(
            self.guest.stack,
            self.dial,
            private=self.private,
            tell=lambda message, hint: self.told.append(message),
            recovered=recovered,
        )

    async def dial(self, receive: Callable[[bytes], None], lost: Callable[[], None]) -> Relay:
        self.dialled += 1
        await asyncio.sleep(0)
        if not self.there:
            raise NetworkError("the relay is not there")
        self.say, self.hang_up = receive, lost
        if self.greets:
            asyncio.get_running_loop().call_soon(receive, go_on(0, 2))
        return self

    def send(self, message: bytes) -> None:
        self.messages.append(message)

    def close(self) -> None:
        self.closed += 1

    def address(self, name: str, kind: int = 1) -> bytes | None:
        labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
        header = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0)
        self.guest.udp(53, header + labels + b"\0" + struct.pack("!HH", kind, 1))
        (reply,) = self.guest.packets()
        return reply[-4:] if reply[34:36] == b"\0\1" else None

    async def end(self) -> None:
        self.gateway.close()
        for _ in range(5):
            await asyncio.sleep(0)

    async def opened(self, name: str = "server.example", port: int = 22) -> Peer:
        """Let the guest connect."""
        address = self.address(name)
        assert address is not None
        peer = Peer(self.guest, target=(address, port), port=40000 + self.dialled)
        peer.send(SYN, options=b"\x02\x04\x05\xb4\x01\x03\x03\x07")
        answers = await self.segments()
        assert answers[0].flags == SYN | ACK, answers
        peer.ack = answers[0].seq + 1 & 0xFFFFFFFF
        peer.send(ACK)
        await asyncio.sleep(0)
        return peer

    async def segments(self) -> list:  # type: ignore[type-arg]
        for _ in range(20):
            await asyncio.sleep(0)
        return self.guest.segments()


def test_a_connection_of_the_guest() -> None:
    async def talk() -> None:
        world = Relay()
        peer = await world.opened()
        assert world.messages == [packet(CONNECT, 1, b"\x01\x16\x00server.example")]
        # The server may begin.
        world.say(packet(DATA, 1, b"SSH-2.0"))
        segments = await world.segments()
        assert peer.receive(segments) == b"SSH-2.0"
        peer.send(ACK | 8, b"SSH-2.0-me")
        await world.segments()
        assert world.messages[-1] == packet(DATA, 1, b"SSH-2.0-me")
        # What the guest has sent last gets its answer still.
        peer.send(FIN | ACK, b"end")
        peer.receive(await world.segments())
        assert world.messages[-1] == packet(DATA, 1, b"end")
        world.say(packet(DATA, 1, b"bye"))
        world.say(packet(CLOSE, 1, b"\x02"))
        segments = await world.segments()
        assert b"".join(segment.data for segment in segments) == b"bye"
        assert segments[-1].flags & FIN
        assert world.guest.stack.connections == 1
        peer.receive(segments)
        peer.send(ACK)
        await world.segments()
        assert world.guest.stack.connections == 0
        assert world.told == []
        assert world.dialled == 1
        await world.end()
        assert world.closed == 1

    run(talk())


def test_a_guest_that_sends_faster_than_the_relay_takes() -> None:
    async def talk() -> None:
        world = Relay()
        peer = await world.opened()
        sent = 0
        for _ in range(400):
            peer.send(ACK | 8, bytes(1400))
            sent += 1400
            await asyncio.sleep(0)
        data = [message for message in world.messages if message[0] == DATA]
        assert len(data) == 2
        assert all(len(message) <= MAX_DATA + 5 for message in data)
        # The rest waits in the guest, but for what its window holds.
        window = world.guest.segments()[-1].window << 7
        assert window < 1400
        world.say(go_on(1, 200))
        await world.segments()
        got = sum(len(message) - 5 for message in world.messages if message[0] == DATA)
        assert got > limits.RECEIVE_BUFFER // 2
        # Nor more than the browser gets rid of
        world.backlog = limits.MAX_RELAY_BACKLOG + 1
        count = len(world.messages)
        peer.send(ACK | 8, bytes(1400))
        await world.segments()
        assert len(world.messages) <= count + 1
        await world.end()

    run(talk())


@pytest.mark.parametrize(
    ("reason", "told"),
    [(0x42, "finds no server.example"), (0x48, "does not let"), (0x44, ""), (0x03, ""), (0xEE, "")],
)
def test_a_relay_that_cannot_connect(reason: int, told: str) -> None:
    async def talk() -> None:
        world = Relay()
        await world.opened()
        world.say(packet(CLOSE, 1, bytes((reason,))))
        (segment,) = await world.segments()
        assert segment.flags & RST
        assert told in "".join(world.told)
        assert bool(told) == bool(world.told)
        await world.end()

    run(talk())


def test_a_guest_that_breaks_off_ends_the_stream() -> None:
    async def talk() -> None:
        world = Relay()
        peer = await world.opened()
        peer.send(RST | ACK)
        await world.segments()
        assert world.messages[-1] == packet(CLOSE, 1, b"\x02")
        await world.end()

    run(talk())


def test_a_relay_that_is_away_and_comes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def talk() -> None:
        world = Relay(there=False)
        address = world.address("server.example")
        assert address is not None
        for port in (40000, 40001):
            peer = Peer(world.guest, target=(address, 80), port=port)
            peer.send(SYN)
            assert [segment.flags & RST for segment in await world.segments()] == [RST]
        # It is not asked again for a moment.
        assert world.dialled == 1
        assert world.told == ["the relay is not there"]
        world.there = True
        monkeypatch.setattr(relay, "_PAUSE_SECONDS", 0)
        await world.opened()
        assert world.recovered == 1
        # And it goes away in the middle.
        world.hang_up()
        assert [segment.flags & RST for segment in await world.segments()] == [RST]
        assert world.told[-1] == "the connection with the relay is lost"
        await world.opened()
        assert world.dialled == 3
        assert world.recovered == 2
        await world.end()

    run(talk())


def test_what_is_no_relay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "_READY_SECONDS", 0.01)

    async def talk() -> None:
        world = Relay(greets=False)
        address = world.address("server.example")
        assert address is not None
        Peer(world.guest, target=(address, 80)).send(SYN)
        await asyncio.sleep(0.05)
        assert [segment.flags & RST for segment in world.guest.segments()] == [RST]
        assert world.told == ["the relay does not answer"]
        assert world.closed == 1
        await world.end()

    run(talk())


@pytest.mark.parametrize("private", [False, True])
def test_only_the_internet_can_be_reached(private: bool) -> None:
    async def talk() -> None:
        world = Relay(private=private)
        assert bool(world.address("router.lan")) == private
        assert world.address("server.example", 28) is None
        for address in (b"\x0a\0\0\1", b"\x7f\0\0\1"):
            Peer(world.guest, target=(address, 80)).send(SYN)
            world.guest.udp(9, b"x", target=address)
        await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        asked = [message[8:] for message in world.messages if message[0] == CONNECT]
        assert sorted(set(asked)) == ([b"10.0.0.1", b"127.0.0.1"] if private else [])
        assert bool(world.told) != private
        # The gateway's own network is nobody's.
        world.take = world.guest.take()
        Peer(world.guest, target=(bytes((192, 168, 127, 254)), 80)).send(SYN)
        assert [segment.flags & RST for segment in world.guest.segments()] == [RST]
        await world.end()

    run(talk())


def test_datagrams() -> None:
    async def talk() -> None:
        world = Relay()
        address = world.address("time.example")
        assert address is not None
        world.guest.udp(123, b"one", target=address)
        world.guest.udp(123, b"two", target=address)
        assert await world.segments() == []
        assert world.messages == [
            packet(CONNECT, 1, b"\x02\x7b\x00time.example"),
            packet(DATA, 1, b"one"),
            packet(DATA, 1, b"two"),
        ]
        world.say(packet(DATA, 1, b"answer"))
        (reply,) = world.guest.packets()
        assert reply[12:16] == address
        assert reply[20:24] == struct.pack("!HH", 123, 40000)
        assert reply[28:] == b"answer"
        world.say(packet(CLOSE, 1, b"\x02"))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        world.guest.udp(123, b"three", target=address)
        await world.segments()
        assert world.messages[-1] == packet(DATA, 2, b"three")
        # One that asks everybody has room for some flows only.
        for port in range(limits.MAX_UDP_FLOWS + 50):
            world.guest.udp(123, b"x", target=address, source_port=1000 + port)
        await world.segments()
        opened = sum(message[0] == CONNECT for message in world.messages)
        # The first one was ended by the relay.
        closed = 1 + sum(message[0] == CLOSE for message in world.messages)
        assert opened - closed <= limits.MAX_UDP_FLOWS
        await world.end()

    run(talk())
