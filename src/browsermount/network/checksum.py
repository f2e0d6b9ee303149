"""The internet's checksum (RFC 1071)."""

from __future__ import annotations


def ones_sum(data: bytes) -> int:
    """Return the sum of the 16-bit words in ones' complement, modulo 65535.

    Arithmetic of long integers does it: 65536 is 1 modulo 65535, so a number's digits to that
    base have the sum that is wanted. An odd byte at the end is the upper half of a word.
    """
    number = int.from_bytes(data, "big")
    return (number << 8 if len(data) & 1 else number) % 0xFFFF


def finish(total: int) -> int:
    """Return what goes into a header's checksum field for a sum over all of it."""
    return 0xFFFF - total % 0xFFFF


def pseudo_header_sum(source: int, target: int, protocol: int, size: int) -> int:
    """Return the sum over what TCP and UDP take from the IP header (RFC 9293, section 3.1)."""
    words = (source >> 16) + (source & 0xFFFF) + (target >> 16) + (target & 0xFFFF)
    return words + protocol + size
