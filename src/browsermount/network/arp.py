"""Address resolution (RFC 826), for IPv4 over Ethernet."""

from __future__ import annotations

from browsermount.network import ethernet
from browsermount.network.addresses import GATEWAY, GUEST

_FIXED = bytes.fromhex("000108000604")
_REQUEST = b"\x00\x01"
_REPLY = b"\x00\x02"
_SIZE = 28


def answer(frame: bytes) -> bytes | None:
    """Return the answer to a frame; None where there is none.

    All addresses but the guest's own are ours: whatever it wants to reach, we are on the way.
    Where it asks for its own, it wants to know whether another has it (RFC 5227).
    """
    packet = frame[ethernet.HEADER_SIZE : ethernet.HEADER_SIZE + _SIZE]
    if len(packet) < _SIZE or packet[:6] != _FIXED or packet[6:8] != _REQUEST:
        return None
    mac, sender, wanted = packet[8:14], packet[14:18], packet[24:28]
    if wanted in (sender, GUEST.to_bytes(4, "big")):
        return None
    start = ethernet.header(mac, ethernet.ARP) + _FIXED + _REPLY
    return start + ethernet.HOST_MAC + wanted + mac + sender


def request() -> bytes:
    """Return the frame that asks the guest for the address of its card."""
    start = ethernet.header(ethernet.BROADCAST, ethernet.ARP) + _FIXED + _REQUEST
    sender = ethernet.HOST_MAC + GATEWAY.to_bytes(4, "big")
    return start + sender + bytes(6) + GUEST.to_bytes(4, "big")
