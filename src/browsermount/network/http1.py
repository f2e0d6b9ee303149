"""HTTP 1 (RFC 9112): requests of the container's clients, and answers of its servers."""

from __future__ import annotations

import re
import zlib
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from browsermount import limits
from browsermount.limits import MAX_HTTP_BODY, MAX_HTTP_HEAD
from browsermount.network.stream import ByteStream

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_TARGET = re.compile(r"[!-~]+")
_VERSION = re.compile(r"HTTP/1\.[01]")
_CHUNK_SIZE = re.compile(rb"[0-9A-Fa-f]{1,8}")
_NUMBER = re.compile(r"[0-9]{1,15}")
_STATUS_LINE = re.compile(r"HTTP/1\.[01] (?P<status>[1-9][0-9]{2})( .*)?")
_MAX_CHUNK_LINE = 1024
_MAX_GATHERED = 32 << 10
_PIECE = 256 << 10
_MAX_INTERIM = 100
"""Answers that only announce another one (RFC 9110, section 15.2)."""

# They are about the connection, and not about what is sent in it (RFC 9110, section 7.6.1), or
# about bytes that the browser has decoded already.
_NOT_PASSED_ON = frozenset(
    ("connection", "keep-alive", "proxy-connection", "transfer-encoding", "upgrade", "trailer")
) | {"content-encoding", "content-length"}
# Of those that people see; a status line is complete without (RFC 9112, section 4).
_PHRASES = {
    200: "OK",
    201: "Created",
    204: "No Content",
    206: "Partial Content",
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    413: "Content Too Large",
    415: "Unsupported Media Type",
    429: "Too Many Requests",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    502: "Bad Gateway",
    503: "Service Unavailable",
    505: "HTTP Version Not Supported",
}
_WITHOUT_BODY = frozenset((204, 205, 304))


class InvalidMessage(Exception):
    """A message that cannot be understood, or a request that cannot be carried out.

    Args:
        status: The status code for the client.
        reason: One line for a person.
    """

    def __init__(self, status: int, reason: str) -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Request:
    """A request without its body.

    Attributes:
        method: In capital letters, as it came.
        target: A path with a query, or a URL.
        version: ``HTTP/1.1`` or ``HTTP/1.0``.
        headers: Names in small letters, and values, as they came.
    """

    method: str
    target: str
    version: str
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str:
        """Return the values of a header, joined; empty where there is none."""
        return ", ".join(value for key, value in self.headers if key == name)

    @property
    def keeps_alive(self) -> bool:
        """Whether the client will send another request on the connection."""
        options = {option.strip().lower() for option in self.header("connection").split(",")}
        return "close" not in options and self.version == "HTTP/1.1"


class _Reader:
    """Reads a connection by parts that have an end of their own.

    Args:
        stream: The connection.
        begun: What was read of it already.
    """

    def __init__(self, stream: ByteStream, begun: bytes = b"") -> None:
        self._stream = stream
        self._buffer = bytearray(begun)

    async def _until(self, mark: bytes, limit: int, status: int = 400) -> bytes:
        """Return all up to a mark, and the mark; ``status`` is for what is longer."""
        start = 0
        while (at := self._buffer.find(mark, start)) < 0:
            start = max(0, len(self._buffer) - len(mark) + 1)
            if len(self._buffer) > limit:
                raise InvalidMessage(status, "the headers are too long")
            if not await self._more():
                raise InvalidMessage(400, "the message ends before its end")
        return self._take(at + len(mark))

    async def _more(self) -> bool:
        data = await self._stream.read()
        self._buffer += data
        return bool(data)

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return data

    async def _chunk_size(self) -> int:
        """Return how long the next chunk is; 0 is the last one (section 7.1)."""
        line = (await self._until(b"\r\n", _MAX_CHUNK_LINE))[:-2]
        digits = line.split(b";")[0].strip()
        if not _CHUNK_SIZE.fullmatch(digits):
            raise InvalidMessage(400, "a chunk of the body has no length")
        return int(digits, 16)

    async def _end_chunk(self) -> None:
        if await self._until(b"\r\n", 2) != b"\r\n":
            raise InvalidMessage(400, "a chunk of the body has another length")

    async def _trailers(self) -> None:
        for _ in range(_MAX_CHUNK_LINE):
            if await self._until(b"\r\n", MAX_HTTP_HEAD, 431) == b"\r\n":
                break


class Uploads:
    """How much of requests' bodies is held by all connections of a container.

    Attributes:
        size: In bytes.
    """

    def __init__(self) -> None:
        self.size = 0

    def add(self, size: int) -> None:
        """Count bytes that are going to be held.

        Raises:
            InvalidMessage: Those are too many.
        """
        if self.size + size > limits.MAX_HTTP_UPLOADS:
            raise InvalidMessage(503, "other uploads are under way: try again when they have ended")
        self.size += size

    def remove(self, size: int) -> None:
        """Count bytes that are held no more."""
        self.size -= size


class RequestReader(_Reader):
    """Reads requests from a connection, one after the other.

    Args:
        stream: The connection.
        begun: What was read of it already.
        uploads: What other connections hold.
    """

    def __init__(
        self, stream: ByteStream, begun: bytes = b"", uploads: Uploads | None = None
    ) -> None:
        super().__init__(stream, begun)
        self._uploads = uploads or Uploads()
        self._counted = 0

    def forget(self) -> None:
        """Take note that the last body is of no use any more."""
        self._uploads.remove(self._counted)
        self._counted = 0

    async def request(self) -> Request | None:
        """Return the next request; None where the client sends no more.

        Raises:
            InvalidMessage: It is not one of HTTP 1.
        """
        head = b"\r\n"
        while head == b"\r\n":  # clients of old send one behind a body (section 2.2)
            if not self._buffer and not await self._more():
                return None
            if self._buffer.startswith(b"\r\n"):
                del self._buffer[:2]
                continue
            head = await self._until(b"\r\n\r\n", MAX_HTTP_HEAD, 431)
        first, *lines = head[:-4].decode("latin-1").split("\r\n")
        method, _, rest = first.partition(" ")
        target, _, version = rest.partition(" ")
        known = version.startswith("HTTP/")
        if not known or not _TOKEN.fullmatch(method) or not _TARGET.fullmatch(target):
            raise InvalidMessage(400, "this is not a request of HTTP")
        if not _VERSION.fullmatch(version):
            raise InvalidMessage(505, "only HTTP 1.0 and 1.1 are understood here")
        return Request(method, target, version, tuple(map(_header, lines)))

    async def body(self, request: Request) -> bytes:
        """Return a request's body; empty where it has none.

        What is encoded (RFC 9110, section 8.4) is decoded: a page cannot tell a server about it
        without asking for permission first. Git encodes what it asks for.

        Raises:
            InvalidMessage: Its length is not clear, or too much, or the coding is unknown.
        """
        data = await self._encoded(request)
        coding = request.header("content-encoding").lower()
        if not data or coding in {"", "identity"}:
            return data
        if coding not in {"gzip", "x-gzip"}:
            raise InvalidMessage(415, "the request's body has a coding that is not known here")
        return self._decode(data)

    async def _encoded(self, request: Request) -> bytes:
        coding = request.header("transfer-encoding").lower()
        length = request.header("content-length")
        if coding:
            if coding != "chunked" or length:
                raise InvalidMessage(400, "the length of the request's body is not clear")
            return await self._chunks()
        if not length:
            return b""
        if not _NUMBER.fullmatch(length):
            raise InvalidMessage(400, "the length of the request's body is not clear")
        return await self._exactly(int(length), 0)

    def _decode(self, data: bytes) -> bytes:
        """Undo gzip (RFC 1952), of one member as clients make it."""
        decoder = zlib.decompressobj(wbits=16 + zlib.MAX_WBITS)
        parts = []
        size = 0
        view = memoryview(data)
        for at in range(0, len(data), _PIECE):
            rest = bytes(view[at : at + _PIECE])
            while rest and not decoder.eof:
                try:
                    part = decoder.decompress(rest, _PIECE)
                except zlib.error:
                    raise InvalidMessage(400, "the request's body is not in gzip's form") from None
                self._count(len(part), size)
                parts.append(part)
                size += len(part)
                rest = decoder.unconsumed_tail
        if not decoder.eof or decoder.unused_data:
            raise InvalidMessage(400, "the request's body is not in gzip's form")
        return b"".join(parts)

    async def _chunks(self) -> bytes:
        parts = []
        size = 0
        while length := await self._chunk_size():
            parts.append(await self._exactly(length, size))
            size += length
            await self._end_chunk()
        await self._trailers()
        return b"".join(parts)

    async def _exactly(self, size: int, before: int) -> bytes:
        self._count(size, before)
        while len(self._buffer) < size:
            if not await self._more():
                raise InvalidMessage(400, "the message ends before its end")
        return self._take(size)

    def _count(self, size: int, before: int) -> None:
        """Take note that a body has more bytes than before."""
        if size + before > MAX_HTTP_BODY:
            limit = MAX_HTTP_BODY >> 20
            raise InvalidMessage(413, f"a browser can send {limit} MiB from here at most")
        self._uploads.add(size)
        self._counted += size


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name):
        raise InvalidMessage(400, "there is a header without a name")
    return name.lower(), value.strip(" \t")


@dataclass(frozen=True, slots=True)
class Response:
    """A response without its body.

    Attributes:
        status: The status code.
        headers: Names in small letters, and values, as they came.
    """

    status: int
    headers: tuple[tuple[str, str], ...]

    def header(self, name: str) -> str:
        """Return the values of a header, joined; empty where there is none."""
        return ", ".join(value for key, value in self.headers if key == name)


class ResponseReader(_Reader):
    """Reads the response to one request, after which the connection ends.

    Args:
        stream: The connection.
        method: The request's.
    """

    def __init__(self, stream: ByteStream, method: str) -> None:
        super().__init__(stream)
        self._method = method

    def rest(self) -> bytes:
        """Return what has come and belongs to no message of HTTP, as another protocol begins."""
        return self._take(len(self._buffer))

    async def head(self, *, upgrade: bool = False) -> Response:
        """Return the response, once its headers are there.

        Args:
            upgrade: Whether another protocol was asked for: 101 then is a response.

        Raises:
            InvalidMessage: It is none.
        """
        for _ in range(_MAX_INTERIM):
            head = await self._until(b"\r\n\r\n", MAX_HTTP_HEAD)
            first, *lines = head[:-4].decode("latin-1").split("\r\n")
            found = _STATUS_LINE.fullmatch(first)
            if not found:
                raise InvalidMessage(502, "the answer is not one of HTTP")
            status = int(found["status"])
            if status >= 200 or (upgrade and status == 101):
                return Response(status, tuple(map(_header, lines)))
            if status == 101:
                raise InvalidMessage(502, "the server wants to speak another protocol")
        raise InvalidMessage(502, "the server says without end that an answer will come")

    async def parts(self, response: Response) -> AsyncIterator[bytes]:
        """Iterate over the body as it comes (section 6.3).

        Raises:
            InvalidMessage: It ends before its end.
        """
        if self._method == "HEAD" or response.status in _WITHOUT_BODY:
            return
        if response.header("transfer-encoding").lower() == "chunked":
            while length := await self._chunk_size():
                async for part in self._some(length):
                    yield part
                await self._end_chunk()
            await self._trailers()
        elif length_text := response.header("content-length"):
            if not _NUMBER.fullmatch(length_text):
                raise InvalidMessage(502, "the length of the body is not clear")
            async for part in self._some(int(length_text)):
                yield part
        else:
            while self._buffer or await self._more():
                yield self._take(len(self._buffer))

    async def _some(self, length: int) -> AsyncIterator[bytes]:
        while length:
            if not self._buffer and not await self._more():
                raise InvalidMessage(502, "the message ends before its end")
            part = self._take(min(length, len(self._buffer)))
            length -= len(part)
            yield part


class ResponseWriter:
    """Writes one response.

    Small parts are gathered: each that is sent alone costs the container's kernel as much as one of
    many kilobytes.

    Args:
        stream: The connection.
        request: What is answered.
    """

    def __init__(self, stream: ByteStream, request: Request) -> None:
        self._stream = stream
        self._request = request
        self._chunked = request.version == "HTTP/1.1"
        self._has_body = True
        self._gathered = bytearray()

    @property
    def gathers(self) -> bool:
        """Whether something has not been sent yet, so that :meth:`flush` would send it."""
        return bool(self._gathered)

    async def head(self, status: int, headers: Iterable[tuple[str, str]]) -> None:
        """Write the status and the headers, but for those that are about the connection.

        The length is left out, too: the one that the server gave may be of encoded bytes.
        """
        given = [(name.lower(), value) for name, value in headers]
        lines = [f"HTTP/1.1 {status} {_phrase(status)}"]
        lines += [f"{name}: {value}" for name, value in given if name not in _NOT_PASSED_ON]
        self._has_body = self._request.method != "HEAD" and status not in _WITHOUT_BODY
        if self._has_body and self._chunked:
            lines.append("Transfer-Encoding: chunked")
        elif self._request.method == "HEAD" and not dict(given).get("content-encoding"):
            lines += [f"{name}: {value}" for name, value in given if name == "content-length"]
        if not self._request.keeps_alive:
            lines.append("Connection: close")
        text = "".join(f"{line}\r\n" for line in lines) + "\r\n"
        await self._write(text.encode("latin-1", "replace"))

    async def part(self, data: bytes) -> None:
        """Write some of the body."""
        if not data or not self._has_body:
            return
        if self._chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        await self._write(data)

    async def end(self) -> None:
        """Write what ends the body, and send all."""
        if self._has_body and self._chunked:
            await self._write(b"0\r\n\r\n")
        await self.flush()

    async def flush(self) -> None:
        """Send what was written."""
        if self._gathered:
            data = bytes(self._gathered)
            self._gathered.clear()
            await self._stream.write(data)

    async def _write(self, data: bytes) -> None:
        if not self._gathered and len(data) >= _MAX_GATHERED:
            await self._stream.write(data)
            return
        self._gathered += data
        if len(self._gathered) >= _MAX_GATHERED:
            await self.flush()


def _phrase(status: int) -> str:
    return _PHRASES.get(status, "")
