"""Leases for guests that ask for one (RFC 2131): there is one guest, which gets its address."""

from __future__ import annotations

from browsermount.network.addresses import GATEWAY, GUEST, NETMASK

SERVER_PORT = 67
CLIENT_PORT = 68

_COOKIE = b"\x63\x82\x53\x63"
_OPTIONS = 240
"""Where the options begin, behind the cookie."""
_REQUEST, _REPLY = 1, 2
_DISCOVER, _OFFER, _ASK, _ACK = 1, 2, 3, 5
_LEASE_SECONDS = 86400

_OPTION_MASK = 1
_OPTION_ROUTER = 3
_OPTION_NAME_SERVER = 6
_OPTION_MTU = 26
_OPTION_LEASE = 51
_OPTION_KIND = 53
_OPTION_SERVER = 54
_OPTION_PAD = 0
_OPTION_END = 255


def answer(message: bytes, mtu: int) -> bytes | None:
    """Return the answer to a client's message; None where there is none.

    Args:
        message: What came to port 67.
        mtu: The size of the largest IP packet, in bytes.
    """
    if len(message) < _OPTIONS or message[0] != _REQUEST:
        return None
    if message[_OPTIONS - 4 : _OPTIONS] != _COOKIE:
        return None
    kind = {_DISCOVER: _OFFER, _ASK: _ACK}.get(_kind(message))
    if kind is None:
        return None
    gateway = GATEWAY.to_bytes(4, "big")
    reply = bytearray(_OPTIONS)
    reply[0:4] = bytes((_REPLY, 1, 6, 0))
    reply[4:8] = message[4:8]  # the transaction
    reply[16:20] = GUEST.to_bytes(4, "big")
    reply[20:24] = gateway
    reply[28:44] = message[28:44]  # the client's hardware address
    reply[_OPTIONS - 4 : _OPTIONS] = _COOKIE
    for option, value in (
        (_OPTION_KIND, bytes((kind,))),
        (_OPTION_SERVER, gateway),
        (_OPTION_LEASE, _LEASE_SECONDS.to_bytes(4, "big")),
        (_OPTION_MASK, NETMASK.to_bytes(4, "big")),
        (_OPTION_ROUTER, gateway),
        (_OPTION_NAME_SERVER, gateway),
        (_OPTION_MTU, mtu.to_bytes(2, "big")),
    ):
        reply += bytes((option, len(value))) + value
    reply.append(_OPTION_END)
    return bytes(reply)


def _kind(message: bytes) -> int:
    """Return the message's kind; 0 where it has none."""
    at = _OPTIONS
    while at < len(message) and message[at] != _OPTION_END:
        if message[at] == _OPTION_PAD:
            at += 1
            continue
        if at + 2 >= len(message):
            break
        if message[at] == _OPTION_KIND:
            return message[at + 2]
        at += 2 + message[at + 1]
    return 0
