"""Frames on a stream: each has its length in front, as on QEMU's ``-netdev socket``."""

from __future__ import annotations

from browsermount.network.ethernet import HEADER_SIZE
from browsermount.network.ipv4 import MAX_SIZE

_LENGTH_SIZE = 4
MAX_FRAME = MAX_SIZE + HEADER_SIZE


class InvalidFrame(ValueError):
    """The stream has a frame that is longer than any, so that nothing behind it can be found."""


class FrameSplitter:
    """Cuts a stream into frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """Take what comes next, and return the frames that are whole.

        Raises:
            InvalidFrame: A frame is too long.
        """
        buffer = self._buffer
        buffer += data
        frames = []
        at = 0
        while len(buffer) - at >= _LENGTH_SIZE:
            start = at + _LENGTH_SIZE
            size = int.from_bytes(buffer[at:start], "big")
            if size > MAX_FRAME:
                raise InvalidFrame(f"a frame of {size} bytes")
            if len(buffer) < start + size:
                break
            frames.append(bytes(buffer[start : start + size]))
            at = start + size
        del buffer[:at]
        return frames


def framed(frame: bytes) -> bytes:
    """Return a frame as it is on the stream."""
    return len(frame).to_bytes(_LENGTH_SIZE, "big") + frame
