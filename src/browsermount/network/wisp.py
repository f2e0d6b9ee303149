"""A client of the Wisp protocol, version 1: connections of TCP and UDP in one WebSocket.

https://github.com/MercuryWorkshop/wisp-protocol. Each message is a packet: the kind, the number of
the stream and a payload, all in little endian. What is sent on a stream of TCP is counted in
packets, of which the relay says how many it has room for (CONTINUE). In the other direction there
is no such thing: what nobody reads piles up here, up to a limit, and then the stream that has most
of it is given up. There is no half of a stream: a CLOSE ends both directions.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from enum import IntEnum

from browsermount.limits import MAX_RELAY_UNREAD, MAX_RELAY_WINDOW

CONNECT, DATA, CONTINUE, CLOSE, INFO = 1, 2, 3, 4, 5
MAX_DATA = 32 << 10
"""Bytes in a packet of ours."""

_HEADER = struct.Struct("<BI")
_NEW_STREAM = struct.Struct("<BH")
_NUMBER = struct.Struct("<I")
_MAX_ID = 0xFFFFFFFF
_ALL = 0
"""The number that stands for the whole connection."""


class Kind(IntEnum):
    """What a stream carries."""

    TCP = 1
    UDP = 2


class Reason(IntEnum):
    """Why a stream ends, as far as we tell reasons apart."""

    UNKNOWN = 0x01
    VOLUNTARY = 0x02
    NETWORK = 0x03
    INVALID = 0x41
    UNREACHABLE = 0x42
    TIMED_OUT = 0x43
    REFUSED = 0x44
    STALLED = 0x47
    BLOCKED = 0x48
    THROTTLED = 0x49
    OVERFLOW = 0x81


class WispStream:
    """One connection through the relay. It is opened by :meth:`WispClient.open`.

    Attributes:
        on_change: Is called whenever there may be more to read or to write, or it has ended.
        ended: Why it has; None while it has not.
        received: Bytes that have come.
    """

    def __init__(self, client: WispClient, number: int, kind: Kind, window: int) -> None:
        self.on_change: Callable[[], None] = lambda: None
        self.ended: Reason | None = None
        self.received = 0
        self._client = client
        self._number = number
        self._kind = kind
        self._window = window
        self._parts: deque[bytes] = deque()
        self.unread = 0

    @property
    def writable(self) -> bool:
        """Whether the relay has room for a packet; datagrams are sent at any rate."""
        return self.ended is None and (self._kind is Kind.UDP or self._window > 0)

    def write(self, data: bytes) -> None:
        """Send at most :data:`MAX_DATA` bytes, or a datagram, while it is :attr:`writable`."""
        if not self.writable:
            raise ValueError("the relay has no room")
        if self._kind is Kind.TCP:
            self._window -= 1
        self._client.send(DATA, self._number, data)

    def read(self) -> bytes:
        """Return a part of what has come, or a datagram; nothing where nothing is there."""
        if not self._parts:
            return b""
        data = self._parts.popleft()
        self.unread -= len(data)
        self._client.unread -= len(data)
        return data

    def close(self, reason: Reason = Reason.VOLUNTARY) -> None:
        """End it, and forget what has not been read."""
        if self.ended is None:
            self._client.send(CLOSE, self._number, bytes((reason,)))
            self.end(reason)
        self._drop()

    # -- For the client ----------------------------------------------------------------------

    def take(self, data: bytes) -> None:
        """Keep what has come."""
        self._parts.append(data)
        self.unread += len(data)
        self.received += len(data)
        self.on_change()

    def allow(self, window: int) -> None:
        """Note how many packets the relay has room for."""
        self._window = min(window, MAX_RELAY_WINDOW)
        self.on_change()

    def end(self, reason: Reason) -> None:
        """Note that nothing more comes."""
        self.ended = reason
        self._client.forget(self._number)
        self.on_change()

    def _drop(self) -> None:
        self._client.unread -= self.unread
        self._parts.clear()
        self.unread = 0


class WispClient:
    """Our side of a connection with a relay.

    Args:
        send: Takes messages for the relay.

    Attributes:
        on_ready: Is called when streams can be opened.
        ready: Whether they can.
        unread: Bytes of all streams that have come and have not been read.
    """

    def __init__(self, send: Callable[[bytes], None]) -> None:
        self.on_ready: Callable[[], None] = lambda: None
        self.ready = False
        self.unread = 0
        self._send = send
        self._window = 0
        self._streams: dict[int, WispStream] = {}
        self._last = 0

    def open(self, host: str, port: int, kind: Kind) -> WispStream:
        """Ask for a connection. Data can be sent at once; where there is none, the stream ends.

        Args:
            host: A name, which the relay looks up, or an address.
            port: The port.
            kind: What it is to carry.
        """
        while True:
            self._last = self._last % _MAX_ID + 1
            if self._last not in self._streams:
                break
        stream = WispStream(self, self._last, kind, self._window)
        self._streams[self._last] = stream
        self.send(CONNECT, self._last, _NEW_STREAM.pack(kind, port) + host.encode())
        return stream

    def receive(self, message: bytes) -> None:
        """Take a message of the relay's; what cannot be understood is left out."""
        if len(message) < _HEADER.size:
            return
        kind, number = _HEADER.unpack_from(message)
        payload = message[_HEADER.size :]
        if kind == CONTINUE and len(payload) >= _NUMBER.size:
            (window,) = _NUMBER.unpack_from(payload)
            if number == _ALL:
                self._window = min(window, MAX_RELAY_WINDOW)
                if not self.ready:
                    self.ready = True
                    self.on_ready()
                return
            if stream := self._streams.get(number):
                stream.allow(window)
        elif (stream := self._streams.get(number)) is None:
            pass
        elif kind == DATA and payload:
            self.unread += len(payload)
            stream.take(payload)
            while self.unread > MAX_RELAY_UNREAD:
                most = max(self._streams.values(), key=lambda it: it.unread, default=None)
                if most is None or not most.unread:
                    break
                most.close(Reason.OVERFLOW)
        elif kind == CLOSE:
            stream.end(_reason(payload))

    def lose(self) -> None:
        """Note that the connection with the relay is gone, and all streams with it."""
        self.ready = False
        for stream in list(self._streams.values()):
            stream.end(Reason.NETWORK)

    # -- For the streams ---------------------------------------------------------------------

    def send(self, kind: int, number: int, payload: bytes) -> None:
        """Send a packet."""
        self._send(_HEADER.pack(kind, number) + payload)

    def forget(self, number: int) -> None:
        """Take nothing more for a stream."""
        self._streams.pop(number, None)


def _reason(payload: bytes) -> Reason:
    try:
        return Reason(payload[0])
    except (ValueError, IndexError):
        return Reason.UNKNOWN
