"""Ethernet II frames."""

from __future__ import annotations

from typing import NamedTuple

HEADER_SIZE = 14
IPV4 = 0x0800
ARP = 0x0806
BROADCAST = b"\xff" * 6

HOST_MAC = bytes.fromhex("5a94efe40cdd")
"""Ours: locally administered, and not a group's."""


class Header(NamedTuple):
    """What is in front of a frame's payload."""

    target: bytes
    source: bytes
    kind: int


def parse(frame: bytes) -> Header | None:
    """Return a frame's header; None where it has none or comes from a group's address."""
    if len(frame) < HEADER_SIZE or frame[6] & 1:
        return None
    return Header(frame[:6], frame[6:12], int.from_bytes(frame[12:14], "big"))


def header(target: bytes, kind: int) -> bytes:
    """Return the header of a frame of ours."""
    return b"%b%b%b" % (target, HOST_MAC, kind.to_bytes(2, "big"))
