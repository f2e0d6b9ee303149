"""The guest's network where there are no sockets: HTTP requests, which a browser sends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.parse import urlsplit

from browsermount.errors import BrowsermountError
from browsermount.network import dns
from browsermount.network.addresses import GATEWAY, HOST, HOST_NAMES, NETMASK, to_text
from browsermount.network.connection import Connection
from browsermount.network.http1 import InvalidMessage, Request, RequestReader, ResponseWriter
from browsermount.network.names import Names
from browsermount.network.stack import Stack
from browsermount.network.stream import Stream
from browsermount.network.udp import Datagram

_PATIENCE_SECONDS = 10.0
"""How long a client may take for its first byte: in some protocols it is the server that begins."""
_TLS_HANDSHAKE = 0x16
_MAX_TOLD = 256

# Any other header makes a browser ask the server first, and most servers do not allow it.
_PASSED_ON = frozenset(
    ("accept", "accept-language", "authorization", "content-language", "content-type", "range")
)
_HOST = re.compile(r"(?P<host>[0-9A-Za-z_-]+(\.[0-9A-Za-z_-]+)*)\.?(:(?P<port>[0-9]{1,5}))?")
# What URLs take for an IPv4 address (URL Standard, "ends in a number").
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
# Names of machines nearby (RFC 6761, RFC 6762, RFC 8375, and ICANN's for private use).
_NEARBY = ("localhost", "local", "internal", "lan", "home.arpa")


class Answer(Protocol):
    """What a server has answered."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def headers(self) -> Iterable[tuple[str, str]]:
        """Names and values, a name as often as it came."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the body once, as it comes.

        Raises:
            BrowsermountError: The connection broke.
        """
        ...

    async def aclose(self) -> None:
        """Give up what has not been read."""
        ...


class Fetch(Protocol):
    """Sends a request."""

    async def __call__(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes
    ) -> Answer:
        """Return the answer.

        Raises:
            BrowsermountError: There is none.
        """
        ...


def is_public_host(host: str) -> bool:
    """Tell whether a host is one of the internet's, as far as its name tells.

    What a public name's address is, only the browser knows: it is the server that has to allow it
    then, by CORS.
    """
    labels = host.lower().split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return ip_address(host).is_global
        except ValueError:
            return False
    name = ".".join(labels)
    return len(labels) > 1 and not any(name == it or name.endswith("." + it) for it in _NEARBY)


class WebGateway:
    """What is at the other end of the guest's network card where only HTTP can go out.

    Args:
        stack: The other end.
        fetch: Sends requests.
        private: Whether hosts that are not of the internet may be asked, too.
        tell: Tells a person, in one sentence and a hint, what does not work.
    """

    def __init__(
        self, stack: Stack, fetch: Fetch, *, private: bool, tell: Callable[[str, str], None]
    ) -> None:
        self._stack = stack
        self._fetch = fetch
        self._private = private
        self._tell = tell
        self._told: set[str] = set()
        self._names = Names()
        self._tasks: set[asyncio.Task[None]] = set()
        stack.on_connect = self._connect
        stack.on_datagram = self._take_datagram

    def close(self) -> None:
        """Give up all requests."""
        for task in self._tasks:
            task.cancel()

    # -- Names -------------------------------------------------------------------------------

    def _take_datagram(self, datagram: Datagram) -> None:
        if datagram.target != (GATEWAY, dns.PORT):
            self._stack.refuse_datagram(datagram)
        elif query := dns.parse(datagram.data):
            reply = self._resolve(query)
            self._stack.send_datagram(Datagram(datagram.target, datagram.source, reply))

    def _resolve(self, query: dns.Query) -> bytes:
        if not self._allows(query.name):
            return dns.answer(query, code=dns.NO_SUCH_NAME)
        if query.kind == dns.A:
            address = HOST if query.name in HOST_NAMES else self._names.address(query.name)
            return dns.answer(query, [address])
        # Whether there is such a name is not known here.
        return dns.answer(
            query, code=dns.NO_ERROR if query.kind == dns.AAAA else (dns.NOT_IMPLEMENTED)
        )

    def _allows(self, host: str) -> bool:
        return self._private or is_public_host(host)

    # -- Connections -------------------------------------------------------------------------

    def _connect(self, connection: Connection) -> None:
        address, port = connection.local
        name = HOST_NAMES[0] if address == HOST else self._names.name(address)
        host = name or to_text(address)
        nearby = address & NETMASK == GATEWAY & NETMASK and address != HOST
        if nearby or not self._allows(host):
            if not nearby:
                self._tell_once(
                    f"the container may not reach {host}, which is not a host of the internet's",
                    'The page allows it with network="all".',
                )
            connection.refuse()
            return
        connection.accept()
        self._spawn(self._serve(Stream(connection), host, port))

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: Stream, host: str, port: int) -> None:
        try:
            begun = await asyncio.wait_for(stream.read(), _PATIENCE_SECONDS)
            if begun[:1] == bytes((_TLS_HANDSHAKE,)):
                self._tell_once(
                    f"the container cannot reach {host} by HTTPS: a page can send requests, but "
                    "no encrypted connections",
                    "Use http:// in the container; a page that came by HTTPS itself asks the "
                    "server by HTTPS.",
                )
                stream.abort()
                return
            await self._answer_all(stream, RequestReader(stream, begun), host, port)
            await stream.drained()
            stream.close()
        except TimeoutError:
            self._tell_once(
                f"the container cannot talk to {host} at port {port}: a page can send HTTP "
                "requests alone",
                "On the command line, browsermount run has a network for everything.",
            )
            stream.abort()
        except ConnectionError:
            stream.abort()
        except BaseException:
            stream.abort()
            raise

    async def _answer_all(
        self, stream: Stream, reader: RequestReader, host: str, port: int
    ) -> None:
        """Answer requests until the client, or an answer, ends the connection."""
        while True:
            request: Request | None = Request("GET", "/", "HTTP/1.0", ())
            try:
                request = await reader.request()
                if request is None:
                    return
                url = self._url(request, host, port)
                if request.header("expect").lower() == "100-continue":
                    await stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                body = await reader.body(request)
            except InvalidMessage as error:
                assert request is not None
                last = Request(request.method, "/", "HTTP/1.0", ())
                await _answer_text(ResponseWriter(stream, last), error.status, error.reason)
                return
            await self._answer(ResponseWriter(stream, request), request, url, body)
            if not request.keeps_alive:
                return

    async def _answer(
        self, writer: ResponseWriter, request: Request, url: str, body: bytes
    ) -> None:
        headers = [
            (name, value)
            for name, value in request.headers
            if name in _PASSED_ON or name.startswith("x-")
        ]
        try:
            answer = await self._fetch(request.method, url, headers, body)
        except BrowsermountError as error:
            self._tell_once(f"the container got no answer: {error.message}", error.hint)
            await _answer_text(writer, 502, f"{error.message}\n{error.hint}")
            return
        try:
            await writer.head(answer.status, answer.headers)
            async for chunk in answer.chunks():
                await writer.part(chunk)
            await writer.end()
        except BrowsermountError as error:
            # The client must not take what it has for all.
            self._tell_once(error.message, error.hint)
            raise ConnectionResetError from error
        finally:
            await answer.aclose()

    def _url(self, request: Request, host: str, port: int) -> str:
        """Return where a request goes.

        Raises:
            InvalidMessage: Nowhere.
        """
        if request.method == "CONNECT":
            raise InvalidMessage(501, "a page can make no tunnels")
        if request.header("upgrade"):
            raise InvalidMessage(501, "a page can make no WebSockets for a container")
        authority, path = request.header("host"), request.target
        if "://" in path:
            split = urlsplit(path)
            if split.scheme != "http":
                raise InvalidMessage(501, f"{split.scheme} requests cannot be sent from here")
            authority, path = split.netloc, path[len("http://") + len(split.netloc) :] or "/"
        found = _HOST.fullmatch(authority or host)
        if not found or not path.startswith(("/", "?")):
            raise InvalidMessage(400, "the request has no valid host")
        name = found["host"].lower()
        if not self._allows(name):
            raise InvalidMessage(403, f"{name} is not a host of the internet's")
        number = int(found["port"] or port)
        if name in HOST_NAMES:
            name = "127.0.0.1"
        return f"http://{name}{path}" if number == 80 else f"http://{name}:{number}{path}"

    def _tell_once(self, message: str, hint: str) -> None:
        if message not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(message)
            self._tell(message, hint)


async def _answer_text(writer: ResponseWriter, status: int, text: str) -> None:
    await writer.head(status, [("content-type", "text/plain; charset=utf-8")])
    await writer.part(f"browsermount: {text}\n".encode())
    await writer.end()
