"""Changes in bytes, as a fuzzer makes them."""

from __future__ import annotations

from random import Random

_NUMBERS = (b"\0", b"\xff", b"\x7f", b"\x80", b"-1", b"0", b"9" * 25, b"1e999", b"\xff" * 8)
_PIECES = (
    b'"',
    b"{",
    b"[",
    b"}",
    b"]",
    b":",
    b",",
    b"\\ud800",
    b"null",
    b"\n",
    b"../",
    b"/",
    b"%2f",
)


def mutated(data: bytes, others: list[bytes], random: Random) -> bytes:
    """Return ``data`` with some changes, some of them with pieces of other bytes."""
    result = bytearray(data)
    for _ in range(1 << random.randrange(5)):
        place = random.randrange(len(result) + 1)
        end = min(len(result), place + (1 << random.randrange(8)))
        match random.randrange(7):
            case 0 if result:
                result[place % len(result)] ^= 1 << random.randrange(8)
            case 1 if result:
                result[place % len(result)] = random.randrange(256)
            case 2:
                del result[place:end]
            case 3:
                result[place:place] = result[place:end]
            case 4:
                result[place:place] = random.choice(_NUMBERS + _PIECES)
            case 5:
                piece = random.choice(_NUMBERS + _PIECES)
                result[place : place + len(piece)] = piece
            case _:
                other = random.choice(others)
                start = random.randrange(len(other) + 1)
                result[place:end] = other[start : start + end - place]
    return bytes(result[: 1 << 16])


def mended(data: bytes) -> bytes:
    """Return a tar archive with the right checksums, so that what else is odd is looked at."""
    result = bytearray(data)
    for start in range(0, len(result) - 511, 512):
        block = result[start : start + 512]
        if block[257:262] == b"ustar":
            block[148:156] = b" " * 8
            result[start + 148 : start + 156] = b"%06o\0 " % sum(block)
    return bytes(result)
