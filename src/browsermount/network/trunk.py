"""What goes between the networks of two containers: TCP's streams and UDP's datagrams, in messages.

Both ends have the same rights. What carries the messages loses none and keeps their order, but can
be without any bound for them: so each side may have only so much on its way as the other one has
granted, for each stream and for all datagrams together. A stream has ended when each side has said
so, by ``FINISH`` or by ``RESET``; a side that breaks a stream off is answered with ``RESET``, and
until then the stream counts, so that streams cannot be opened and dropped without end.

A message is its kind (one byte), the number of its stream (four), and what belongs to it:

========  ==========================================================================
OPEN      the port that is asked for (two bytes); the answer is ACCEPT or RESET
ACCEPT    nothing
DATA      bytes, :data:`MAX_DATA` at most
CREDIT    how many bytes more may be on their way (four bytes); stream 0: of datagrams
FINISH    nothing: no more bytes come from this side
RESET     nothing
DATAGRAM  the ports of who sends it and of whom it is for (two bytes each), and its bytes
========  ==========================================================================
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from enum import IntEnum

from browsermount import limits
from browsermount.limits import RECEIVE_BUFFER
from browsermount.network.udp import MAX_DATA as MAX_DATAGRAM

MAX_DATA = 64 << 10
"""Bytes in one message."""

WINDOW = RECEIVE_BUFFER
"""Bytes of a stream, or of datagrams, that may be on their way."""

DATAGRAM_COST = 128
"""Bytes that a datagram is counted with beside its own."""

_HEADER = struct.Struct("!BI")
_PORT = struct.Struct("!H")
_PORTS = struct.Struct("!HH")
_SIZE = struct.Struct("!I")
_DATAGRAMS = 0
"""The number of the stream that stands for all datagrams."""


class Kind(IntEnum):
    """What a message is."""

    OPEN = 1
    ACCEPT = 2
    DATA = 3
    CREDIT = 4
    FINISH = 5
    RESET = 6
    DATAGRAM = 7


class TrunkError(Exception):
    """The other side has sent what makes no sense."""


class TrunkStream:
    """One stream.

    Attributes:
        port: The port that is asked for.
        on_change: Is called when there may be more to read or to write, or the stream has changed.
        accepted: Whether the one who was asked has said yes.
        reset: Whether one side has broken it off, or refused it.
    """

    def __init__(self, trunk: Trunk, number: int, port: int) -> None:
        self.port = port
        self.on_change: Callable[[], None] = lambda: None
        self.accepted = False
        self.reset = False
        self._trunk = trunk
        self._number = number
        self._credit = WINDOW
        self._granted = WINDOW
        self._taken = 0
        self._received: deque[bytes] = deque()
        self._ended = self._finished = False

    @property
    def at_eof(self) -> bool:
        """Whether all has been read that will ever come."""
        return not self._received and (self._finished or self.reset)

    @property
    def room(self) -> int:
        """How many bytes can be written now, in one message."""
        if self._ended or self.reset or not self.accepted:
            return 0
        return min(self._credit, MAX_DATA)

    def accept(self) -> None:
        """Say yes to the stream that the other side asks for."""
        if not self.reset:
            self.accepted = True
            self._send(Kind.ACCEPT)

    def read(self) -> bytes:
        """Return some of what has come; nothing where nothing is there."""
        if not self._received:
            return b""
        data = self._received.popleft()
        self._taken += len(data)
        if self._taken >= WINDOW // 2 and not self._finished:
            self._send(Kind.CREDIT, _SIZE.pack(self._taken))
            self._granted += self._taken
            self._taken = 0
        return data

    def write(self, data: bytes) -> None:
        """Send bytes, of which there are no more than :attr:`room`."""
        assert len(data) <= self.room
        self._credit -= len(data)
        self._send(Kind.DATA, data)

    def finish(self) -> None:
        """Say that nothing more will be written."""
        if not self._ended:
            self._ended = True
            self._send(Kind.FINISH)
            self._look()

    def break_off(self) -> None:
        """Break the stream off, or refuse it."""
        if self.reset or (self._ended and self._finished):
            return
        self.reset = self._ended = True
        self._received.clear()
        self._send(Kind.RESET)
        self._look()

    def receive(self, kind: int, body: bytes) -> None:
        """Take a message for this stream.

        Raises:
            TrunkError: It makes no sense.
        """
        if kind == Kind.DATA:
            self._receive_data(body)
        elif kind == Kind.CREDIT and len(body) == _SIZE.size:
            self._credit += _SIZE.unpack(body)[0]
            if self._credit > WINDOW:
                raise TrunkError("more is granted than there was room for")
        elif kind == Kind.ACCEPT:
            self.accepted = True
        elif kind == Kind.FINISH:
            self._finished = True
        elif kind == Kind.RESET:
            if not self._ended:
                self._ended = True
                self._send(Kind.RESET)
            self._finished = True
            self.lose()
        else:
            raise TrunkError(f"a stream got a message of the kind {kind}")
        self._look()
        self.on_change()

    def lose(self) -> None:
        """Take note that it is broken off."""
        self.reset = True
        self._received.clear()

    def _receive_data(self, data: bytes) -> None:
        self._granted -= len(data)
        if self._granted < 0 or self._finished or not data:
            raise TrunkError("a stream got more than was asked for")
        if self.reset:
            return  # it was on its way
        if not self.accepted:
            raise TrunkError("a stream got bytes before it was accepted")
        self._received.append(data)

    def _look(self) -> None:
        if self._ended and self._finished:
            self._trunk.forget(self._number)

    def _send(self, kind: Kind, body: bytes = b"") -> None:
        self._trunk.send(kind, self._number, body)


class Trunk:
    """All that goes between two containers.

    Args:
        send: Takes messages for the other side.
        first: Whether it is this side that has looked for the other one.

    Attributes:
        on_open: Is called with each stream that the other side asks for.
        on_datagram: Is called with the port of who sends a datagram, that of whom it is for, and
            its bytes.
        lost: Whether the other side is gone.
    """

    def __init__(self, send: Callable[[bytes], None], *, first: bool) -> None:
        self.on_open: Callable[[TrunkStream], None] = TrunkStream.break_off
        self.on_datagram: Callable[[int, int, bytes], None] = lambda source, target, data: None
        self.lost = False
        self._transmit = send
        self._parity = self._last = 1 if first else 2
        self._streams: dict[int, TrunkStream] = {}
        self._credit = WINDOW
        self._granted = WINDOW

    @property
    def streams(self) -> int:
        """How many have not ended on both sides."""
        return len(self._streams)

    def open(self, port: int) -> TrunkStream:
        """Ask for a stream to a port of the other container's.

        Raises:
            ConnectionError: The other side is gone, or there are too many.
        """
        if self.lost or len(self._streams) >= limits.MAX_CONNECTIONS:
            raise ConnectionError(f"more than {limits.MAX_CONNECTIONS} connections")
        while (number := self._last) in self._streams:
            self._advance()
        self._advance()
        stream = self._streams[number] = TrunkStream(self, number, port)
        self.send(Kind.OPEN, number, _PORT.pack(port))
        return stream

    def _advance(self) -> None:
        self._last += 2
        if self._last >= 1 << 32:
            self._last = self._parity

    def send_datagram(self, source: int, target: int, data: bytes) -> bool:
        """Send a datagram from one port to another; False where it is lost, as there is no room."""
        cost = len(data) + DATAGRAM_COST
        if self.lost or cost > self._credit:
            return False
        self._credit -= cost
        self.send(Kind.DATAGRAM, _DATAGRAMS, _PORTS.pack(source, target) + data)
        return True

    def receive(self, message: bytes) -> None:
        """Take a message of the other side's.

        Raises:
            TrunkError: It makes no sense. The trunk is of no use any more.
        """
        if self.lost:
            return
        if len(message) < _HEADER.size:
            raise TrunkError("a message is too short")
        kind, number = _HEADER.unpack_from(message)
        body = message[_HEADER.size :]
        if number == _DATAGRAMS:
            self._receive_datagram(kind, body)
        elif kind == Kind.OPEN:
            self._receive_open(number, body)
        elif stream := self._streams.get(number):
            stream.receive(kind, body)
        # What was on its way to a stream that has ended is of no interest.

    def _receive_open(self, number: int, body: bytes) -> None:
        port = _PORT.unpack(body)[0] if len(body) == _PORT.size else 0
        if port == 0 or number in self._streams or number % 2 == self._parity % 2:
            raise TrunkError("a stream is asked for that there cannot be")
        if len(self._streams) >= limits.MAX_CONNECTIONS:
            self.send(Kind.RESET, number)
            return
        stream = self._streams[number] = TrunkStream(self, number, port)
        self.on_open(stream)

    def _receive_datagram(self, kind: int, body: bytes) -> None:
        if kind == Kind.CREDIT and len(body) == _SIZE.size:
            self._credit += _SIZE.unpack(body)[0]
            if self._credit > WINDOW:
                raise TrunkError("more is granted than there was room for")
            return
        size = len(body) - _PORTS.size
        self._granted -= size + DATAGRAM_COST
        if kind != Kind.DATAGRAM or not 0 <= size <= MAX_DATAGRAM or self._granted < 0:
            raise TrunkError("a datagram came that there cannot be")
        source, target = _PORTS.unpack_from(body)
        if source == 0 or target == 0:
            raise TrunkError("a datagram has no port")
        self.on_datagram(source, target, body[_PORTS.size :])
        if self._granted <= WINDOW // 2:
            self.send(Kind.CREDIT, _DATAGRAMS, _SIZE.pack(WINDOW - self._granted))
            self._granted = WINDOW

    def lose(self) -> None:
        """Take note that the other side is gone: all streams are broken off."""
        self.lost = True
        streams, self._streams = self._streams, {}
        for stream in streams.values():
            stream.lose()
            stream.on_change()

    def send(self, kind: Kind, number: int, body: bytes = b"") -> None:
        """Send a message."""
        if not self.lost:
            self._transmit(_HEADER.pack(kind, number) + body)

    def forget(self, number: int) -> None:
        """Take note that a stream has ended on both sides."""
        self._streams.pop(number, None)
