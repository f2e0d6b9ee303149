"""The guest's network but for TCP: frames, ARP, ping, datagrams, leases, names."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsermount.network import dns
from browsermount.network.addresses import Endpoint, is_public, parse, to_text
from browsermount.network.stack import Stack
from browsermount.network.udp import MAX_DATA, Datagram

from .guest_network import (
    ACK,
    GATEWAY,
    GUEST,
    GUEST_MAC,
    HOST_MAC,
    SERVER,
    SYN,
    Guest,
    Peer,
    checksum,
    ethernet,
    ip,
)

BROADCAST_MAC = b"\xff" * 6
GUEST_NUMBER = int.from_bytes(GUEST, "big")
GATEWAY_NUMBER = int.from_bytes(GATEWAY, "big")


def arp(operation: int, target: bytes) -> bytes:
    packet = bytes.fromhex("0001080006040001") + GUEST_MAC + GUEST + bytes(6) + target
    packet = packet[:6] + operation.to_bytes(2, "big") + packet[8:]
    return ethernet(packet, 0x0806, BROADCAST_MAC)


@pytest.mark.parametrize("address", [GATEWAY, SERVER, bytes((192, 168, 127, 252))])
def test_all_addresses_are_at_our_card(address: bytes) -> None:
    guest = Guest()
    guest.give(arp(1, address))
    (frame,) = guest.take()
    assert frame[:14] == GUEST_MAC + HOST_MAC + b"\x08\x06"
    assert frame[14:] == bytes.fromhex("0001080006040002") + HOST_MAC + address + GUEST_MAC + GUEST


def test_but_the_guests_own_which_it_may_look_for() -> None:
    guest = Guest()
    guest.give(arp(1, GUEST), arp(2, GATEWAY))
    assert guest.take() == []


def test_a_guest_that_was_silent_is_asked_for_the_address_of_its_card() -> None:
    sent: list[bytes] = []
    stack = Stack(sent.append, lambda: 0.0)
    for _ in range(1000):
        datagram = Datagram(Endpoint(GATEWAY_NUMBER, 9), Endpoint(GUEST_NUMBER, 9), b"")
        stack.send_datagram(datagram)
    request = bytes.fromhex("0001080006040001") + HOST_MAC + GATEWAY + bytes(6) + GUEST
    assert set(sent) == {BROADCAST_MAC + HOST_MAC + b"\x08\x06" + request}
    sent.clear()
    reply = bytes.fromhex("0001080006040002") + GUEST_MAC + GUEST + HOST_MAC + GATEWAY
    stack.receive([ethernet(reply, 0x0806)])
    assert len(sent) == 64
    assert {frame[:6] for frame in sent} == {GUEST_MAC}


def test_ping() -> None:
    guest = Guest()
    message = b"\x08\x00\x00\x00\x12\x34\x00\x01" + b"odd" * 5
    guest.give(ethernet(ip(1, message)))
    (packet,) = guest.packets()
    assert (packet[12:16], packet[16:20]) == (SERVER, GUEST)
    assert packet[20:22] == b"\0\0"
    assert checksum(packet[20:]) == 0
    assert packet[24:] == message[4:]


def test_datagrams_both_ways() -> None:
    guest = Guest()
    got: list[Datagram] = []
    guest.stack.on_datagram = got.append
    guest.udp(9000, b"question", target=SERVER)
    (datagram,) = got
    assert datagram.source == Endpoint(GUEST_NUMBER, 40000)
    assert (str(datagram.target), datagram.data) == ("93.184.215.14:9000", b"question")
    answer = Datagram(datagram.target, datagram.source, b"answer!")
    assert guest.stack.send_datagram(answer)
    (packet,) = guest.packets()
    pseudo = packet[12:20] + struct.pack("!HH", 17, len(packet) - 20)
    assert checksum(pseudo + packet[20:]) == 0
    assert packet[20:24] == struct.pack("!HH", 9000, 40000)
    assert packet[28:] == b"answer!"
    assert not guest.stack.send_datagram(answer._replace(data=bytes(1473)))
    assert guest.stack.send_datagram(answer._replace(data=bytes(1472)))


def test_the_largest_datagram() -> None:
    guest = Guest(mtu=65535)
    got: list[Datagram] = []
    guest.stack.on_datagram = got.append
    guest.udp(9000, bytes(MAX_DATA), target=SERVER)
    assert len(got[0].data) == MAX_DATA
    assert guest.stack.send_datagram(Datagram(got[0].target, got[0].source, bytes(MAX_DATA)))


def test_datagrams_that_nobody_takes() -> None:
    guest = Guest()
    guest.udp(443, b"x" * 100, target=SERVER)
    (packet,) = guest.packets()
    assert (packet[9], packet[20:22]) == (1, b"\x03\x03")
    assert checksum(packet[20:]) == 0
    quoted = packet[28:]
    assert quoted[12:20] == GUEST + SERVER
    assert quoted[20:24] == struct.pack("!HH", 40000, 443)


def dhcp(kind: int, options: bytes = b"", cookie: bytes = b"\x63\x82\x53\x63") -> bytes:
    message = bytearray(240)
    message[0:4] = b"\x01\x01\x06\x00"
    message[4:8] = b"tran"
    message[28:34] = GUEST_MAC
    message[236:240] = cookie
    return bytes(message) + options + bytes((53, 1, kind, 255))


def offer(guest: Guest, message: bytes) -> bytes | None:
    payload = struct.pack("!HHHH", 68, 67, 8 + len(message), 0) + message
    packet = ip(17, payload, source=bytes(4), target=b"\xff" * 4)
    guest.give(ethernet(packet, target=BROADCAST_MAC))
    packets = guest.take()
    return packets[0][14 + 28 :] if packets else None


def test_a_lease() -> None:
    guest = Guest(mtu=1400)
    for kind, answer in ((1, 2), (3, 5)):
        # With other options before the one that says what is wanted
        reply = offer(guest, dhcp(kind, b"\x00\x37\x02\x01\x03"))
        assert reply is not None
        assert (reply[0], reply[4:8], reply[16:20]) == (2, b"tran", GUEST)
        options = reply[240:]
        assert bytes((53, 1, answer)) in options
        for option in (b"\x01\x04\xff\xff\xff\x00", b"\x03\x04" + GATEWAY, b"\x06\x04" + GATEWAY):
            assert option in options
        assert b"\x1a\x02" + (1400).to_bytes(2, "big") in options


@pytest.mark.parametrize(
    "message",
    [b"", bytes(239), dhcp(1, cookie=b"none"), dhcp(7), dhcp(1)[:-4], dhcp(1)[:-2], dhcp(1)[:-3]],
)
def test_messages_that_are_no_request_for_a_lease(message: bytes) -> None:
    assert offer(Guest(), message) is None


# -- Names ---------------------------------------------------------------------------------------


def query(name: bytes, kind: int = 1, flags: int = 0x0100, count: int = 1) -> bytes:
    labels = b"".join(bytes((len(label),)) + label for label in name.split(b"."))
    header = struct.pack("!HHHHHH", 7, flags, count, 0, 0, 0)
    return header + labels + b"\0" + struct.pack("!HH", kind, 1)


def test_a_query_and_its_answer() -> None:
    # What follows the question (EDNS) is not repeated.
    parsed = dns.parse(query(b"Packages.Example") + b"more")
    assert parsed is not None
    assert (parsed.name, parsed.kind) == ("packages.example", dns.A)
    answer = dns.answer(parsed, [parse("1.2.3.4"), parse("5.6.7.8")])
    assert answer[:12] == struct.pack("!HHHHHH", 7, 0x8180, 1, 2, 0, 0)
    question = query(b"Packages.Example")[12:]
    record = b"\xc0\x0c\0\1\0\1\0\0\0\x3c\0\4"
    assert answer[12:] == question + record + b"\1\2\3\4" + record + b"\5\6\7\x08"
    refused = dns.answer(parsed, code=dns.NO_SUCH_NAME)
    assert refused[2:8] == b"\x81\x83\0\1\0\0"


@pytest.mark.parametrize(
    "message",
    [
        b"",
        query(b"a")[:11],
        query(b"a")[:-1],
        query(b"a", flags=0x8100),  # an answer
        query(b"a", flags=0x2800),  # an update
        query(b"a", count=2),
        query(b"a", count=0),
        query(b"a")[:12] + b"\xc0\x0c\0\1\0\1",  # a name that goes on at its own beginning
        query(b"a")[:12] + b"\x3fabc",
        query(b"a")[:12] + b"\x03a.b\0\0\1\0\1",
        query(b"a")[:12] + b"\x03a\0b\0\0\1\0\1",
        query(b"a")[:12] + b"\x03a\nb\0\0\1\0\1",
        query(b".".join([b"a" * 63] * 5)),
        query(b"a")[:12] + b"\0\0\1\0\1",  # the root
        query(b"\xff\xfe"),
    ],
)
def test_queries_that_are_none(message: bytes) -> None:
    assert dns.parse(message) is None


@given(st.binary(max_size=300))
def test_queries_that_are_anything(message: bytes) -> None:
    dns.parse(message)
    dns.parse(query(b"a")[:12] + message)


# -- Attacks -------------------------------------------------------------------------------------


def test_addresses_that_are_not_the_internets() -> None:
    for text in [
        "0.0.0.0",
        "10.1.2.3",
        "127.0.0.1",
        "127.9.9.9",
        "100.64.0.1",
        "169.254.169.254",
        "172.16.0.1",
        "172.31.255.255",
        "192.168.0.1",
        "192.168.127.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
    ]:
        assert not is_public(parse(text)), text
    for text in ("1.1.1.1", "93.184.215.14", "172.32.0.1", "192.167.255.255"):
        assert is_public(parse(text)), text
        assert to_text(parse(text)) == text


def test_frames_that_are_cut_off_anywhere() -> None:
    frames = [
        arp(1, GATEWAY),
        ethernet(ip(1, b"\x08\0\0\0\0\0\0\0ping")),
        ethernet(ip(17, struct.pack("!HHHH", 1, 2, 12, 0) + b"data")),
        ethernet(ip(17, struct.pack("!HHHH", 68, 67, 8 + 244, 0) + dhcp(1))),
        Peer(Guest()).segment(SYN, options=b"\x02\x04\x05\xb4"),
    ]
    for frame in frames:
        guest = Guest()
        for end in range(len(frame)):
            guest.give(frame[:end])
        assert guest.take() == []
        guest.give(frame)
        assert len(guest.take()) == 1


@given(st.lists(st.binary(max_size=120), max_size=10), st.sampled_from([0x0800, 0x0806, 0x86DD]))
def test_frames_that_are_anything(payloads: list[bytes], kind: int) -> None:
    guest = Guest()
    for payload in payloads:
        guest.give(payload, ethernet(payload, kind))
        for protocol in (1, 6, 17):
            guest.give(ethernet(ip(protocol, payload)))
        guest.give(ethernet(ip(17, struct.pack("!HHHH", 68, 67, 8 + len(payload), 0) + payload)))


@pytest.mark.parametrize(
    "change",
    [
        {0: 0x44},  # a header shorter than it is
        {0: 0x4F},  # longer than the packet
        {0: 0x65},  # version 6
        {2: 0xFF},  # a packet longer than its frame
        {3: 10},  # shorter than its header
        {6: 0x20},  # a fragment, with more to come
        {7: 0x01},  # a later fragment
        {12: 8},  # from somebody else
    ],
)
def test_headers_that_lie(change: dict[int, int]) -> None:
    guest = Guest()
    packet = bytearray(ip(1, b"\x08\0\0\0\0\0\0\0ping"))
    for at, value in change.items():
        packet[at] = value
    guest.give(ethernet(bytes(packet)))
    assert guest.take() == []


@pytest.mark.parametrize("size", [0, 7, 13, 0xFFFF])
def test_datagrams_that_lie_about_their_length(size: int) -> None:
    guest = Guest()
    guest.give(ethernet(ip(17, struct.pack("!HHHH", 1, 2, size, 0) + b"data")))
    assert guest.take() == []


def test_a_datagram_that_is_shorter_than_its_packet() -> None:
    guest = Guest()
    got: list[Datagram] = []
    guest.stack.on_datagram = got.append
    guest.give(ethernet(ip(17, struct.pack("!HHHH", 1, 2, 10, 0) + b"datagram")))
    assert got[0].data == b"da"


def test_segments_for_everybody_and_from_a_groups_address() -> None:
    guest = Guest()
    syn = Peer(guest).segment(SYN)
    guest.give(BROADCAST_MAC + syn[6:])
    guest.give(syn[:6] + b"\x01" + syn[7:])
    assert guest.take() == []


def test_segments_of_no_connection() -> None:
    guest = Guest()
    peer = Peer(guest, ack=77)
    guest.give(peer.segment(ACK, b"data"))
    (answer,) = guest.segments()
    assert (answer.seq, answer.ack) == (77, 0)
