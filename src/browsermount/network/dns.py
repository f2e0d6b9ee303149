"""Queries for names and their answers (RFC 1035)."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

PORT = 53
A = 1
AAAA = 28

NO_ERROR = 0
SERVER_FAILURE = 2
NO_SUCH_NAME = 3
NOT_IMPLEMENTED = 4

TTL_SECONDS = 60

_HEADER = struct.Struct("!HHHHHH")
_MAX_LABEL = 63
_MAX_NAME = 253
_INTERNET = 1
_RESPONSE = 0x8080
"""An answer, and recursion is available."""
_IS_RESPONSE = 0x8000
_OPCODE = 0x7800
_RECURSION_DESIRED = 0x0100
_TO_THE_QUESTION = b"\xc0\x0c"
"""A compressed name: the one behind the header."""


class Query(NamedTuple):
    """What is asked.

    Attributes:
        id: The message's number.
        name: In small letters, without the dot at the end.
        kind: The type of record.
        flags: The message's.
        question: The bytes of the question, which the answer repeats.
    """

    id: int
    name: str
    kind: int
    flags: int
    question: bytes


def parse(message: bytes) -> Query | None:
    """Read a query; None where it is malformed, or not one standard question of the internet's."""
    if len(message) < _HEADER.size:
        return None
    number, flags, questions, _, _, _ = _HEADER.unpack_from(message)
    if flags & (_IS_RESPONSE | _OPCODE) or questions != 1:
        return None
    labels: list[str] = []
    at = _HEADER.size
    while at < len(message) and (size := message[at]):
        label = message[at + 1 : at + 1 + size]
        # Whoever compresses names in a question of one name wants us to run in circles.
        if size > _MAX_LABEL or len(label) < size or not label.isascii() or b"." in label:
            return None
        labels.append(label.decode("ascii").lower())
        at += 1 + size
    if len(message) < at + 5:
        return None
    name = ".".join(labels)
    kind, group = struct.unpack_from("!HH", message, at + 1)
    if not name or len(name) > _MAX_NAME or not name.isprintable() or group != _INTERNET:
        return None
    return Query(number, name, kind, flags, message[_HEADER.size : at + 5])


def answer(query: Query, addresses: Sequence[int] = (), code: int = NO_ERROR) -> bytes:
    """Return the answer to a query.

    Args:
        query: What was asked.
        addresses: The IPv4 addresses, for a query for these.
        code: The response code.
    """
    flags = _RESPONSE | query.flags & _RECURSION_DESIRED | code
    header = _HEADER.pack(query.id, flags, 1, len(addresses), 0, 0)
    records = (
        _TO_THE_QUESTION
        + struct.pack("!HHIH", A, _INTERNET, TTL_SECONDS, 4)
        + address.to_bytes(4, "big")
        for address in addresses
    )
    return header + query.question + b"".join(records)
