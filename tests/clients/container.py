"""Runs containers whose network is the page's, without a browser: a test answers their requests."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from browsermount.cli.cache import open_cache
from browsermount.cli.images import opened
from browsermount.cli.machine import Machine
from browsermount.cli.sockets import Rules
from browsermount.errors import NetworkError
from browsermount.machines import MachineKind
from browsermount.mount import mount
from browsermount.network.tls import Engine
from browsermount.network.web import Fetch, WebGateway
from browsermount.runtime.spec import ProcessOptions
from tests.core.test_web_gateway import Answer
from tests.tls_engine import new_engine

TIMEOUT = 600


@dataclass(frozen=True)
class Asked:
    """A request of the container's, as it would leave the browser."""

    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """What is behind the host."""
        return "/" + self.url.split("/", 3)[3]

    @property
    def host(self) -> str:
        """The server's name."""
        return self.url.split("/")[2]


@dataclass
class Internet:
    """Servers by their name.

    Attributes:
        servers: What each answers; the others are not there.
        asked: What they were asked.
        told: What a person was told.
    """

    servers: dict[str, Callable[[Asked], Answer]]
    asked: list[Asked] = field(default_factory=list)
    told: list[str] = field(default_factory=list)

    async def fetch(
        self, method: str, url: str, headers: list[tuple[str, str]], body: bytes
    ) -> Answer:
        """Answer a request; see :class:`browsermount.network.web.Fetch`."""
        asked = Asked(method, url, dict(headers), body)
        self.asked.append(asked)
        if asked.host not in self.servers:
            raise NetworkError(f"{url} cannot be read")
        # Some servers are programs, which take their time.
        return await asyncio.to_thread(self.servers[asked.host], asked)


class PageMachine(Machine):
    """A machine whose network is the page's."""

    async def connect_to(self, fetch: Fetch, engine: Engine, told: list[str]) -> None:
        """Give the container a network in which HTTP alone goes out."""

        async def tls() -> Engine:
            return engine

        await self.connect(Rules(), print)
        assert self._network is not None
        WebGateway(
            self._network.stack,
            fetch,
            tls,
            private=False,
            tell=lambda message, hint: told.append(message),
        )


async def _run(image: Path, script: str, internet: Internet, kind: MachineKind, tag: str) -> int:
    engine = new_engine()

    async def authority() -> bytes:
        return engine.certificate

    options = ProcessOptions(args=("sh", "-c", script), terminal=False, network=True)
    machine = await PageMachine.create(kind)
    try:
        await machine.connect_to(internet.fetch, engine, internet.told)
        async with opened(f"{image}#{tag}") as (source, fetcher):
            # What is known of the layers is kept: reading them takes as long as a client.
            mounted = await mount(
                source, fetcher=fetcher, store=open_cache(), options=options, authority=authority
            )
            await machine.start(mounted, takes_input=False, size=None)
            try:
                async for message in machine.messages():
                    if message["type"] in {"exit", "error"}:
                        return int(message["code"])
            finally:
                await mounted.close()
    finally:
        await machine.close()
    raise AssertionError("the machine has not said how it ended")


def run(
    image: Path, script: str, internet: Internet, *, kind: MachineKind = "x64", tag: str = "latest"
) -> int:
    """Run a script in a container, and return its exit code. Its output is this process's."""
    return asyncio.run(asyncio.wait_for(_run(image, script, internet, kind, tag), TIMEOUT))
