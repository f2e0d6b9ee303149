"""The network that a container has in the page, here: for machines that run in Node."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from browsermount.cli.sockets import Network, Rules
from browsermount.errors import NetworkError
from browsermount.network.tls import Engine
from browsermount.network.web import Fetch, WebGateway

GetEngine = Callable[[], Awaitable[Engine]]


class _Answer:
    """A :class:`browsermount.network.web.Answer` of httpx's, decoded as a browser does it."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code

    @property
    def headers(self) -> Iterable[tuple[str, str]]:
        return self._response.headers.multi_items()

    async def chunks(self) -> AsyncIterator[bytes]:
        try:
            async for chunk in self._response.aiter_bytes():
                yield chunk
        except httpx.TransportError as error:
            raise NetworkError(f"the connection broke: {error}") from error

    async def aclose(self) -> None:
        await self._response.aclose()


def fetch_from(server: str, client: httpx.AsyncClient) -> Fetch:
    """Return what sends all requests to one server.

    Args:
        server: Its address, with a slash at the end.
        client: Sends them.
    """

    async def fetch(method: str, url: str, headers: list[tuple[str, str]], body: bytes) -> _Answer:
        asked = urlsplit(url)
        target = server + asked.path[1:] + (f"?{asked.query}" if asked.query else "")
        request = client.build_request(method, target, headers=headers, content=body or None)
        try:
            return _Answer(await client.send(request, stream=True))
        except httpx.TransportError as error:
            raise NetworkError(f"{url} cannot be read: {error}") from error

    return fetch


@asynccontextmanager
async def serve_network(card: Path, server: str, tls: GetEngine) -> AsyncIterator[None]:
    """Be the other end of the network card of one machine, as the page is.

    Args:
        card: The Unix socket to which its frames come.
        server: Who answers all requests, whatever their host is; with a slash at the end.
        tls: Gives the engine for encrypted connections.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(card))
        listener.listen()
        listener.setblocking(False)

        async def attach(client: httpx.AsyncClient) -> None:
            cable, _ = await loop.sock_accept(listener)
            network = Network(cable, Rules(), print)
            gateway = WebGateway(
                network.stack,
                fetch_from(server, client),
                tls,
                private=False,
                tell=print,
            )
            await network.open()
            try:
                await network.ended()
            finally:
                gateway.close()
                await network.close()

        async with httpx.AsyncClient() as client:
            attached = asyncio.create_task(attach(client))
            yield
            attached.cancel()
            await asyncio.gather(attached, return_exceptions=True)
