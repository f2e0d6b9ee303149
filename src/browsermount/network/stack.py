"""All that is at the other end of the guest's network card."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

from browsermount.errors import InvalidState
from browsermount.limits import MAX_CONNECTIONS
from browsermount.network import arp, dhcp, ethernet, icmp, ipv4, tcp, udp
from browsermount.network.addresses import BROADCAST, GATEWAY, GUEST, LOOPBACK, Endpoint
from browsermount.network.connection import Connection
from browsermount.network.tcp import ACK, RST, SYN, Segment
from browsermount.network.udp import Datagram

MAX_MTU = ipv4.MAX_SIZE
ETHERNET_MTU = 1500
"""What a card takes that nobody has told otherwise."""
_FIRST_PORT = 49152
_PORTS = 16384
_SENDERS = {GUEST, LOOPBACK}
"""Servers at the guest's 127.0.0.1 answer from there."""
_MAX_UNADDRESSED = 64
"""Packets that wait for the guest to say what the address of its card is."""
_OVERHEAD = ipv4.HEADER_SIZE + tcp.HEADER_SIZE


class Stack:
    """Answers the guest's frames, and has its connections.

    Args:
        send: Takes frames for the guest.
        now: Returns a time in seconds that never goes back.
        mtu: The size of the largest IP packet that the guest's card takes.
        random: Returns a random number of 32 bits, for the first number of a connection.

    Attributes:
        on_connect: Is called with each connection that the guest wants; it is to be accepted or
            refused, now or later.
        on_datagram: Is called with each datagram of the guest's.
    """

    def __init__(
        self,
        send: Callable[[bytes], None],
        now: Callable[[], float],
        *,
        mtu: int = MAX_MTU,
        random: Callable[[], int] = lambda: int.from_bytes(os.urandom(4), "big"),
    ) -> None:
        self.on_connect: Callable[[Connection], None] = Connection.refuse
        self.on_datagram: Callable[[Datagram], None] = self.refuse_datagram
        self._send_frame = send
        self._now = now
        self._mtu = mtu
        self._random = random
        self._mac: bytes | None = None
        self._unaddressed: list[tuple[bytes, ...]] = []
        self._connections: dict[tuple[Endpoint, Endpoint], Connection] = {}
        self._due: list[Connection] = []
        self._identification = 0
        self._port = 0

    # -- For the edges -----------------------------------------------------------------------

    def receive(self, frames: Iterable[bytes]) -> None:
        """Take frames of the guest's; all connections in them are acknowledged once, at the end."""
        for frame in frames:
            self._receive_frame(frame)
        due, self._due = self._due, []
        for connection in due:
            connection.acknowledge()

    @property
    def deadline(self) -> float | None:
        """When :meth:`tick` is to be called at the latest; None where nothing waits for it."""
        deadlines = (connection.deadline for connection in self._connections.values())
        return min((time for time in deadlines if time is not None), default=None)

    def tick(self) -> None:
        """Do what the time asks for."""
        now = self._now()
        for connection in list(self._connections.values()):
            if connection.deadline is not None and connection.deadline <= now:
                connection.expire()

    # -- For who talks to the guest ----------------------------------------------------------

    @property
    def connections(self) -> int:
        """How many there are."""
        return len(self._connections)

    def save(self) -> dict[str, Any]:
        """Return what :meth:`reset` needs, as JSON's types.

        ``connections`` has lists of four numbers: address and port of our end and of the guest's.
        """
        mac = None if self._mac is None else self._mac.hex()
        return {
            "mac": mac,
            "connections": [[*local, *remote] for local, remote in self._connections],
        }

    def reset(self, saved: Any) -> None:
        """Tell a guest that was saved that its connections are gone.

        Each is sent a segment that cannot be right. The guest answers with what it expects
        (RFC 9293, section 3.10.7.4), and that gets a reset, as all of unknown connections does.

        Args:
            saved: What :meth:`save` has returned.

        Raises:
            InvalidState: It is nothing of that kind.
        """
        try:
            if saved["mac"] is None:
                return
            mac = bytes.fromhex(saved["mac"])
            ends = [_ends(*numbers) for numbers in saved["connections"][:MAX_CONNECTIONS]]
            if len(mac) != len(ethernet.HOST_MAC):
                raise ValueError
        except (TypeError, ValueError, KeyError):
            raise InvalidState("what it says of connections makes no sense") from None
        self._mac = mac
        for local, remote in ends:
            self._send_segment(local, remote, Segment(self._random(), 0, ACK, 0))

    def connect(self, target: Endpoint, source: int = GATEWAY) -> Connection:
        """Open a connection to a server in the guest.

        Raises:
            ConnectionError: There are too many.
        """
        if len(self._connections) >= MAX_CONNECTIONS:
            raise ConnectionError(f"more than {MAX_CONNECTIONS} connections with the container")
        while True:
            local = Endpoint(source, _FIRST_PORT + self._port)
            self._port = (self._port + 1) % _PORTS
            if (local, target) not in self._connections:
                break
        connection = self._add(local, target)
        connection.connect()
        return connection

    def send_datagram(self, datagram: Datagram) -> bool:
        """Send a datagram to the guest; False where it is too large for the guest's card."""
        size = udp.HEADER_SIZE + len(datagram.data)
        if size + ipv4.HEADER_SIZE > self._mtu:
            return False
        source, target, data = datagram
        self._send_packet(ipv4.UDP, source.address, target.address, udp.header(datagram), data)
        return True

    def refuse_datagram(self, datagram: Datagram, code: int = icmp.PORT_UNREACHABLE) -> None:
        """Tell the guest that nobody takes a datagram of its."""
        source, target, data = datagram
        size = udp.HEADER_SIZE + len(data)
        header = ipv4.header(source.address, target.address, ipv4.UDP, size, 0)
        message = icmp.unreachable(code, header + udp.header(datagram))
        self._send_packet(ipv4.ICMP, target.address, source.address, message)

    # -- Frames ------------------------------------------------------------------------------

    def _receive_frame(self, frame: bytes) -> None:
        header = ethernet.parse(frame)
        if header is None:
            return
        self._mac = header.source
        if self._unaddressed:
            waiting, self._unaddressed = self._unaddressed, []
            for packet in waiting:
                self._send_to(self._mac, *packet)
        if header.kind == ethernet.ARP:
            if answer := arp.answer(frame):
                self._send_frame(answer)
        elif header.kind == ethernet.IPV4 and (parsed := ipv4.parse(frame, ethernet.HEADER_SIZE)):
            self._receive_packet(parsed, alone=header.target == ethernet.HOST_MAC)

    def _receive_packet(self, packet: ipv4.Packet, *, alone: bool) -> None:
        """Take a packet.

        Args:
            packet: What came.
            alone: Whether it is for us alone. Of what is for all, only DHCP is of interest.
        """
        if packet.protocol == ipv4.UDP:
            datagram = udp.parse(packet)
            if datagram and datagram.target.port == dhcp.SERVER_PORT:
                self._receive_dhcp(datagram.data)
            elif datagram and alone and packet.source in _SENDERS:
                self.on_datagram(datagram)
        elif not alone or packet.source not in _SENDERS:
            # What leaves with another sender's address would never get an answer.
            return
        elif packet.protocol == ipv4.TCP:
            if parsed := tcp.parse(packet):
                self._receive_segment(*parsed)
        elif packet.protocol == ipv4.ICMP and (reply := icmp.echo_reply(packet.payload)):
            self._send_packet(ipv4.ICMP, packet.target, packet.source, reply)

    def _receive_dhcp(self, message: bytes) -> None:
        if reply := dhcp.answer(message, self._mtu):
            source = Endpoint(GATEWAY, dhcp.SERVER_PORT)
            self.send_datagram(Datagram(source, Endpoint(BROADCAST, dhcp.CLIENT_PORT), reply))

    def _receive_segment(self, remote: Endpoint, local: Endpoint, segment: Segment) -> None:
        connection = self._connections.get((local, remote))
        if connection is not None:
            connection.receive(segment)
            if connection.acknowledgement_due:
                self._due.append(connection)
        elif segment.flags & RST:
            pass
        elif segment.flags & ACK:
            self._send_segment(local, remote, Segment(segment.ack, 0, RST, 0))
        elif segment.flags & SYN and len(self._connections) < MAX_CONNECTIONS:
            connection = self._add(local, remote)
            connection.offered(segment)
            self.on_connect(connection)
        else:
            ack = segment.seq + segment.length & 0xFFFFFFFF
            self._send_segment(local, remote, Segment(0, ack, RST | ACK, 0))

    def _add(self, local: Endpoint, remote: Endpoint) -> Connection:
        connection = Connection(
            local,
            remote,
            send=lambda it, segment: self._send_segment(it.local, it.remote, segment),
            now=self._now,
            gone=self._remove,
            initial=self._random(),
            mss=self._mtu - _OVERHEAD,
        )
        self._connections[local, remote] = connection
        return connection

    def _remove(self, connection: Connection) -> None:
        self._connections.pop((connection.local, connection.remote), None)

    def _send_segment(self, local: Endpoint, remote: Endpoint, segment: Segment) -> None:
        header = tcp.header(local, remote, segment)
        self._send_packet(ipv4.TCP, local.address, remote.address, header, segment.data)

    def _send_packet(self, protocol: int, source: int, target: int, *payload: bytes) -> None:
        self._identification = self._identification + 1 & 0xFFFF
        size = sum(map(len, payload))
        header = ipv4.header(source, target, protocol, size, self._identification)
        if target == BROADCAST:
            self._send_to(ethernet.BROADCAST, header, *payload)
        elif self._mac is not None:
            self._send_to(self._mac, header, *payload)
        else:
            # It has sent nothing yet, and takes no segments that are for everybody.
            if len(self._unaddressed) < _MAX_UNADDRESSED:
                self._unaddressed.append((header, *payload))
            self._send_frame(arp.request())

    def _send_to(self, mac: bytes, *packet: bytes) -> None:
        self._send_frame(b"".join((ethernet.header(mac, ethernet.IPV4), *packet)))


def _ends(ours: int, port: int, theirs: int, their_port: int) -> tuple[Endpoint, Endpoint]:
    for address, number in ((ours, port), (theirs, their_port)):
        if not (0 <= address < 1 << 32 and 0 < number < 1 << 16):
            raise ValueError
    return Endpoint(ours, port), Endpoint(theirs, their_port)
