"""TCP with the guest: a peer whose segments are made by hand, and a clock that tests move."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from browsermount.limits import MAX_CONNECTIONS, RECEIVE_BUFFER, SEND_BUFFER
from browsermount.network.addresses import GUEST, Endpoint
from browsermount.network.connection import Connection, State

from .guest_network import ACK, FIN, GATEWAY, MASK, PSH, RST, SYN, Guest, Peer, Segment

MSS_OPTION = b"\x02\x04\x05\xb4"


def opened(**fields: int) -> tuple[Guest, Peer, Connection]:
    guest = Guest()
    connections: list[Connection] = []

    def accept(connection: Connection) -> None:
        connections.append(connection)
        connection.accept()

    guest.stack.on_connect = accept
    peer = Peer(guest, **fields)
    peer.open()
    assert connections[0].state is State.OPEN
    return guest, peer, connections[0]


def read_all(connection: Connection) -> bytes:
    return b"".join(iter(connection.read, b""))


def test_a_connection_that_nobody_takes_is_refused() -> None:
    guest = Guest()
    Peer(guest).send(SYN)
    (answer,) = guest.segments()
    assert answer.flags == RST | ACK
    assert answer.ack == 0xFFFFFFF1
    assert guest.stack.connections == 0


def test_the_handshake_waits_for_the_answer_and_offers_what_the_guest_offers() -> None:
    guest = Guest()
    waiting: list[Connection] = []
    guest.stack.on_connect = waiting.append
    peer = Peer(guest)
    peer.send(SYN, options=MSS_OPTION)
    guest.give(peer.segment(SYN, seq=peer.seq - 1, options=MSS_OPTION))
    assert guest.segments() == []
    assert len(waiting) == 1
    waiting[0].accept()
    (answer,) = guest.segments()
    # The guest has not said that it shifts windows, so that neither side does.
    assert answer.options == MSS_OPTION
    assert answer.window == 0xFFFF


def test_bytes_in_both_directions_over_the_end_of_the_numbers() -> None:
    guest, peer, connection = opened()
    peer.send(ACK | PSH, b"x" * 1000)
    peer.send(ACK | PSH, b"y" * 1000)
    assert read_all(connection) == b"x" * 1000 + b"y" * 1000
    assert guest.segments()[-1].ack == peer.seq < 0xFFFF
    assert connection.write(b"z" * 4000) == 4000
    segments = guest.segments()
    assert peer.receive(segments) == b"z" * 4000
    assert [len(segment.data) for segment in segments] == [1460, 1460, 1080]
    assert peer.ack < 0xFFFF
    assert not connection.done
    peer.send(ACK)
    assert connection.done


def test_a_batch_is_acknowledged_once_and_an_answer_acknowledges_by_itself() -> None:
    guest, peer, connection = opened()
    guest.give(*(peer.segment(ACK, b"ab", seq=peer.seq + 2 * i) for i in range(10)))
    peer.seq += 20
    (answer,) = guest.segments()
    assert answer.ack == peer.seq & MASK
    connection.on_change = lambda: connection.write(connection.read()) and None
    peer.send(ACK, b"echo")
    (answer,) = guest.segments()
    assert (answer.ack, answer.data) == (peer.seq & MASK, b"ab")


def test_closed_by_the_guest_first() -> None:
    guest, peer, connection = opened()
    peer.send(FIN | ACK, b"last")
    assert not connection.at_eof
    assert connection.read() == b"last"
    assert connection.at_eof
    guest.take()
    connection.write(b"answer")
    connection.finish()
    assert peer.receive(guest.segments()) == b"answer"
    assert connection.state is State.OPEN
    peer.send(ACK)
    assert (connection.state, connection.reset) == (State.GONE, False)
    assert guest.stack.connections == 0
    assert guest.stack.deadline is None


def test_closed_by_us_first_with_the_guest_still_writing() -> None:
    guest, peer, connection = opened()
    connection.finish()
    assert peer.receive(guest.segments()) == b""
    peer.send(ACK, b"more")
    assert connection.read() == b"more"
    peer.send(FIN | ACK)
    assert guest.segments()[-1].ack == peer.seq
    assert (connection.state, connection.reset, connection.at_eof) == (State.GONE, False, True)


def test_data_that_was_sent_with_the_end_is_read_after_it() -> None:
    _, peer, connection = opened()
    connection.finish()
    peer.ack += 1
    peer.send(FIN | ACK, b"all")
    assert connection.state is State.GONE
    assert read_all(connection) == b"all"
    assert connection.at_eof


def test_a_window_that_is_closed_is_probed_and_its_opening_used() -> None:
    guest, peer, connection = opened(window=10)
    # Shifted by 7: 1280 bytes
    connection.write(b"a" * 2000)
    peer.receive(guest.segments())
    peer.send(ACK, window=0)
    assert guest.segments() == []
    for _ in range(40):
        guest.wait(61)
        (probe, *_) = guest.segments()
        assert (probe.seq, probe.data) == (peer.ack - 1 & MASK, b"")
        peer.send(ACK, window=0)
    peer.send(ACK, window=100)
    assert peer.receive(guest.segments()) == b"a" * 720


def test_small_pieces_wait_while_the_guest_has_not_acknowledged_a_part() -> None:
    guest, peer, connection = opened(window=12)
    connection.write(b"a" * 1500)
    # 1460, and 36 more would fit
    assert [len(segment.data) for segment in guest.segments()] == [1460, 40]
    connection.write(b"b" * 1460)
    assert guest.segments() == []
    peer.ack += 1500
    peer.send(ACK)
    assert [len(segment.data) for segment in guest.segments()] == [1460]


def test_what_is_lost_is_sent_again_and_what_follows_at_once() -> None:
    guest, peer, connection = opened()
    data = bytes(range(250)) * 40
    connection.write(data)
    lost = guest.segments()
    guest.wait(1.0)
    (again,) = guest.segments()
    assert again == lost[0]
    got = b""
    for number, segment in enumerate(lost):
        assert again == segment
        got += peer.receive([again])
        peer.send(ACK)
        if number + 1 < len(lost):
            (again,) = guest.segments()
    assert got == data
    assert connection.done
    assert guest.stack.deadline is None


def test_what_comes_twice_or_too_early_counts_once() -> None:
    guest, peer, connection = opened()
    first, second = (peer.segment(ACK, b"first"), peer.segment(ACK, b"second", seq=peer.seq + 5))
    guest.give(second)
    assert guest.segments()[0].ack == peer.seq & MASK
    guest.give(first, first)
    guest.give(second, peer.segment(ACK, b"stsecond", seq=peer.seq + 3))
    assert read_all(connection) == b"firstsecond"
    # A part is new
    guest.give(peer.segment(ACK, b"ondthird", seq=peer.seq + 8))
    assert read_all(connection) == b"third"


def test_to_a_server_in_the_guest() -> None:
    guest = Guest()
    connection = guest.stack.connect(Endpoint(GUEST, 8000))
    (syn,) = guest.segments()
    assert (syn.flags, syn.target[1], syn.source[0]) == (SYN, 8000, GATEWAY)
    peer = Peer(guest, port=8000, target=syn.source, ack=syn.seq + 1)
    peer.send(SYN | ACK, options=MSS_OPTION)
    assert connection.state is State.OPEN
    (answer,) = guest.segments()
    assert (answer.flags, answer.ack) == (ACK, peer.seq)
    connection.write(b"GET")
    assert peer.receive(guest.segments()) == b"GET"


def test_to_a_port_of_the_guest_where_nobody_listens() -> None:
    guest = Guest()
    connection = guest.stack.connect(Endpoint(GUEST, 8000))
    (syn,) = guest.segments()
    Peer(guest, port=8000, target=syn.source, ack=syn.seq + 1).send(RST | ACK)
    assert (connection.state, connection.reset) == (State.GONE, True)
    assert guest.segments() == []


def test_a_guest_that_does_not_answer() -> None:
    guest = Guest()
    connection = guest.stack.connect(Endpoint(GUEST, 8000))
    guest.wait(2000)
    assert connection.reset
    assert 5 < len(guest.segments()) < 20
    assert guest.stack.deadline is None


@settings(max_examples=50, deadline=None)
@given(
    st.lists(st.integers(1, 5000), min_size=1, max_size=30),
    st.lists(st.booleans(), min_size=1, max_size=20),
    st.lists(st.integers(0, 3000), min_size=1, max_size=20),
)
def test_whatever_is_lost_all_comes_in_its_order(
    sizes: list[int], losses: list[bool], windows: list[int]
) -> None:
    guest, peer, connection = opened()
    data = b"".join(bytes([i & 0xFF]) * size for i, size in enumerate(sizes))
    left, got = data, b""
    finished = False
    for step in range(3000):
        left = left[connection.write(left) :]
        if not left and not finished:
            connection.finish()
            finished = True
        guest.wait(1.0)
        for number, segment in enumerate(guest.segments()):
            lost = step < 200 and losses[(step + number) % len(losses)]
            if not lost and segment.seq == peer.ack:
                got += peer.receive([segment])
        peer.send(ACK, window=windows[step % len(windows)] if step < 200 else 0xFFFF)
        if connection.done and finished:
            break
    assert got == data


# -- Attacks -------------------------------------------------------------------------------------


def test_connections_without_end() -> None:
    guest = Guest()
    guest.stack.on_connect = Connection.accept
    for port in range(1, 2 * MAX_CONNECTIONS):
        guest.give(Peer(guest, port=port).segment(SYN))
    answers = guest.segments()
    assert [answer.flags for answer in answers[:MAX_CONNECTIONS]] == [SYN | ACK] * MAX_CONNECTIONS
    assert {answer.flags for answer in answers[MAX_CONNECTIONS:]} == {RST | ACK}
    assert guest.stack.connections == MAX_CONNECTIONS
    with pytest.raises(ConnectionError, match=str(MAX_CONNECTIONS)):
        guest.stack.connect(Endpoint(GUEST, 80))
    # Handshakes that nobody ends do not stay.
    guest.wait(2000)
    assert guest.stack.connections == 0


def test_writing_without_end_to_somebody_who_does_not_read() -> None:
    guest, peer, connection = opened()
    for _ in range(2000):
        peer.send(ACK | PSH, bytes(1400))
    assert RECEIVE_BUFFER - 1400 < connection.unread <= RECEIVE_BUFFER
    assert guest.segments()[-1].window == 0
    before = connection.unread
    assert len(read_all(connection)) == before
    # It hears of the room.
    assert guest.segments()[-1].window << 7 >= RECEIVE_BUFFER // 2


def test_a_guest_that_reads_nothing_costs_one_buffer() -> None:
    guest, _, connection = opened()
    written = sum(connection.write(bytes(100_000)) for _ in range(100))
    assert written == SEND_BUFFER
    assert connection.room == 0
    del guest


def test_a_guest_that_never_closes_what_we_have_closed() -> None:
    guest, peer, connection = opened()
    connection.close()
    peer.receive(guest.segments())
    peer.send(ACK)
    guest.wait(59)
    assert connection.state is State.OPEN
    guest.wait(2)
    assert guest.stack.connections == 0
    assert guest.segments()[-1].flags & RST


def test_a_window_that_stays_closed_after_we_have_closed() -> None:
    guest, peer, connection = opened(window=0)
    connection.write(b"never taken")
    connection.close()
    for _ in range(400):
        guest.wait(1)
        peer.send(ACK)
    assert guest.stack.connections == 0


def test_data_for_what_we_have_closed_is_refused() -> None:
    guest, peer, connection = opened()
    connection.close()
    peer.receive(guest.segments())
    peer.send(ACK, b"data")
    assert guest.segments()[-1].flags & RST
    assert guest.stack.connections == 0


def test_a_reset_with_a_number_that_was_guessed() -> None:
    guest, peer, connection = opened()
    for ahead in (1, 1000, RECEIVE_BUFFER + 10_000, -1, -5000):
        guest.give(peer.segment(RST, seq=peer.seq + ahead))
    assert connection.state is State.OPEN
    # Those inside the window are asked about (RFC 5961, section 3.2).
    assert len(guest.segments()) == 2
    guest.give(peer.segment(RST))
    assert (connection.state, connection.reset) == (State.GONE, True)


def test_a_second_syn_in_an_open_connection() -> None:
    guest, peer, connection = opened()
    guest.give(peer.segment(SYN, seq=5))
    (answer,) = guest.segments()
    assert (answer.flags, answer.ack) == (ACK, peer.seq & MASK)
    assert connection.state is State.OPEN


def test_acknowledging_what_was_never_sent() -> None:
    guest, peer, connection = opened()
    connection.write(b"abc")
    guest.take()
    guest.give(peer.segment(ACK, b"data", ack=peer.ack + 4))
    assert not connection.done
    assert connection.unread == 0
    guest.give(peer.segment(ACK, b"data", ack=peer.ack - SEND_BUFFER - 1))
    assert connection.unread == 0


def test_a_handshake_that_ends_with_a_wrong_number() -> None:
    guest = Guest()
    guest.stack.on_connect = Connection.accept
    peer = Peer(guest)
    peer.send(SYN)
    (answer,) = guest.segments()
    guest.give(peer.segment(ACK, ack=answer.seq + 2))
    (reset,) = guest.segments()
    assert (reset.flags, reset.seq) == (RST, answer.seq + 2 & MASK)


@pytest.mark.parametrize(
    "options",
    [
        b"\x02\x04\x00\x01",  # segments of one byte
        b"\x02\x04\x00\x00",
        b"\x02\x00\x00\x00",  # of no length: a loop without end
        b"\x02\x01\x05\xb4",
        b"\x03\x03\xff\x00",  # a shift by 255
        b"\x01\x01\x01\x02",  # it ends before its length
        b"\x02\x28\x05\xb4",
        b"\x00\x02\x04\x05",
    ],
)
def test_options_that_are_wrong(options: bytes) -> None:
    guest = Guest()
    connections: list[Connection] = []
    guest.stack.on_connect = connections.append
    peer = Peer(guest)
    peer.send(SYN, options=options)
    connections[0].accept()
    (answer,) = guest.segments()
    peer.ack = answer.seq + 1
    peer.send(ACK)
    connections[0].write(bytes(5000))
    sizes = [len(segment.data) for segment in guest.segments()]
    assert sum(sizes) == 5000
    assert min(sizes[:-1]) >= 88


def test_a_segment_behind_the_window_is_cut_off() -> None:
    guest, peer, connection = opened()
    while connection.unread < RECEIVE_BUFFER - 1400:
        peer.send(ACK, bytes(1400))
    room = RECEIVE_BUFFER - connection.unread
    guest.give(peer.segment(ACK | FIN, bytes(1450)))
    assert connection.unread <= RECEIVE_BUFFER
    read_all(connection)
    # The end was behind what did not fit.
    assert not connection.at_eof
    assert guest.segments()[-1].ack == peer.seq + room & MASK


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 63),
            st.integers(-70000, 70000),
            st.integers(-70000, 70000),
            st.integers(0, 0xFFFF),
            st.binary(max_size=60),
            st.binary(max_size=12),
            st.booleans(),
        ),
        max_size=30,
    )
)
def test_segments_that_are_anything(
    segments: list[tuple[int, int, int, int, bytes, bytes, bool]],
) -> None:
    guest, peer, connection = opened()
    for flags, seq, ack, window, data, options, act in segments:
        guest.give(
            peer.segment(
                flags, data, seq=peer.seq + seq, ack=peer.ack + ack, window=window, options=options
            )
        )
        if act:
            connection.write(b"some data")
            connection.read(3)
            guest.wait(1.5)
        answers: list[Segment] = guest.segments()
        assert len(answers) < 40
        assert connection.unread <= RECEIVE_BUFFER
    guest.wait(5000)
    assert guest.stack.connections <= 1
