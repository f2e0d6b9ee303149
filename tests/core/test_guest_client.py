"""Requests to web servers in the guest, which the test plays."""

from __future__ import annotations

import asyncio

import pytest

from browsermount.errors import NetworkError
from browsermount.network.client import request

from .guest_network import ACK, FIN, RST, SYN, Guest, Peer
from .loop import run

LOOPBACK = bytes((127, 0, 0, 1))


async def exchange(
    answer: bytes, method: str = "GET", target: str = "/", **fields: object
) -> tuple[bytes, int, list[tuple[str, str]], bytes]:
    """Send a request to a server that answers so, and return what it got and what came back."""
    guest = Guest()
    work = asyncio.ensure_future(
        request(guest.stack, 8000, method, target, **fields)  # type: ignore[arg-type]
    )
    await asyncio.sleep(0)
    if work.done():
        work.result()
    (syn,) = guest.segments()
    assert syn.target == (LOOPBACK, 8000)
    peer = Peer(guest, port=8000, target=syn.source, ack=syn.seq + 1, source=LOOPBACK)
    peer.send(SYN | ACK)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    got = peer.receive([segment for segment in guest.segments() if segment.data])
    for at in range(0, len(answer), 7):
        peer.send(ACK, answer[at : at + 7])
        await asyncio.sleep(0)
    peer.send(FIN | ACK)
    result = await work
    body = b"".join([chunk async for chunk in result.chunks()])
    for segment in guest.segments():
        peer.receive([segment])
    peer.send(ACK)
    assert guest.stack.connections == 0
    return got, result.head.status, list(result.head.headers), body


def test_a_request_and_its_answer() -> None:
    answer = b"HTTP/1.1 201 Created\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello"
    headers = [("X-Own", "1"), ("Host", "evil"), ("Content-Length", "99")]
    got = run(exchange(answer, "POST", "/a?b=c", headers=headers, body=b"body"))
    assert got == (
        b"POST /a?b=c HTTP/1.1\r\nhost: localhost:8000\r\nconnection: close\r\nX-Own: 1\r\n"
        b"content-length: 4\r\n\r\nbody",
        201,
        [("content-length", "5"), ("x-a", "b")],
        b"hello",
    )


@pytest.mark.parametrize(
    ("answer", "body"),
    [
        (b"HTTP/1.0 200 OK\r\n\r\nuntil the end", b"until the end"),
        (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nokmore", b"ok"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n",
            b"abcde",
        ),
        (b"HTTP/1.1 204\r\nContent-Length: 5\r\n\r\n", b""),
    ],
)
def test_where_an_answer_ends(answer: bytes, body: bytes) -> None:
    assert run(exchange(answer))[3] == body


def test_an_answer_to_head_has_no_body() -> None:
    answer = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    assert run(exchange(answer, "HEAD"))[3] == b""


def test_where_nobody_listens_the_other_address_is_tried() -> None:
    async def scenario() -> None:
        guest = Guest()
        work = asyncio.ensure_future(request(guest.stack, 8000, "GET", "/"))
        for address in (LOOPBACK, bytes((192, 168, 127, 3))):
            await asyncio.sleep(0)
            (syn,) = guest.segments()
            assert syn.target[0] == address
            peer = Peer(guest, port=8000, target=syn.source, ack=syn.seq + 1, source=address)
            peer.send(RST | ACK)
            await asyncio.sleep(0)
        await work

    with pytest.raises(NetworkError, match="listens at port 8000"):
        run(scenario())


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-x\r\n\r\n",
        b"HTTP/1.1 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -9\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
    ],
)
def test_answers_that_are_none(answer: bytes) -> None:
    with pytest.raises(NetworkError):
        run(exchange(answer))


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/\0"])
def test_a_target_with_another_request_in_it(target: str) -> None:
    with pytest.raises(NetworkError, match="single lines"):
        run(exchange(b"", target=target))


def test_an_answer_that_is_announced_without_end() -> None:
    announced = b"HTTP/1.1 103 Early Hints\r\n\r\n"
    final = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
    assert run(exchange(announced * 99 + final))[1] == 200
    with pytest.raises(NetworkError, match="without end"):
        run(exchange(announced * 100 + final))
