"""IPv4 packets (RFC 791)."""

from __future__ import annotations

import struct
from typing import NamedTuple

from browsermount.network.checksum import finish, ones_sum

ICMP = 1
TCP = 6
UDP = 17
HEADER_SIZE = 20
MAX_SIZE = 65535

_HEADER = struct.Struct("!BBHHHBBHII")
_DONT_FRAGMENT = 0x4000
_FRAGMENT = 0x3FFF
"""The flag "more fragments", and the offset."""
_HOPS = 64


class Packet(NamedTuple):
    """A packet that came whole."""

    source: int
    target: int
    protocol: int
    payload: bytes


def parse(frame: bytes, offset: int) -> Packet | None:
    """Read a packet of the guest's.

    Checksums are not looked at: the packet comes from memory, and a card that says so lets the
    guest leave them out.

    Args:
        frame: What has the packet in it.
        offset: Where it begins there.

    Returns:
        None where the packet is malformed, or a fragment of one: the guest's largest packet is
        the largest that there is, so it need not make any.
    """
    if len(frame) < offset + HEADER_SIZE:
        return None
    first, _, total, _, fragment, _, protocol, _, source, target = _HEADER.unpack_from(
        frame, offset
    )
    size = (first & 15) * 4
    if first >> 4 != 4 or not HEADER_SIZE <= size <= total <= len(frame) - offset:
        return None
    if fragment & _FRAGMENT:
        return None
    return Packet(source, target, protocol, frame[offset + size : offset + total])


def header(source: int, target: int, protocol: int, size: int, identification: int) -> bytes:
    """Return the header of a packet whose payload has ``size`` bytes."""
    total = HEADER_SIZE + size
    fields = (0x45, 0, total, identification, _DONT_FRAGMENT, _HOPS, protocol)
    checksum = finish(ones_sum(_HEADER.pack(*fields, 0, source, target)))
    return _HEADER.pack(*fields, checksum, source, target)
