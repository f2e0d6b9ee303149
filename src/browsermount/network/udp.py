"""UDP datagrams (RFC 768)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from browsermount.network import ipv4
from browsermount.network.addresses import Endpoint
from browsermount.network.checksum import finish, ones_sum, pseudo_header_sum

HEADER_SIZE = 8
MAX_DATA = ipv4.MAX_SIZE - ipv4.HEADER_SIZE - HEADER_SIZE

_HEADER = struct.Struct("!HHHH")


class Datagram(NamedTuple):
    """A datagram of the guest's, or for it."""

    source: Endpoint
    target: Endpoint
    data: bytes


def parse(packet: ipv4.Packet) -> Datagram | None:
    """Read what is in a packet; None where it is malformed."""
    if len(packet.payload) < HEADER_SIZE:
        return None
    source, target, size, _ = _HEADER.unpack_from(packet.payload)
    if not HEADER_SIZE <= size <= len(packet.payload) or source == 0 or target == 0:
        return None
    return Datagram(
        Endpoint(packet.source, source),
        Endpoint(packet.target, target),
        packet.payload[HEADER_SIZE:size],
    )


def header(datagram: Datagram) -> bytes:
    """Return the header that goes before the data."""
    source, target, data = datagram
    size = HEADER_SIZE + len(data)
    start = _HEADER.pack(source.port, target.port, size, 0)
    total = pseudo_header_sum(source.address, target.address, ipv4.UDP, size)
    # 0 would mean that there is no checksum.
    checksum = finish(total + ones_sum(start) + ones_sum(data)) or 0xFFFF
    return start[:6] + checksum.to_bytes(2, "big")
