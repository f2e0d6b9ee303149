"""The guest's network where there are no sockets: HTTP requests, which a browser sends."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Protocol
from urllib.parse import urlsplit

from browsermount.errors import BrowsermountError, NetworkError
from browsermount.network import dns
from browsermount.network.addresses import GATEWAY, HOST, HOST_NAMES, NETMASK, to_text
from browsermount.network.connection import Connection
from browsermount.network.http1 import (
    InvalidMessage,
    Request,
    RequestReader,
    ResponseWriter,
    Uploads,
)
from browsermount.network.names import Names
from browsermount.network.stack import Stack
from browsermount.network.stream import ByteStream, Stream
from browsermount.network.tls import HANDSHAKE, Engine, TlsError, TlsStream
from browsermount.network.udp import Datagram
from browsermount.proxies import Proxy

_PATIENCE_SECONDS = 10.0
"""How long a client may take for its first byte: in some protocols it is the server that begins."""
_GATHER_SECONDS = 0.01
"""How long what an answer begins with, or a small part of it, waits for what comes next."""
_MAX_TOLD = 256

# Any other header makes a browser ask the server first, and most servers do not allow it.
_PASSED_ON = frozenset(
    ("accept", "accept-language", "authorization", "content-language", "content-type", "range")
)
# They ask for something and change nothing (RFC 9110, section 9.2.1).
_READING = frozenset(("GET", "HEAD"))
_NOT_SECRET = frozenset(("accept", "accept-language", "range"))
_PORTS = {"http": 80, "https": 443}
_DISTRUST_HINT = (
    "Programs with a list of authorities of their own have to be told about the one of this page: "
    "it is in /usr/local/share/ca-certificates/browsermount.crt."
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
    if host.startswith("["):
        return False  # there is no IPv6 here
    labels = host.lower().split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return ip_address(host).is_global
        except ValueError:
            return False
    name = ".".join(labels)
    return len(labels) > 1 and not any(name == it or name.endswith("." + it) for it in _NEARBY)


@dataclass(frozen=True, slots=True)
class Origin:
    """Whom a client has connected to, and how.

    Attributes:
        scheme: ``http`` or ``https``.
        host: A name, or an address as text.
        port: The TCP port.
    """

    scheme: str
    host: str
    port: int


class WebGateway:
    """What is at the other end of the guest's network card where only HTTP can go out.

    Args:
        stack: The other end.
        fetch: Sends requests.
        tls: Gives the engine for encrypted connections, when the first one comes.
        private: Whether hosts that are not of the internet may be asked, too.
        proxies: Through whom hosts are reached; the first one that fits counts.
        tell: Tells a person, in one sentence and a hint, what does not work.
    """

    def __init__(
        self,
        stack: Stack,
        fetch: Fetch,
        tls: Callable[[], Awaitable[Engine]],
        *,
        private: bool,
        proxies: Sequence[Proxy] = (),
        tell: Callable[[str, str], None],
    ) -> None:
        self._stack = stack
        self._fetch = fetch
        self._tls = tls
        self._proxies = proxies
        self._private = private
        self._tell = tell
        self._uploads = Uploads()
        self._told: set[str] = set()
        self._names = Names()
        self._tasks: set[asyncio.Task[None]] = set()
        stack.on_connect = self._connect
        stack.on_datagram = self._take_datagram

    @property
    def uploading(self) -> int:
        """How many bytes of requests are held, or are going to be."""
        return self._uploads.size

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
            if begun[:1] == HANDSHAKE:
                await self._serve_encrypted(stream, begun, host, port)
            else:
                await self._answer_all(stream, begun, Origin("http", host, port))
                # With the last of the data: the client need not answer twice.
                stream.finish()
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

    async def _serve_encrypted(self, stream: Stream, begun: bytes, host: str, port: int) -> None:
        """Speak TLS as the server would, and answer what is asked for in it."""
        try:
            session = (await self._tls()).open(host)
        except (BrowsermountError, TlsError) as error:
            hint = error.hint if isinstance(error, BrowsermountError) else ""
            self._tell_once(f"the container cannot reach {host} by HTTPS: {error}", hint)
            stream.abort()
            return
        try:
            tls = TlsStream(stream, session, begun)
            await tls.handshake()
            request = await asyncio.wait_for(tls.read(), _PATIENCE_SECONDS)
            await self._answer_all(tls, request, Origin("https", host, port))
            await tls.finish()
        except TlsError as error:
            self._tell_once(
                f"a program in the container cannot reach {host} by HTTPS: {error}",
                _DISTRUST_HINT if error.distrusted else "",
            )
            # It is to get the alert that says why.
            await stream.drained()
        finally:
            session.close()

    async def _answer_all(self, stream: ByteStream, begun: bytes, origin: Origin) -> None:
        """Answer requests until the client, or an answer, ends the connection."""
        reader = RequestReader(stream, begun, self._uploads)
        try:
            while await self._answer_one(stream, reader, origin):
                reader.forget()
        finally:
            reader.forget()

    async def _answer_one(self, stream: ByteStream, reader: RequestReader, origin: Origin) -> bool:
        """Answer a request; False where it was the last one."""
        request: Request | None = Request("GET", "/", "HTTP/1.0", ())
        try:
            request = await reader.request()
            if request is None:
                return False
            url = self._url(request, origin)
            if request.header("expect").lower() == "100-continue":
                await stream.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            body = await reader.body(request)
        except InvalidMessage as error:
            assert request is not None
            last = Request(request.method, "/", "HTTP/1.0", ())
            await _answer_text(ResponseWriter(stream, last), error.status, error.reason)
            return False
        await self._answer(ResponseWriter(stream, request), request, url, body)
        return request.keeps_alive

    async def _answer(
        self, writer: ResponseWriter, request: Request, url: str, body: bytes
    ) -> None:
        headers = [
            (name, value)
            for name, value in request.headers
            if name in _PASSED_ON or name.startswith("x-")
        ]
        try:
            answer = await self._ask(request.method, url, headers, body)
        except BrowsermountError as error:
            self._tell_once(f"the container got no answer: {error.message}", error.hint)
            await _answer_text(writer, 502, f"{error.message}\n{error.hint}")
            return
        try:
            await writer.head(answer.status, answer.headers)
            await _pass_on(answer, writer)
        except BrowsermountError as error:
            # The client must not take what it has for all.
            self._tell_once(error.message, error.hint)
            raise ConnectionResetError from error
        finally:
            await answer.aclose()

    async def _ask(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes
    ) -> Answer:
        host = urlsplit(url).hostname or ""
        proxy = next((proxy for proxy in self._proxies if proxy.fits(host)), None)
        if proxy is None:
            return await self._fetch(method, url, headers, body)
        if proxy.foreign:
            if method not in _READING:
                raise NetworkError(
                    f"nothing is sent to {host} through {proxy.server}, which the link to this "
                    "page has chosen",
                    hint="Open the page without network-proxy in its address.",
                )
            if not self._allows(proxy.server):
                raise NetworkError(
                    f"{proxy.server}, through which the link to this page has {host} reached, is "
                    "not a host of the internet's",
                    hint="Open the page without network-proxy in its address.",
                )
            headers = [(name, value) for name, value in headers if name in _NOT_SECRET]
        return await self._fetch(method, proxy.through(url), headers, body)

    def _url(self, request: Request, origin: Origin) -> str:
        """Return where a request goes.

        Raises:
            InvalidMessage: Nowhere.
        """
        if request.method == "CONNECT":
            raise InvalidMessage(501, "a page can make no tunnels")
        if request.header("upgrade"):
            self._tell_once(
                f"the container cannot open a WebSocket to {origin.host}: a page can send HTTP "
                "requests alone",
                "On the command line, browsermount run has a network for everything.",
            )
            raise InvalidMessage(501, "a page can make no WebSockets for a container")
        authority, path = request.header("host"), request.target
        if "://" in path:
            split = urlsplit(path)
            if split.scheme != origin.scheme:
                raise InvalidMessage(501, f"{split.scheme} requests cannot be sent from here")
            before = len(f"{split.scheme}://{split.netloc}")
            authority, path = split.netloc, path[before:] or "/"
        found = _HOST.fullmatch(authority or origin.host)
        if not found or not path.startswith(("/", "?")):
            raise InvalidMessage(400, "the request has no valid host")
        name = found["host"].lower()
        if not self._allows(name):
            raise InvalidMessage(403, f"{name} is not a host of the internet's")
        number = int(found["port"] or origin.port)
        if name in HOST_NAMES:
            name = "127.0.0.1"
        server = name if number == _PORTS[origin.scheme] else f"{name}:{number}"
        return f"{origin.scheme}://{server}{path}"

    def _tell_once(self, message: str, hint: str) -> None:
        if message not in self._told and len(self._told) < _MAX_TOLD:
            self._told.add(message)
            self._tell(message, hint)


async def _pass_on(answer: Answer, writer: ResponseWriter) -> None:
    """Write an answer's body; what is small waits for more of it, for a moment."""
    chunks = answer.chunks()
    while True:
        if not writer.gathers:
            chunk = await anext(chunks, None)
        else:
            following = asyncio.ensure_future(anext(chunks, None))
            try:
                done, _ = await asyncio.wait({following}, timeout=_GATHER_SECONDS)
                if not done:
                    await writer.flush()
                chunk = await following
            finally:
                following.cancel()
        if chunk is None:
            break
        await writer.part(chunk)
    await writer.end()


async def _answer_text(writer: ResponseWriter, status: int, text: str) -> None:
    await writer.head(status, [("content-type", "text/plain; charset=utf-8")])
    await writer.part(f"browsermount: {text}\n".encode())
    await writer.end()
