"""WebSockets: frames of servers, and what these may not send."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import random
import re
import struct
from contextlib import suppress

import pytest

from browsermount import limits
from browsermount.network.http1 import Response
from browsermount.network.websocket import (
    ABNORMAL,
    INVALID_DATA,
    NO_STATUS,
    PROTOCOL_ERROR,
    TOO_BIG,
    Close,
    Event,
    FrameReader,
    Opcode,
    Ping,
    WebSocketError,
    check_handshake,
    close_frame,
    frame,
    handshake,
    masked,
)
from browsermount.network.websocket_client import WebSocketFailure, connect

from .guest_network import ACK, FIN, PSH, RST, SYN, Guest, Peer
from .loop import run

LOOPBACK = bytes((127, 0, 0, 1))
KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # that of section 1.3
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
AGREED = (("upgrade", "WebSocket"), ("connection", "keep-alive, Upgrade"))


def served(opcode: int, payload: bytes = b"", *, final: bool = True) -> bytes:
    """A frame as a server sends it."""
    size = len(payload)
    if size < 126:
        length = bytes((size,))
    else:
        length = struct.pack("!BH", 126, size) if size < 1 << 16 else struct.pack("!BQ", 127, size)
    return bytes(((0x80 if final else 0) | opcode,)) + length + payload


def read(data: bytes, step: int = 1 << 20) -> list[Event]:
    reader = FrameReader()
    events: list[Event] = []
    for at in range(0, len(data), step):
        events += reader.feed(data[at : at + step])
    return events


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_messages(step: int) -> None:
    text = "grüße 😀"
    large = random.Random(3).randbytes(70_000)
    data = (
        served(1, text.encode())
        + served(2, b"\0\xff")
        + served(1)
        + served(9, b"are you there")
        + served(2, b"a" * 126)
        + served(2, large)
        + served(10, b"nobody has asked")
        # In parts, of which one ends within a character, with a ping between them
        + served(1, b"\xc3", final=False)
        + served(9, b"")
        + served(0, b"\xa4", final=False)
        + served(0)
        + served(8, b"\x03\xe8bye")
    )
    assert read(data, step) == [
        text,
        b"\0\xff",
        "",
        Ping(b"are you there"),
        b"a" * 126,
        large,
        Ping(b""),
        "ä",
        Close(1000, "bye"),
    ]
    assert read(served(8)) == [Close(NO_STATUS)]


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x81\x81\0\0\0\0x", PROTOCOL_ERROR),  # masked
        (b"\xc1\x01x", PROTOCOL_ERROR),  # compressed
        (b"\x83\x00", PROTOCOL_ERROR),
        (b"\x8b\x00", PROTOCOL_ERROR),
        (served(0, b"x"), PROTOCOL_ERROR),  # the middle of nothing
        (served(1, b"x", final=False) + served(1, b"x"), PROTOCOL_ERROR),
        (served(9, bytes(126)), PROTOCOL_ERROR),
        (served(9, b"", final=False), PROTOCOL_ERROR),
        (b"\x82\x7e\x00\x01x", PROTOCOL_ERROR),  # a length that is longer than it has to be
        (b"\x82\x7f" + (5).to_bytes(8, "big"), PROTOCOL_ERROR),
        (served(8, b"\x03"), PROTOCOL_ERROR),
        *((served(8, code.to_bytes(2, "big")), PROTOCOL_ERROR) for code in (0, 999, 1005, 1006)),
        *((served(8, code.to_bytes(2, "big")), PROTOCOL_ERROR) for code in (1015, 2000, 5000)),
        (served(1, b"\xff"), INVALID_DATA),
        (served(1, b"\xc3"), INVALID_DATA),
        (served(8, b"\x03\xe8\xff"), INVALID_DATA),
        (b"\x82\x7f" + b"\xff" * 8, TOO_BIG),
    ],
)
def test_what_servers_may_not_send(data: bytes, code: int) -> None:
    with pytest.raises(WebSocketError) as error:
        read(data)
    assert error.value.code == code


def test_a_message_is_bounded_in_all_its_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_WEBSOCKET_MESSAGE", 1000)
    assert read(served(2, bytes(500), final=False) + served(0, bytes(500))) == [bytes(1000)]
    with pytest.raises(WebSocketError) as error:
        read(served(2, bytes(500), final=False) + served(0, bytes(501)))
    assert error.value.code == TOO_BIG


def test_whatever_comes_nothing_else_is_raised() -> None:
    random_ = random.Random(5)
    for _ in range(3000):
        data = bytearray(served(random_.choice((0, 1, 2, 8, 9, 10)), random_.randbytes(9)) * 3)
        data[random_.randrange(len(data))] = random_.randrange(256)
        with suppress(WebSocketError):
            read(bytes(data), random_.randrange(1, 9))


@pytest.mark.parametrize("size", [0, 1, 5, 125, 126, 65535, 65536])
def test_what_is_sent_is_masked(size: int) -> None:
    payload = random.Random(size).randbytes(size)
    made = frame(Opcode.BINARY, payload, mask=lambda: b"\1\2\3\4")
    assert made[0] == 0x82
    assert made[1] & 0x80
    start = 2 + {126: 2, 127: 8}.get(made[1] & 0x7F, 0)
    assert made[start : start + 4] == b"\1\2\3\4"
    assert bytes(it ^ (at % 4 + 1) for at, it in enumerate(made[start + 4 :])) == payload
    assert masked(masked(payload, b"abcd"), b"abcd") == payload
    assert frame(Opcode.PING)[2:6] != frame(Opcode.PING)[2:6] or size  # by chance


def test_closes() -> None:
    assert close_frame(Close(NO_STATUS))[:2] == b"\x88\x80"
    made = close_frame(Close(4001, "ü"))
    assert masked(made[6:], made[2:6]) == b"\x0f\xa1\xc3\xbc"


def test_a_handshake() -> None:
    asked = handshake("localhost:80", "/chat?x", KEY, ["a", "b"]).decode()
    assert asked.startswith("GET /chat?x HTTP/1.1\r\nHost: localhost:80\r\n")
    assert asked.endswith("\r\n\r\n")
    for line in ("Upgrade: websocket", "Sec-WebSocket-Version: 13", f"Sec-WebSocket-Key: {KEY}"):
        assert f"\r\n{line}\r\n" in asked
    assert "\r\nSec-WebSocket-Protocol: a, b\r\n" in asked
    headers = (*AGREED, ("sec-websocket-accept", ACCEPT))
    assert check_handshake(Response(101, headers), KEY, []) == ""
    chosen = (*headers, ("sec-websocket-protocol", "b"))
    assert check_handshake(Response(101, chosen), KEY, ["a", "b"]) == "b"


@pytest.mark.parametrize(
    ("status", "headers"),
    [
        (200, (*AGREED, ("sec-websocket-accept", ACCEPT))),
        (101, AGREED),
        (101, (*AGREED, ("sec-websocket-accept", ACCEPT[::-1]))),
        (101, (AGREED[0], ("sec-websocket-accept", ACCEPT))),
        (101, (("upgrade", "h2c"), AGREED[1], ("sec-websocket-accept", ACCEPT))),
        (101, (*AGREED, ("sec-websocket-accept", ACCEPT), ("sec-websocket-protocol", "c"))),
        (101, (*AGREED, ("sec-websocket-accept", ACCEPT), ("sec-websocket-extensions", "x"))),
    ],
)
def test_answers_that_agree_to_nothing(status: int, headers: tuple[tuple[str, str], ...]) -> None:
    with pytest.raises(WebSocketError):
        check_handshake(Response(status, headers), KEY, ["a", "b"])


async def served_by(answer: bytes, behind: bytes = b"") -> tuple[object, Guest, Peer]:
    """Connect to a server in the guest; ACCEPT in its answer is made to fit."""
    guest = Guest()
    work = asyncio.ensure_future(connect(guest.stack, 8000, "/ws", ["a"]))
    await asyncio.sleep(0)
    (syn,) = guest.segments()
    peer = Peer(guest, port=8000, target=syn.source, ack=syn.seq + 1, source=LOOPBACK)
    peer.send(SYN | ACK)
    for _ in range(3):
        await asyncio.sleep(0)
    asked = peer.receive([it for it in guest.segments() if it.data]).decode()
    found = re.search("Sec-WebSocket-Key: (.*)\r\n", asked)
    assert found
    digest = hashlib.sha1((found[1] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
    peer.send(PSH | ACK, answer.replace(b"ACCEPT", base64.b64encode(digest)) + behind)
    try:
        return await work, guest, peer
    except WebSocketFailure as error:
        return error, guest, peer


YES = (
    b"HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Protocol: a\r\nSec-WebSocket-Accept: ACCEPT\r\n\r\n"
)


def test_a_server_in_the_guest() -> None:
    async def test() -> None:
        # It may say something at once.
        made, guest, peer = await served_by(YES, served(1, b"welcome") + served(9, b"?"))
        assert isinstance(made, tuple)
        socket, stream = made
        assert socket.protocol == "a"
        assert await socket.receive() == "welcome"
        peer.send(PSH | ACK, served(8, b"\x03\xe9"))
        assert await socket.receive() == Close(1001)
        sent = peer.receive([it for it in guest.segments() if it.data])
        # A pong, and the close frame back
        assert (sent[:2], masked(sent[6:7], sent[2:6])) == (b"\x8a\x81", b"?")
        assert (sent[7:9], masked(sent[13:15], sent[9:13])) == (b"\x88\x82", b"\x03\xe9")
        stream.close()
        peer.send(FIN | ACK)
        peer.receive(guest.segments())

    run(test())


def test_a_server_that_breaks_off_or_speaks_nonsense() -> None:
    async def test() -> None:
        made, _, peer = await served_by(YES)
        assert isinstance(made, tuple)
        peer.send(RST | ACK)
        assert await made[0].receive() == Close(ABNORMAL)
        made, guest, peer = await served_by(YES, served(1, b"first") + b"\xff\xff")
        assert isinstance(made, tuple)
        assert await made[0].receive() == "first"
        end = await made[0].receive()
        assert isinstance(end, Close)
        assert end.code == ABNORMAL
        sent = peer.receive([it for it in guest.segments() if it.data])
        assert masked(sent[6:8], sent[2:6]) == b"\x03\xea"

    run(test())


@pytest.mark.parametrize("answer", [b"HTTP/1.1 404 No\r\n\r\n", b"SSH-2.0-x\r\n\r\n"])
def test_servers_without_one(answer: bytes) -> None:
    async def test() -> None:
        made, guest, _ = await served_by(answer)
        assert "has no WebSocket" in str(made)
        assert guest.stack.connections == 0

    run(test())


@pytest.mark.parametrize("target", ["/a b", "/a\r\nX: y", "/ü", ""])
def test_addresses_that_would_say_something_else(target: str) -> None:
    async def test() -> None:
        with pytest.raises(WebSocketFailure):
            await connect(Guest().stack, 80, f"/{target}", ["a"] if target else ["a\r\nX: y"])

    run(test())
