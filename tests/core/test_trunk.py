"""What goes between the networks of two containers, and what a hostile one may say."""

from __future__ import annotations

import random
import struct

import pytest

from browsermount import limits
from browsermount.network.trunk import (
    DATAGRAM_COST,
    MAX_DATA,
    WINDOW,
    Kind,
    Trunk,
    TrunkError,
    TrunkStream,
)


class Two:
    """Two trunks whose messages arrive when the test wants it."""

    def __init__(self) -> None:
        self.ways: tuple[list[bytes], list[bytes]] = ([], [])
        self.a = Trunk(self.ways[1].append, first=True)
        self.b = Trunk(self.ways[0].append, first=False)
        self.asked: list[TrunkStream] = []
        self.b.on_open = self.asked.append

    def settle(self) -> None:
        while any(self.ways):
            for way, trunk in zip(self.ways, (self.a, self.b), strict=True):
                while way:
                    trunk.receive(way.pop(0))

    def opened(self) -> tuple[TrunkStream, TrunkStream]:
        near = self.a.open(80)
        self.settle()
        far = self.asked.pop()
        far.accept()
        self.settle()
        return near, far


def test_a_stream_from_its_beginning_to_its_end() -> None:
    two = Two()
    near = two.a.open(8080)
    assert near.room == 0  # nobody has said yes
    two.settle()
    (far,) = two.asked
    assert far.port == 8080
    far.accept()
    two.settle()
    assert near.accepted
    near.write(b"question")
    near.finish()
    two.settle()
    assert (far.read(), far.at_eof) == (b"question", True)
    far.write(b"answer")  # the other half is still open
    two.settle()
    assert (near.read(), near.at_eof) == (b"answer", False)
    far.finish()
    two.settle()
    assert near.at_eof
    assert not near.reset
    assert two.a.streams == two.b.streams == 0


def test_a_refusal() -> None:
    two = Two()
    near = two.a.open(81)
    two.settle()
    two.asked.pop().break_off()
    two.settle()
    assert near.reset
    assert not near.accepted
    assert two.a.streams == two.b.streams == 0


@pytest.mark.parametrize("after_finish", [False, True])
def test_either_side_breaks_off(after_finish: bool) -> None:
    for side in (0, 1):
        two = Two()
        pair = two.opened()
        if after_finish:
            pair[side].finish()
        pair[0].write(b"lost") if not after_finish else None
        pair[side].break_off()
        two.settle()
        assert all(stream.reset for stream in pair)
        assert pair[1].read() == b""
        assert two.a.streams == two.b.streams == 0


def test_who_does_not_read_is_sent_no_more_than_its_window() -> None:
    two = Two()
    near, far = two.opened()
    sent = random.Random(1).randbytes(3 * WINDOW)
    at = 0
    while near.room:
        size = near.room
        near.write(sent[at : at + size])
        at += size
    assert at == WINDOW
    two.settle()
    got = b""
    while len(got) < len(sent):
        got += far.read()
        two.settle()
        while (size := min(near.room, len(sent) - at)) > 0:
            near.write(sent[at : at + size])
            at += size
        two.settle()
        assert at - len(got) <= WINDOW
    assert got == sent


def test_streams_cannot_be_dropped_faster_than_the_other_side_takes_note(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 3)
    two = Two()
    for _ in range(3):
        two.a.open(80).break_off()
    with pytest.raises(ConnectionError):
        two.a.open(80)
    two.settle()
    assert two.a.streams == two.b.streams == 0
    two.a.open(80)


def test_datagrams_are_lost_where_nobody_takes_them() -> None:
    two = Two()
    taken: list[tuple[int, int, bytes]] = []
    two.b.on_datagram = lambda *given: taken.append(given)
    assert two.a.send_datagram(5000, 53, b"hello")
    fitting = WINDOW // (1000 + DATAGRAM_COST)
    sent = [two.a.send_datagram(5000, 53, bytes(1000)) for _ in range(2 * fitting)]
    assert fitting - 1 <= sum(sent) <= fitting
    two.settle()
    assert taken[0] == (5000, 53, b"hello")
    assert len(taken) == 1 + sum(sent)
    assert two.a.send_datagram(5000, 53, bytes(60000))


def test_all_is_broken_off_when_the_other_side_is_gone() -> None:
    two = Two()
    near, _ = two.opened()
    seen: list[bool] = []
    near.on_change = lambda: seen.append(near.reset)
    two.a.lose()
    assert seen == [True]
    assert near.room == 0
    assert not two.a.send_datagram(1, 1, b"")
    with pytest.raises(ConnectionError):
        two.a.open(80)
    two.a.receive(b"late")


def message(kind: int, number: int, body: bytes = b"") -> bytes:
    return struct.pack("!BI", kind, number) + body


@pytest.mark.parametrize(
    "given",
    [
        b"",
        b"\1\0\0",
        message(Kind.OPEN, 3),
        message(Kind.OPEN, 3, b"\0\0"),
        message(Kind.OPEN, 2, b"\0\x50"),  # one of ours
        message(Kind.OPEN, 1, b"\0\x50"),  # there already
        message(Kind.DATA, 1),
        message(Kind.DATA, 1, bytes(WINDOW + 1)),
        message(Kind.CREDIT, 1, b"\0\0\0\1"),
        message(Kind.CREDIT, 1, b"\xff\xff\xff\xff"),
        message(Kind.CREDIT, 1),
        message(99, 1),
        message(Kind.DATAGRAM, 0, b"\0\1\0"),
        message(Kind.DATAGRAM, 0, b"\0\0\0\1"),
        message(Kind.DATAGRAM, 0, b"\0\1\0\1" + bytes(65536)),
        message(Kind.CREDIT, 0, b"\0\0\0\1"),
        message(Kind.OPEN, 0, b"\0\1"),
    ],
)
def test_what_makes_no_sense(given: bytes) -> None:
    two = Two()
    two.opened()
    with pytest.raises(TrunkError):
        two.b.receive(given)


def test_bytes_before_a_yes() -> None:
    two = Two()
    two.a.open(80)
    two.settle()
    with pytest.raises(TrunkError):
        two.b.receive(message(Kind.DATA, 1, b"x"))


def test_too_many_streams_of_the_other_side_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_CONNECTIONS", 3)
    two = Two()
    for number in range(1, 21, 2):
        two.b.receive(message(Kind.OPEN, number, b"\0\x50"))
    assert two.b.streams == 3
    assert [kind for kind, *_ in two.ways[0]] == [Kind.RESET] * 7


def test_whatever_comes_the_bounds_hold() -> None:
    random_ = random.Random(7)
    for _ in range(300):
        two = Two()
        streams: list[TrunkStream] = []

        def accept(stream: TrunkStream, kept: list[TrunkStream] = streams) -> None:
            stream.accept()
            kept.append(stream)

        two.b.on_open = accept
        try:
            for _ in range(200):
                size = random_.choice((0, 2, 4, 10, MAX_DATA, 2 * MAX_DATA))
                body = random_.randbytes(size)
                two.b.receive(message(random_.randrange(9), random_.randrange(8), body))
        except TrunkError:
            pass
        for stream in streams:
            total = 0
            while data := stream.read():
                total += len(data)
            assert total <= WINDOW
