"""WebSockets (RFC 6455), as a client speaks them: no extensions, no I/O."""

from __future__ import annotations

import base64
import hashlib
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum

from browsermount import limits
from browsermount.network.http1 import Response

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_CONTROL = 125
_PAYLOAD_16 = 126
_PAYLOAD_64 = 127
_FINAL = 0x80
_MASKED = 0x80
_RESERVED = 0x70

NORMAL = 1000
GOING_AWAY = 1001
PROTOCOL_ERROR = 1002
NO_STATUS = 1005
"""Stands for a close frame without a code."""
ABNORMAL = 1006
"""Stands for a connection that has ended without a close frame."""
INVALID_DATA = 1007
TOO_BIG = 1009


_CODES = (range(1000, 1004), range(1007, 1015), range(3000, 5000))
"""Those that a frame may have (section 7.4, and what is registered since)."""


class Opcode(IntEnum):
    """What a frame is (section 5.2)."""

    CONTINUATION = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class WebSocketError(Exception):
    """The server does not speak the protocol.

    Args:
        message: What is wrong.
        code: The code with which the connection is closed.
    """

    def __init__(self, message: str, code: int = PROTOCOL_ERROR) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True, slots=True)
class Close:
    """What a close frame says.

    Attributes:
        code: Why; :data:`NO_STATUS` where it does not say.
        reason: The same for people; may be empty.
    """

    code: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ping:
    """What is to be answered with a pong of the same payload."""

    payload: bytes


Event = str | bytes | Ping | Close


def new_key() -> str:
    """Return a key for a handshake (section 4.1)."""
    return base64.b64encode(os.urandom(16)).decode()


def handshake(host: str, target: str, key: str, protocols: Sequence[str]) -> bytes:
    """Return the request that asks for a WebSocket.

    Args:
        host: The server, with the port.
        target: The path, with the query.
        key: See :func:`new_key`.
        protocols: The subprotocols that the client speaks, the best one first.
    """
    lines = [
        f"GET {target} HTTP/1.1",
        f"Host: {host}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        f"Sec-WebSocket-Key: {key}",
        "Sec-WebSocket-Version: 13",
        # As a page of this server's would say it: who checks it means pages of other servers.
        f"Origin: http://{host}",
    ]
    if protocols:
        lines.append(f"Sec-WebSocket-Protocol: {', '.join(protocols)}")
    return "".join(f"{line}\r\n" for line in (*lines, "")).encode("latin-1")


def check_handshake(response: Response, key: str, protocols: Sequence[str]) -> str:
    """Return the subprotocol that a server has chosen; empty where it has chosen none.

    Raises:
        WebSocketError: It has not agreed to speak the protocol (section 4.1).
    """
    if response.status != 101:
        raise WebSocketError(f"it has answered with status {response.status}")
    tokens = [it.strip().lower() for it in response.header("connection").split(",")]
    if response.header("upgrade").strip().lower() != "websocket" or "upgrade" not in tokens:
        raise WebSocketError("it wants to speak another protocol")
    expected = base64.b64encode(hashlib.sha1(key.encode() + _GUID).digest()).decode()
    if response.header("sec-websocket-accept") != expected:
        raise WebSocketError("it has answered another request than ours")
    if response.header("sec-websocket-extensions"):
        raise WebSocketError("it uses an extension that it was not asked for")
    protocol = response.header("sec-websocket-protocol")
    if protocol and protocol not in protocols:
        raise WebSocketError("it has chosen a subprotocol that it was not asked for")
    return protocol


def frame(
    opcode: Opcode,
    payload: bytes = b"",
    *,
    mask: Callable[[], bytes] = lambda: os.urandom(4),
) -> bytes:
    """Return a whole message, or a control frame, as a client sends it (section 5.3).

    Args:
        opcode: What it is.
        payload: Its bytes; of control frames 125 at most.
        mask: Gives four random bytes.
    """
    size = len(payload)
    if size <= _MAX_CONTROL:
        head = struct.pack("!BB", _FINAL | opcode, _MASKED | size)
    elif size < 1 << 16:
        head = struct.pack("!BBH", _FINAL | opcode, _MASKED | _PAYLOAD_16, size)
    else:
        head = struct.pack("!BBQ", _FINAL | opcode, _MASKED | _PAYLOAD_64, size)
    key = mask()
    return head + key + masked(payload, key)


def masked(payload: bytes, key: bytes) -> bytes:
    """Return bytes with a mask put on, or taken off."""
    size = len(payload)
    pattern = int.from_bytes((key * (size // 4 + 1))[:size], "big")
    return (int.from_bytes(payload, "big") ^ pattern).to_bytes(size, "big")


def close_frame(close: Close) -> bytes:
    """Return a close frame; :data:`NO_STATUS` makes one without a code."""
    if close.code == NO_STATUS:
        return frame(Opcode.CLOSE)
    return frame(Opcode.CLOSE, struct.pack("!H", close.code) + close.reason.encode())


class FrameReader:
    """Makes messages of what a server sends."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._parts: list[bytes] = []
        self._size = 0
        self._kind: Opcode | None = None

    def feed(self, data: bytes) -> Iterator[Event]:
        """Take bytes and iterate over what is complete with them: text, bytes, pings and closes.

        Raises:
            WebSocketError: They are none of the protocol's, or a message is too large.
        """
        self._buffer += data
        while (found := self._frame()) is not None:
            final, opcode, payload = found
            if opcode >= Opcode.CLOSE:
                if event := _control(opcode, payload):
                    yield event
            elif (message := self._message(final, opcode, payload)) is not None:
                yield message

    def _frame(self) -> tuple[bool, Opcode, bytes] | None:
        """Take the next frame, if all of it is there."""
        if len(self._buffer) < 2:
            return None
        first, second = self._buffer[:2]
        final = bool(first & _FINAL)
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise WebSocketError("it has sent a frame of an unknown kind") from None
        if first & _RESERVED:
            raise WebSocketError("it uses an extension that it was not asked for")
        if second & _MASKED:
            raise WebSocketError("it has sent a frame as only clients do")
        size = second
        start = 2
        if opcode >= Opcode.CLOSE and (size > _MAX_CONTROL or not final):
            raise WebSocketError("it has sent a control frame that is too long")
        if size > _MAX_CONTROL:
            start += 2 if size == _PAYLOAD_16 else 8
            if len(self._buffer) < start:
                return None
            size = int.from_bytes(self._buffer[2:start], "big")
            if size < (_PAYLOAD_16 if start == 4 else 1 << 16):
                raise WebSocketError("it has sent a frame with an odd length")
        if opcode < Opcode.CLOSE and size + self._size > limits.MAX_WEBSOCKET_MESSAGE:
            raise WebSocketError("it has sent a message that is too large", TOO_BIG)
        if len(self._buffer) < start + size:
            return None
        payload = bytes(memoryview(self._buffer)[start : start + size])
        del self._buffer[: start + size]
        return final, opcode, payload

    def _message(self, final: bool, opcode: Opcode, payload: bytes) -> str | bytes | None:
        """Take a part of a message, and return that if it is the last one (section 5.4)."""
        if (opcode is Opcode.CONTINUATION) == (self._kind is None):
            raise WebSocketError("it has mixed the parts of two messages")
        if self._kind is None:
            self._kind = opcode
        # A list of very many empty parts would take memory, too.
        if payload:
            self._parts.append(payload)
            self._size += len(payload)
        if not final:
            return None
        whole = b"".join(self._parts)
        kind, self._kind = self._kind, None
        self._parts.clear()
        self._size = 0
        return _text(whole) if kind is Opcode.TEXT else whole


def _control(opcode: Opcode, payload: bytes) -> Ping | Close | None:
    if opcode is Opcode.PING:
        return Ping(payload)
    if opcode is Opcode.PONG:
        return None
    if not payload:
        return Close(NO_STATUS)
    code = int.from_bytes(payload[:2], "big")
    if len(payload) < 2 or not any(code in codes for codes in _CODES):
        raise WebSocketError("it has closed the connection with an odd code")
    return Close(code, _text(payload[2:]))


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise WebSocketError("it has sent text that is not UTF-8", INVALID_DATA) from None
