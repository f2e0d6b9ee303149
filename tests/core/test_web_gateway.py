"""HTTP requests of the guest that somebody else sends: a browser, or here the test."""

from __future__ import annotations

import asyncio
import gzip
import re
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest

from browsermount import limits
from browsermount.errors import NetworkError
from browsermount.limits import MAX_HTTP_HEAD, MAX_NAMES
from browsermount.network import http1
from browsermount.network.addresses import parse
from browsermount.network.http1 import InvalidMessage, RequestReader, Uploads
from browsermount.network.names import Names
from browsermount.network.tls import Engine
from browsermount.network.web import WebGateway, is_public_host

from .guest_network import ACK, FIN, GATEWAY, RST, SYN, Guest, Peer
from .loop import run

HOST = bytes((192, 168, 127, 254))

NEARBY = """
localhost a.localhost LOCALHOST printer router.local box.lan vault.internal nas.home.arpa
127.0.0.1 10.0.0.1 192.168.0.1 169.254.169.254 198.18.0.1
127.1 2130706433 0x7f000001 0x7f.1 0177.0.0.1 a.0x1 1.2.3.4.5 0
"""


@dataclass
class Answer:
    status: int = 200
    headers: list[tuple[str, str]] = field(default_factory=list)
    parts: tuple[bytes, ...] = (b"hello",)
    breaks: bool = False
    closed: bool = False

    async def chunks(self) -> AsyncIterator[bytes]:
        for part in self.parts:
            await asyncio.sleep(0)
            yield part
        if self.breaks:
            raise NetworkError("the connection broke")

    async def aclose(self) -> None:
        self.closed = True


@dataclass
class World:
    """A guest, its gateway, and what was asked for."""

    answer: Callable[[str], Answer] = lambda url: Answer()
    private: bool = False

    def __post_init__(self) -> None:
        self.asked: list[tuple[str, str, dict[str, str], bytes]] = []
        self.told: list[str] = []
        self.guest = Guest()

        async def fetch(
            method: str, url: str, headers: list[tuple[str, str]], body: bytes
        ) -> Answer:
            self.asked.append((method, url, dict(headers), body))
            return self.answer(url)

        async def tls() -> Engine:
            raise NetworkError("there is no engine here")

        self.gateway = WebGateway(
            self.guest.stack,
            fetch,
            tls,
            private=self.private,
            tell=lambda message, hint: self.told.append(message),
        )

    def address(self, name: str, kind: int = 1) -> bytes | None:
        """The address that the guest is given for a name."""
        labels = b"".join(bytes((len(part),)) + part.encode() for part in name.split("."))
        header = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0)
        self.guest.udp(53, header + labels + b"\0" + struct.pack("!HH", kind, 1))
        (packet,) = self.guest.packets()
        reply = packet[28:]
        return reply[-4:] if reply[6:8] == b"\0\1" else None

    async def closed(self) -> None:
        """Give up all requests, and wait for their end."""
        self.gateway.close()
        for _ in range(5):
            await asyncio.sleep(0)

    async def request(
        self, *parts: bytes, target: bytes | None = None, port: int = 80, end: bool = True
    ) -> bytes:
        """Send bytes on a new connection, and return all that is answered, as its end makes it."""
        address = target or self.address("server.example")
        assert address is not None
        peer = Peer(self.guest, target=(address, port))
        peer.open()
        for part in parts:
            peer.send(ACK, part)
            await asyncio.sleep(0)
        if end:
            peer.send(FIN | ACK)
        got = b""
        for _ in range(400):
            await asyncio.sleep(0)
            segments = self.guest.segments()
            for segment in segments:
                if segment.flags & RST:
                    return got + b"[reset]"
                got += peer.receive([segment])
                if segment.flags & FIN:
                    peer.send(ACK)
                    return got
            if segments:
                peer.send(ACK)
        raise AssertionError(f"no end after {got!r}")


GET = b"GET /path?q=1 HTTP/1.1\r\nHost: server.example\r\n\r\n"


def test_a_request_and_its_answer() -> None:
    headers = [("content-type", "text/x"), ("Content-Encoding", "gzip"), ("Content-Length", "3")]
    answer = Answer(headers=[*headers, ("x-more", "1")], parts=(b"one", b"", b"two!"))
    world = World(lambda url: answer)
    got = run(world.request(GET[:20], GET[20:]))
    assert world.asked == [("GET", "http://server.example/path?q=1", {}, b"")]
    # It is as decoded, so that neither its coding nor its length are what they were.
    assert got == (
        b"HTTP/1.1 200 OK\r\ncontent-type: text/x\r\nx-more: 1\r\nTransfer-Encoding: chunked\r\n"
        b"\r\n3\r\none\r\n4\r\ntwo!\r\n0\r\n\r\n"
    )
    assert answer.closed


def test_a_small_answer_is_one_segment() -> None:
    world = World(lambda url: Answer(parts=(b"a", b"b", b"c")))

    async def act() -> list[bytes]:
        peer = Peer(world.guest, target=(world.address("server.example") or b"", 80))
        peer.open()
        peer.send(ACK, GET)
        got: list[bytes] = []
        while not got or not got[-1].endswith(b"0\r\n\r\n"):
            await asyncio.sleep(0)
            got += [it.data for it in world.guest.segments() if it.data]
        await world.closed()
        return got

    (whole,) = run(act())
    assert whole.endswith(b"\r\n\r\n1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n")


def test_what_is_there_of_an_answer_does_not_wait_for_the_rest() -> None:
    seen = asyncio.Event()

    class Slow(Answer):
        async def chunks(self) -> AsyncIterator[bytes]:
            for part in (b"first", b"second"):
                await seen.wait()
                seen.clear()
                yield part

    world = World(lambda url: Slow())

    async def act() -> None:
        peer = Peer(world.guest, target=(world.address("server.example") or b"", 80))
        peer.open()
        peer.send(ACK, GET)
        for end in (b"\r\n\r\n", b"first\r\n", b"second\r\n0\r\n\r\n"):
            got = b""
            while not got.endswith(end):
                await asyncio.sleep(0.001)
                got += peer.receive(world.guest.segments())
            peer.send(ACK)
            seen.set()
        await world.closed()

    run(act())


def test_requests_one_after_the_other_and_at_once() -> None:
    world = World(lambda url: Answer(parts=(url[-1:].encode(),)))
    requests = [GET.replace(b"q=1", b"q=%d" % number) for number in range(3)]
    got = run(world.request(b"".join(requests)))
    assert [url[-1] for _, url, _, _ in world.asked] == ["0", "1", "2"]
    assert got.count(b"HTTP/1.1 200 OK") == 3
    assert re.findall(rb"\r\n\r\n1\r\n(.)\r\n", got) == [b"0", b"1", b"2"]


def test_old_clients_get_what_they_understand() -> None:
    got = run(World().request(b"GET / HTTP/1.0\r\n\r\n", end=False))
    assert got == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nhello"


@pytest.mark.parametrize(
    ("method", "status", "expected"),
    [
        (b"HEAD", 200, b"content-length: 5\r\nConnection: close\r\n\r\n"),
        (b"GET", 204, b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"),
        (b"GET", 304, b"HTTP/1.1 304 Not Modified\r\nConnection: close\r\n\r\n"),
    ],
)
def test_answers_without_a_body(method: bytes, status: int, expected: bytes) -> None:
    world = World(lambda url: Answer(status, [("Content-Length", "5")]))
    got = run(
        world.request(method + b" / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
    )
    assert got.endswith(expected)


def test_bodies_with_a_length_and_in_chunks() -> None:
    world = World()
    head = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Type: text/x\r\n"
    first = head + b"Content-Length: 10\r\n\r\n0123456789"
    chunked = (
        head
        + b"Transfer-Encoding: chunked\r\n\r\n3;x=y\r\nabc\r\nA\r\n0123456789\r\n0\r\nT: 1\r\n\r\n"
    )
    run(world.request(first, chunked[:70], chunked[70:]))
    assert [body for *_, body in world.asked] == [b"0123456789", b"abc0123456789"]
    assert world.asked[0][2] == {"content-type": "text/x"}


GZIPPED = gzip.compress(b"0123456789" * 100_000, mtime=0)


def encoded(body: bytes, coding: bytes = b"gzip") -> bytes:
    head = (
        b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Encoding: %b\r\nContent-Length: %d\r\n\r\n"
    )
    return head % (coding, len(body)) + body


def test_bodies_that_are_encoded_come_decoded() -> None:
    world = World()
    for request in (
        encoded(GZIPPED),
        encoded(GZIPPED, b"X-GZIP"),
        encoded(b"as it is", b"identity"),
    ):
        run(world.request(*(request[at : at + 1400] for at in range(0, len(request), 1400))))
    assert [body for *_, body in world.asked] == [b"0123456789" * 100_000] * 2 + [b"as it is"]
    assert world.gateway.uploading == 0
    assert "content-encoding" not in world.asked[0][2]


def test_what_is_decoded_has_the_bound_of_all_bodies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http1, "MAX_HTTP_BODY", 999_999)
    world = World()
    request = encoded(GZIPPED)
    parts = (request[at : at + 1400] for at in range(0, len(request), 1400))
    assert run(world.request(*parts)).startswith(b"HTTP/1.1 413 ")
    assert world.asked == []


def test_who_waits_for_a_yes_before_the_body_gets_one() -> None:
    head = b"PUT / HTTP/1.1\r\nHost: a.example\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n"
    got = run(World().request(head, b"ab"))
    assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK")


def test_of_the_headers_those_pass_that_need_no_permission() -> None:
    world = World()
    run(
        world.request(
            b"GET / HTTP/1.1\r\nHost: a.example\r\nUser-Agent: x\r\nAccept: text/x\r\n"
            b"Range: bytes=1-\r\nCookie: a=b\r\nOrigin: http://b\r\nAuthorization: Basic x\r\n"
            b"X-Own: y\r\nCache-Control: z\r\n\r\n"
        )
    )
    assert world.asked[0][2] == {
        "accept": "text/x",
        "range": "bytes=1-",
        "authorization": "Basic x",
        "x-own": "y",
    }


def test_ports_names_and_proxies() -> None:
    world = World()
    name = world.address("other.example")
    run(world.request(b"GET / HTTP/1.0\r\n\r\n", target=name, port=8080))
    run(world.request(b"GET / HTTP/1.1\r\nHost: x.example:81\r\n\r\n", target=name, port=8080))
    run(world.request(b"GET http://y.example/a HTTP/1.1\r\nHost: z.example\r\n\r\n"))
    run(world.request(b"GET / HTTP/1.0\r\n\r\n", target=bytes((93, 184, 215, 14))))
    assert [url for _, url, _, _ in world.asked] == [
        "http://other.example:8080/",
        "http://x.example:81/",
        "http://y.example/a",
        "http://93.184.215.14/",
    ]


def test_names_have_no_address_of_ip_version_6() -> None:
    world = World()
    assert world.address("server.example", 28) is None
    assert world.address("server.example") == world.address("SERVER.example")


def test_a_server_that_cannot_be_asked() -> None:
    def answer(url: str) -> Answer:
        raise NetworkError("it is not there", hint="Look elsewhere.")

    world = World(answer)
    got = run(world.request(GET))
    assert got.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
    assert b"it is not there\nLook elsewhere." in got
    assert len(world.told) == 1


def test_an_answer_that_breaks_off_is_not_taken_for_all() -> None:
    answer = Answer(breaks=True)
    got = run(World(lambda url: answer).request(GET, end=False))
    assert got.endswith(b"[reset]")
    assert answer.closed


def test_a_guest_that_goes_away_ends_the_request() -> None:
    answer = Answer(parts=(bytes(100_000),) * 1000)
    world = World(lambda url: answer)

    async def scenario() -> None:
        peer = Peer(world.guest, target=(world.address("a.example") or b"", 80))
        peer.open()
        peer.send(ACK, GET)
        for _ in range(50):
            await asyncio.sleep(0)
        assert not answer.closed
        peer.send(RST)
        for _ in range(10):
            await asyncio.sleep(0)

    run(scenario())
    assert answer.closed
    assert world.guest.stack.connections == 0


# -- Attacks -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    NEARBY.split(),
)
def test_hosts_nearby(host: str) -> None:
    assert not is_public_host(host)
    world = World()
    # There is no IPv6.
    status = b"HTTP/1.1 400" if host.startswith("[") else b"HTTP/1.1 403"
    for authority in (host, f"{host}:80", f"{host}."):
        request = f"GET / HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n\r\n".encode()
        assert run(world.request(request)).startswith(status)
        through = f"GET http://{authority}/ HTTP/1.0\r\n\r\n".encode()
        assert run(world.request(through)).startswith(status)
    assert world.asked == []
    assert world.address(host) is None


@pytest.mark.parametrize("host", ["[::1]", "[2606:2800:220:1::1]", "[::ffff:1.2.3.4]"])
def test_there_is_no_ipv6(host: str) -> None:
    assert not is_public_host(host)


def test_hosts_of_the_internet() -> None:
    for host in ("example.com", "a.b.example", "1.1.1.1", "xn--bcher-kva.example", "1.example"):
        assert is_public_host(host), host


def test_connections_to_addresses_nearby() -> None:
    for address in ((10, 0, 0, 1), (127, 0, 0, 1), (192, 168, 127, 9), (192, 168, 127, 254)):
        world = World()
        Peer(world.guest, target=(bytes(address), 80)).send(SYN)
        (answer,) = world.guest.segments()
        assert answer.flags == RST | ACK, address


def test_where_hosts_nearby_are_allowed() -> None:
    world = World(private=True)
    assert world.address("host.containers.internal") == HOST
    run(world.request(b"GET / HTTP/1.0\r\n\r\n", target=HOST, port=8080))
    run(world.request(b"GET / HTTP/1.0\r\n\r\n", target=bytes((10, 0, 0, 1))))
    assert [url for _, url, _, _ in world.asked] == ["http://127.0.0.1:8080/", "http://10.0.0.1/"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET /\r\n\r\n", 400),
        (b"EHLO me\r\n\r\n", 400),
        (b"G(T / HTTP/1.1\r\n\r\n", 400),
        (b"GET /\x00 HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n folded: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a.example@10.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a.example/../b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a.example, 10.0.0.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: [::1]\r\n\r\n", 400),
        (b"GET http://u:p@a.example/ HTTP/1.1\r\n\r\n", 400),
        (b"GET http://a.example\\@10.0.0.1/ HTTP/1.1\r\n\r\n", 400),
        (b"GET file:///etc/passwd HTTP/1.1\r\n\r\n", 501),
        (b"GET ftp://a.example/ HTTP/1.1\r\n\r\n", 501),
        (b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", 501),
        (b"POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", 413),
        (b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nabc", 400),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", 413),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc\r\n", 400),
        (encoded(b"br", b"br"), 415),
        (encoded(b"no gzip"), 400),
        (encoded(GZIPPED[:-1]), 400),
        (encoded(GZIPPED + b"x"), 400),
        (b"GET / HTTP/1.1\r\nA: " + b"x" * (MAX_HTTP_HEAD + 1000), 431),
    ],
)
def test_requests_that_are_wrong(request_: bytes, status: int) -> None:
    world = World()
    parts = [request_[at : at + 1400] for at in range(0, len(request_), 1400)]
    got = run(world.request(*parts))
    assert got.startswith(b"HTTP/1.1 %d " % status)
    assert b"\r\nConnection: close\r\n" in got
    assert world.asked == []


def test_encrypted_connections_end_at_once_with_the_reason() -> None:
    world = World()
    assert run(world.request(b"\x16\x03\x01", port=443, end=False)) == b"[reset]"
    assert "HTTPS" in world.told[0]


def test_headers_of_an_answer_cannot_make_another_one() -> None:
    world = World(lambda url: Answer(headers=[("transfer-encoding", "x"), ("connection", "x")]))
    got = run(world.request(GET))
    assert got.count(b"\r\n\r\n") == 2
    assert b": x\r\n" not in got


def test_names_without_end() -> None:
    names = Names()
    first = names.address("0.example")
    for number in range(3 * MAX_NAMES):
        names.address(f"{number}.example")
    assert names.name(first) != "0.example"
    addresses = {names.address(f"{number}.example") for number in range(3 * MAX_NAMES)}
    assert len(addresses) == MAX_NAMES
    assert max(addresses) < parse("198.20.0.0")
    assert GATEWAY not in addresses


class Given:
    """What a client has sent, before it goes away."""

    def __init__(self, data: bytes) -> None:
        self.data = data

    async def read(self) -> bytes:
        data, self.data = self.data, b""
        return data

    async def write(self, data: bytes) -> None:
        raise AssertionError


def test_uploads_at_once_have_a_bound_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_HTTP_UPLOADS", 1000)
    uploads = Uploads()

    async def upload(size: int) -> RequestReader:
        head = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: %d\r\n\r\n" % size
        reader = RequestReader(Given(head + bytes(size)), uploads=uploads)
        request = await reader.request()
        assert request is not None
        assert await reader.body(request) == bytes(size)
        return reader

    async def scenario() -> None:
        first = await upload(600)
        second = await upload(400)
        with pytest.raises(InvalidMessage) as refused:
            await upload(1)
        assert refused.value.status == 503
        second.forget()
        second.forget()
        assert uploads.size == 600
        await upload(400)
        first.forget()
        assert uploads.size == 400

    run(scenario())


def test_requests_that_are_answered_are_uploads_no_more() -> None:
    world = World()
    post = b"POST / HTTP/1.1\r\nHost: a.example\r\nContent-Length: 100\r\n\r\n" + bytes(100)
    for end in (b"", b"POST / HTTP/1.1\r\n", b"POST"):
        run(world.request(post, post, end))
        assert world.gateway.uploading == 0
    assert len(world.asked) == 6
