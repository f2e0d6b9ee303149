"""TCP segments as they are on the wire (RFC 9293, section 3.1)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from browsermount.network import ipv4
from browsermount.network.addresses import Endpoint
from browsermount.network.checksum import finish, ones_sum, pseudo_header_sum

FIN, SYN, RST, PSH, ACK = 1, 2, 4, 8, 16

HEADER_SIZE = 20
DEFAULT_MSS = 536
MIN_MSS = 88
"""A guest that asks for less gets this: else each byte would cost a segment (CVE-2019-11479)."""
MAX_SHIFT = 14
"""Of the window (RFC 7323, section 2.3)."""

_HEADER = struct.Struct("!HHIIBBHHH")
_OPTION_END = 0
_OPTION_NOTHING = 1
_OPTION_MSS = 2
_OPTION_SHIFT = 3


class Segment(NamedTuple):
    """A segment, without what it is for.

    Attributes:
        seq: The number of its first byte.
        ack: The number of the byte that is expected next.
        flags: A sum of :data:`FIN`, :data:`SYN` and so on.
        window: As it is on the wire, before it is shifted.
        data: The payload.
        options: Undecoded.
    """

    seq: int
    ack: int
    flags: int
    window: int
    data: bytes = b""
    options: bytes = b""

    @property
    def length(self) -> int:
        """What it takes of the numbers: those of its bytes, and one each for SYN and FIN."""
        return len(self.data) + bool(self.flags & SYN) + bool(self.flags & FIN)


class Options(NamedTuple):
    """What a SYN says.

    Attributes:
        mss: How much data a segment may have.
        shift: By how much windows are shifted; None where they are not.
    """

    mss: int = DEFAULT_MSS
    shift: int | None = None


def parse(packet: ipv4.Packet) -> tuple[Endpoint, Endpoint, Segment] | None:
    """Read the segment in a packet: its source, its target and itself; None where malformed."""
    payload = packet.payload
    if len(payload) < HEADER_SIZE:
        return None
    source, target, seq, ack, offset, flags, window, _, _ = _HEADER.unpack_from(payload)
    size = (offset >> 4) * 4
    if not HEADER_SIZE <= size <= len(payload) or source == 0 or target == 0:
        return None
    segment = Segment(seq, ack, flags & 0x3F, window, payload[size:], payload[HEADER_SIZE:size])
    return Endpoint(packet.source, source), Endpoint(packet.target, target), segment


def parse_options(options: bytes) -> Options:
    """Read a SYN's options; from where they are malformed on, nothing counts."""
    mss, shift = DEFAULT_MSS, None
    at = 0
    while at < len(options) and options[at] != _OPTION_END:
        if options[at] == _OPTION_NOTHING:
            at += 1
            continue
        size = options[at + 1] if at + 1 < len(options) else 0
        value = options[at + 2 : at + size]
        if size < 2 or len(value) != size - 2:
            break
        if options[at] == _OPTION_MSS and len(value) == 2:
            mss = max(MIN_MSS, int.from_bytes(value, "big"))
        elif options[at] == _OPTION_SHIFT and len(value) == 1:
            shift = min(value[0], MAX_SHIFT)
        at += size
    return Options(mss, shift)


def pack_options(options: Options) -> bytes:
    """Return the options of a SYN of ours."""
    packed = struct.pack("!BBH", _OPTION_MSS, 4, options.mss)
    if options.shift is not None:
        packed += bytes((_OPTION_NOTHING, _OPTION_SHIFT, 3, options.shift))
    return packed


def header(source: Endpoint, target: Endpoint, segment: Segment) -> bytes:
    """Return the header, with the options, that goes before the data."""
    seq, ack, flags, window, data, options = segment
    size = HEADER_SIZE + len(options)
    start = _HEADER.pack(source.port, target.port, seq, ack, size << 2, flags, window, 0, 0)
    total = pseudo_header_sum(source.address, target.address, ipv4.TCP, size + len(data))
    checksum = finish(total + ones_sum(start) + ones_sum(options) + ones_sum(data))
    return b"%b%b\0\0%b" % (start[:16], checksum.to_bytes(2, "big"), options)
