"""The guest's side of the network, for tests: frames made and read independently of ours."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

from browsermount.network.stack import Stack

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16
GUEST_MAC = bytes.fromhex("02aabbccddee")
HOST_MAC = bytes.fromhex("5a94efe40cdd")
GUEST = bytes((192, 168, 127, 3))
GATEWAY = bytes((192, 168, 127, 1))
SERVER = bytes((93, 184, 215, 14))
MASK = 0xFFFFFFFF


def checksum(data: bytes) -> int:
    """RFC 1071, word by word."""
    total = 0
    for at in range(0, len(data), 2):
        total += (data[at] << 8) + (data[at + 1] if at + 1 < len(data) else 0)
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def ethernet(
    payload: bytes, kind: int = 0x0800, target: bytes = HOST_MAC, source: bytes = GUEST_MAC
) -> bytes:
    return target + source + kind.to_bytes(2, "big") + payload


def ip(
    protocol: int, payload: bytes, source: bytes = GUEST, target: bytes = SERVER, fragment: int = 0
) -> bytes:
    start = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(payload), 1, fragment, 64, protocol, 0)
    check = checksum(start + source + target)
    return start[:10] + check.to_bytes(2, "big") + source + target + payload


@dataclass
class Segment:
    source: tuple[bytes, int]
    target: tuple[bytes, int]
    seq: int
    ack: int
    flags: int
    window: int
    options: bytes
    data: bytes


def read_segment(packet: bytes) -> Segment:
    """Read a segment of the host's, and check what a kernel checks."""
    assert packet[0] == 0x45
    assert checksum(packet[:20]) == 0
    assert packet[9] == 6
    payload = packet[20 : int.from_bytes(packet[2:4], "big")]
    pseudo = packet[12:20] + struct.pack("!HH", 6, len(payload))
    assert checksum(pseudo + payload) == 0
    sport, dport, seq, ack, offset, flags, window = struct.unpack_from("!HHIIBBH", payload)
    size = (offset >> 4) * 4
    source, target = (packet[12:16], sport), (packet[16:20], dport)
    return Segment(source, target, seq, ack, flags, window, payload[20:size], payload[size:])


@dataclass
class Guest:
    """A guest and the stack at its other end, with a clock that only tests move."""

    mtu: int = 1500
    now: float = 1000.0
    sent: list[bytes] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.stack = Stack(
            self.sent.append, lambda: self.now, mtu=self.mtu, random=lambda: 0xFFFFFF00
        )
        # Any frame tells the address of the card.
        self.give(ethernet(b"", 0x88B5))

    def give(self, *frames: bytes) -> None:
        self.stack.receive(frames)

    def wait(self, seconds: float) -> None:
        """Let time pass, with all that is to be done on the way."""
        end = self.now + seconds
        while (deadline := self.stack.deadline) is not None and deadline <= end:
            self.now = max(self.now, deadline)
            self.stack.tick()
        self.now = end

    def take(self) -> list[bytes]:
        """What the host has sent since."""
        frames = list(self.sent)
        self.sent.clear()
        return frames

    def packets(self) -> list[bytes]:
        frames = self.take()
        assert all(frame[6:12] == HOST_MAC and frame[12:14] == b"\x08\x00" for frame in frames)
        return [frame[14:] for frame in frames]

    def segments(self) -> list[Segment]:
        return [read_segment(packet) for packet in self.packets()]

    def udp(
        self, port: int, data: bytes, target: bytes = GATEWAY, source_port: int = 40000
    ) -> None:
        payload = struct.pack("!HHHH", source_port, port, 8 + len(data), 0) + data
        self.give(ethernet(ip(17, payload, target=target)))


@dataclass
class Peer:
    """The guest's end of a connection, as far as it has to be one."""

    guest: Guest
    port: int = 40000
    target: tuple[bytes, int] = (SERVER, 80)
    seq: int = 0xFFFFFFF0
    ack: int = 0
    window: int = 0xFFFF
    source: bytes = GUEST

    def segment(
        self,
        flags: int,
        data: bytes = b"",
        *,
        seq: int | None = None,
        ack: int | None = None,
        options: bytes = b"",
        window: int | None = None,
    ) -> bytes:
        options += bytes(-len(options) % 4)
        start = struct.pack(
            "!HHIIBBHHH",
            self.port,
            self.target[1],
            (self.seq if seq is None else seq) & MASK,
            (self.ack if ack is None else ack) & MASK,
            (20 + len(options)) << 2,
            flags,
            self.window if window is None else window,
            0,
            0,
        )
        payload = start + options + data
        return ethernet(ip(6, payload, source=self.source, target=self.target[0]))

    def send(self, flags: int, data: bytes = b"", **fields: int | bytes) -> None:
        """Send a segment that is the next one."""
        self.guest.give(self.segment(flags, data, **fields))  # type: ignore[arg-type]
        self.seq = self.seq + len(data) + bool(flags & SYN) + bool(flags & FIN) & MASK

    def open(self, options: bytes = b"\x02\x04\x05\xb4\x01\x03\x03\x07") -> None:
        """The handshake, up to its last segment."""
        self.send(SYN, options=options)
        (answer,) = self.guest.segments()
        assert answer.flags == SYN | ACK
        assert answer.ack == self.seq
        assert answer.source == self.target
        self.ack = answer.seq + 1 & MASK
        self.send(ACK)
        assert self.guest.segments() == []

    def receive(self, segments: list[Segment]) -> bytes:
        """Take segments that are in order, and return their data."""
        data = b""
        for segment in segments:
            assert segment.seq == self.ack
            data += segment.data
            self.ack = self.ack + len(segment.data) + bool(segment.flags & FIN) & MASK
        return data
