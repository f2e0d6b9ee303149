"""Our end of a TCP connection with the guest (RFC 9293).

The link loses nothing and keeps the order. So segments that come too early are dropped, there is no
congestion control, and a timer is enough for the rare case that the guest had no memory for one.
For the same reason no connection waits in TIME-WAIT: nothing old can come any more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from enum import Enum, auto
from typing import NamedTuple

from browsermount.limits import RECEIVE_BUFFER, SEND_BUFFER
from browsermount.network import tcp
from browsermount.network.addresses import Endpoint
from browsermount.network.tcp import ACK, FIN, PSH, RST, SYN, Options, Segment

_MASK = 0xFFFFFFFF
_SHIFT = 7
"""Of our window."""

# In seconds. A guest on a busy machine acknowledges late: less than 1 only sends things twice.
_FIRST_TIMEOUT = 1.0
_LAST_TIMEOUT = 60.0
_LINGER = 60.0
"""How long the guest may take to close its side once nobody is there for it on ours."""
_MAX_TIMEOUTS = 15
_MAX_TIMEOUTS_CLOSED = 6
"""Without anybody on our side it is not worth more: a guest that stops to answer, or to read,
would keep the connection's memory."""


class State(Enum):
    """Where a connection is. Which sides are closed is told by what was sent and received."""

    PENDING = auto()
    """The guest has asked for it, and has got no answer yet."""
    SYN_SENT = auto()
    SYN_RECEIVED = auto()
    OPEN = auto()
    GONE = auto()


class _Sent(NamedTuple):
    seq: int
    flags: int
    data: bytes


def distance(a: int, b: int) -> int:
    """Return by how much the number ``a`` is after ``b``; negative where it is before."""
    return ((a - b + 0x80000000) & _MASK) - 0x80000000


class Connection:
    """A connection. What comes is kept until it is read; the window is what there is room for.

    Args:
        local: Our end, as the guest sees it.
        remote: The guest's end.
        send: Sends a segment to the guest.
        now: Returns the time in seconds.
        gone: Is called when the connection is not there any more.
        initial: Our first sequence number.
        mss: How much data a segment may have at most.

    Attributes:
        on_change: Is called whenever there may be more to read, or to write, or the state or
            :attr:`reset` has changed.
        state: Where it is.
        reset: Whether it is gone because one side has broken it off.
    """

    def __init__(
        self,
        local: Endpoint,
        remote: Endpoint,
        *,
        send: Callable[[Connection, Segment], None],
        now: Callable[[], float],
        gone: Callable[[Connection], None],
        initial: int,
        mss: int,
    ) -> None:
        self.local = local
        self.remote = remote
        self.on_change: Callable[[], None] = lambda: None
        self.state = State.PENDING
        self.reset = False
        self.deadline: float | None = None
        self.acknowledgement_due = False
        self._transmit = send
        self._now = now
        self._gone = gone
        # What we send
        self._initial = initial
        self._unacknowledged = initial
        self._next = initial
        self._max_mss = self._mss = mss
        self._window = 0
        self._window_seq = self._window_ack = 0
        self._their_shift = 0
        self._queue: deque[memoryview] = deque()
        self._queued = 0
        self._flight: deque[_Sent] = deque()
        self._in_flight = 0
        self._recover: int | None = None
        self._finishing = self._fin_sent = False
        self._closed = False
        self._timeouts = 0
        # What we get
        self._expected = 0
        self._edge = 0
        """The number behind the last byte that the guest may send."""
        self._our_shift = _SHIFT
        self._scales = True
        self._received: deque[bytes] = deque()
        self._unread = 0
        self._fin_received = False

    # -- For who uses it ---------------------------------------------------------------------

    @property
    def at_eof(self) -> bool:
        """Whether all has been read that will ever come."""
        return not self._unread and (self._fin_received or self.state is State.GONE)

    @property
    def room(self) -> int:
        """How many bytes can be written."""
        if self._finishing or self.state is State.GONE:
            return 0
        return max(0, SEND_BUFFER - self._queued - self._in_flight)

    @property
    def unread(self) -> int:
        """How many bytes can be read."""
        return self._unread

    @property
    def done(self) -> bool:
        """Whether the guest has all that was written, or never will."""
        return self.state is State.GONE or not (self._queued or self._flight)

    def accept(self) -> None:
        """Say yes to a pending connection."""
        if self.state is State.PENDING:
            self.state = State.SYN_RECEIVED
            self._send_syn()

    def refuse(self) -> None:
        """Say no to a pending connection: for the guest, nobody listens there."""
        if self.state is State.PENDING:
            self.abort()

    def read(self, limit: int = RECEIVE_BUFFER) -> bytes:
        """Return some of what has come, at most ``limit`` bytes; nothing where nothing is there."""
        if not self._received:
            return b""
        data = self._received.popleft()
        if len(data) > limit:
            self._received.appendleft(data[limit:])
            data = data[:limit]
        self._unread -= len(data)
        # The guest hears of more room when it is much more: small windows make small segments.
        if (
            self.state is State.OPEN
            and not self._fin_received
            and self._free - distance(self._edge, self._expected) >= RECEIVE_BUFFER // 2
        ):
            self._send(ACK)
        return data

    def write(self, data: bytes) -> int:
        """Send bytes to the guest, as it takes them.

        Returns:
            How many of them were taken; for the others there is no room yet, see :attr:`room`.
        """
        size = min(len(data), self.room)
        if size:
            self._queue.append(memoryview(data)[:size])
            self._queued += size
            self._push()
        return size

    def finish(self) -> None:
        """Say that nothing more will be written. What the guest writes can still be read."""
        self._finishing = True
        self._push()
        self._expect_end()

    def close(self) -> None:
        """Finish, and take nothing more of what the guest writes."""
        if self.state in {State.PENDING, State.SYN_SENT} or self._unread:
            self.abort()
            return
        self._closed = True
        self.finish()

    def abort(self) -> None:
        """Break the connection off."""
        if self.state is not State.GONE:
            if self.state is not State.SYN_SENT:
                self._send(RST | ACK)
            self._end(reset=True)

    # -- For the stack -----------------------------------------------------------------------

    def offered(self, segment: Segment) -> None:
        """Take the SYN with which the guest asks for the connection."""
        self._take_syn(segment)

    def connect(self) -> None:
        """Ask the guest for the connection."""
        self.state = State.SYN_SENT
        self._send_syn()

    def expire(self) -> None:
        """Do what is to be done when the deadline has passed."""
        self._timeouts += 1
        if self._timeouts > (_MAX_TIMEOUTS_CLOSED if self._closed else _MAX_TIMEOUTS) or (
            self._closed and self.done and self._fin_sent
        ):
            self.abort()
            return
        if self._flight:
            self._recover = self._next
            self._send_again()
        elif self._queued:
            # A number that the guest has already: it answers with its window.
            self._send(ACK, seq=self._unacknowledged - 1 & _MASK)
        self._set_timer()

    def receive(self, segment: Segment) -> None:
        """Take a segment of the guest's."""
        if self.state is State.PENDING:
            if segment.flags & RST:
                self._end(reset=True)
        elif self.state is State.SYN_SENT:
            self._receive_answer(segment)
        elif self.state is not State.GONE and self._check(segment):
            self._receive_acknowledgement(segment)
            if self.state is State.OPEN:
                self._receive_data(segment)
        if self.state is State.OPEN:
            self._push()
            if self._fin_sent and self._fin_received and not self._flight:
                if self.acknowledgement_due:
                    self._send(ACK)
                self._end(reset=False)
            else:
                self._expect_end()
        self.on_change()

    def acknowledge(self) -> None:
        """Acknowledge what came, where that was not done with data yet."""
        if self.acknowledgement_due and self.state is State.OPEN:
            self._send(ACK)

    # -- What comes (section 3.10.7) ---------------------------------------------------------

    def _take_syn(self, segment: Segment) -> None:
        options = tcp.parse_options(segment.options)
        self._expected = self._edge = segment.seq + 1 & _MASK
        self._mss = min(options.mss, self._max_mss)
        # Either both sides shift their windows or none does (RFC 7323, section 2.2).
        self._scales = options.shift is not None
        self._their_shift = options.shift or 0
        self._our_shift = _SHIFT if self._scales else 0
        self._window = segment.window
        self._window_seq, self._window_ack = segment.seq, segment.ack

    def _receive_answer(self, segment: Segment) -> None:
        if not segment.flags & ACK or segment.ack != self._next:
            return
        if segment.flags & RST:
            self._end(reset=True)
        elif segment.flags & SYN:
            self._take_syn(segment)
            self._advance(segment.ack)
            self.state = State.OPEN
            self._send(ACK)

    def _check(self, segment: Segment) -> bool:
        """Tell whether a segment is one to look at; answer where it is not (RFC 5961)."""
        ahead = distance(segment.seq, self._expected)
        inside = 0 <= ahead < max(1, distance(self._edge, self._expected))
        if segment.flags & RST:
            if ahead == 0:
                self._end(reset=True)
            elif inside:
                self._send(ACK)
            return False
        if segment.flags & SYN:
            if self.state is State.SYN_RECEIVED and ahead == -1:
                self._send_again()
            else:
                self._send(ACK)
            return False
        if not segment.flags & ACK:
            return False
        beyond = distance(segment.ack, self._next)
        if beyond > 0 or distance(segment.ack, self._unacknowledged) < -SEND_BUFFER:
            # Nobody has sent what is acknowledged there, or it is from another time.
            if self.state is State.SYN_RECEIVED:
                self._transmit(self, Segment(segment.ack, 0, RST, 0))
            else:
                self._send(ACK)
            return False
        # A probe with an old number is answered, and so is what leaves a gap; what either
        # acknowledges counts.
        if ahead > 0 or (segment.length == 0 and ahead < 0):
            self.acknowledgement_due = True
        return ahead <= 0

    def _receive_acknowledgement(self, segment: Segment) -> None:
        newer = distance(segment.seq, self._window_seq)
        if newer > 0 or (newer == 0 and distance(segment.ack, self._window_ack) >= 0):
            self._window = segment.window << self._their_shift
            self._window_seq, self._window_ack = segment.seq, segment.ack
        if not self._flight and not self._closed:
            # It has answered a probe.
            self._timeouts = 0
        if distance(segment.ack, self._unacknowledged) > 0:
            self._advance(segment.ack)
            if self.state is State.SYN_RECEIVED:
                self.state = State.OPEN

    def _advance(self, ack: int) -> None:
        self._unacknowledged = ack
        self._timeouts = 0
        while self._flight:
            sent = self._flight[0]
            missing = distance(sent.seq, ack) + max(1, len(sent.data))
            if missing > 0:
                if 0 < missing < len(sent.data):
                    # A part of it is there.
                    rest = sent.data[-missing:]
                    self._in_flight -= len(sent.data) - len(rest)
                    self._flight[0] = _Sent(ack, sent.flags, rest)
                break
            self._flight.popleft()
            self._in_flight -= len(sent.data)
        if self._recover is not None:
            if self._flight and distance(self._recover, ack) > 0:
                self._send_again()
            else:
                self._recover = None
        self._set_timer()

    def _receive_data(self, segment: Segment) -> None:
        if not segment.data and not segment.flags & FIN:
            return
        self.acknowledgement_due = True
        known = distance(self._expected, segment.seq)
        room = distance(self._edge, self._expected)
        data = (
            segment.data[known : known + room]
            if known or len(segment.data) > room
            else (segment.data)
        )
        whole = known + len(data) >= len(segment.data)
        if self._fin_received:
            return
        if data:
            if self._closed:
                self.abort()
                return
            self._expected = self._expected + len(data) & _MASK
            self._received.append(data)
            self._unread += len(data)
        if segment.flags & FIN and whole and known <= len(segment.data):
            self._expected = self._expected + 1 & _MASK
            self._fin_received = True

    # -- What goes ---------------------------------------------------------------------------

    @property
    def _free(self) -> int:
        return max(0, RECEIVE_BUFFER - self._unread)

    def _send(self, flags: int, data: bytes = b"", seq: int | None = None) -> None:
        self.acknowledgement_due = False
        options = b""
        # The window is never drawn back, though it may be told in coarse steps.
        told = distance(self._edge, self._expected)
        if flags & SYN:
            window = min(self._free, 0xFFFF)
            shift = self._our_shift if self._scales else None
            options = tcp.pack_options(Options(self._max_mss, shift))
            told = window
        else:
            window = min(max(self._free, told) >> self._our_shift, 0xFFFF)
            told = max(told, window << self._our_shift)
        self._edge = self._expected + max(0, told) & _MASK
        acknowledged = self._expected if flags & ACK else 0
        number = self._next if seq is None else seq
        self._transmit(self, Segment(number, acknowledged, flags, window, data, options))

    def _send_syn(self) -> None:
        flags = SYN if self.state is State.SYN_SENT else SYN | ACK
        self._send(flags)
        self._flight.append(_Sent(self._next, flags, b""))
        self._next = self._next + 1 & _MASK
        self._set_timer()

    def _send_again(self) -> None:
        sent = self._flight[0]
        self._send(sent.flags, sent.data, sent.seq)

    def _push(self) -> None:
        """Send what there is room for in the guest's window."""
        if self.state is not State.OPEN:
            return
        idle = not self._flight
        while self._queued and (size := self._sendable()):
            self._send_next(ACK | PSH, self._take(size))
        if not self._queued and self._finishing and not self._fin_sent:
            self._fin_sent = True
            self._send_next(FIN | ACK, b"")
        if (idle and self._flight) or (self._queued and self.deadline is None):
            self._set_timer()

    def _sendable(self) -> int:
        """Return how much of the queue is to be sent now."""
        room = self._window - distance(self._next, self._unacknowledged)
        size = min(self._mss, self._queued, room)
        # A part of a segment waits until more can go, where something is on its way.
        if size < min(self._mss, self._queued) and self._flight:
            return 0
        return max(0, size)

    def _send_next(self, flags: int, data: bytes) -> None:
        self._send(flags, data)
        self._flight.append(_Sent(self._next, flags, data))
        self._in_flight += len(data)
        self._next = self._next + max(1, len(data)) & _MASK

    def _take(self, size: int) -> bytes:
        """Take bytes from the queue."""
        self._queued -= size
        parts = []
        while size:
            first = self._queue.popleft()
            if len(first) > size:
                self._queue.appendleft(first[size:])
                first = first[:size]
            parts.append(first)
            size -= len(first)
        return b"".join(parts)

    def _set_timer(self) -> None:
        if self._flight or self._queued:
            self.deadline = self._now() + min(_FIRST_TIMEOUT * 2**self._timeouts, _LAST_TIMEOUT)
        else:
            self.deadline = None

    def _expect_end(self) -> None:
        if self._closed and self._fin_sent and self.done and self.deadline is None:
            self.deadline = self._now() + _LINGER

    def _end(self, *, reset: bool) -> None:
        if self.state is State.GONE:
            return
        self.state = State.GONE
        self.reset = reset
        self.deadline = None
        self._queue.clear()
        self._flight.clear()
        self._queued = self._in_flight = 0
        if reset:
            self._received.clear()
            self._unread = 0
        self._gone(self)
        self.on_change()
