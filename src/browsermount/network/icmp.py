"""Control messages (RFC 792): ping, and that something cannot be reached."""

from __future__ import annotations

from browsermount.network.checksum import finish, ones_sum

PORT_UNREACHABLE = 3
PROHIBITED = 13
"""Communication administratively prohibited (RFC 1812, section 5.2.7.1)."""

_ECHO_REPLY = 0
_UNREACHABLE = 3
_ECHO = 8
_QUOTED = 28
"""Of the packet that could not be delivered: the header without options, and eight bytes."""


def echo_reply(message: bytes) -> bytes | None:
    """Return the answer to a ping; None where the message is none."""
    if len(message) < 8 or message[0] != _ECHO:
        return None
    return _message(_ECHO_REPLY, 0, message[4:])


def unreachable(code: int, packet: bytes) -> bytes:
    """Return the message that a packet, whose first bytes are given, was not delivered."""
    return _message(_UNREACHABLE, code, bytes(4) + packet[:_QUOTED])


def _message(kind: int, code: int, rest: bytes) -> bytes:
    start = bytes((kind, code))
    checksum = finish(ones_sum(start + b"\0\0" + rest))
    return start + checksum.to_bytes(2, "big") + rest
