"""Where a command listens, or what it connects to: ``unix:PATH`` or ``tcp:HOST:PORT``."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import click

_MAX_PORT = 65535
_LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class LocalAddress:
    """The address of a stream socket.

    Attributes:
        path: Where it is in the file system; else None.
        host: A name or an IP address.
        port: 0 for any that is free, to listen at.
    """

    path: str | None = None
    host: str = _LOOPBACK
    port: int = 0

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"tcp:{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}"

    async def connect(self) -> socket.socket:
        """Connect to it.

        Raises:
            OSError: Nobody listens there.
        """
        loop = asyncio.get_running_loop()
        if self.path is not None:
            client = socket.socket(socket.AF_UNIX)
            where: object = self.path
        else:
            found = await loop.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
            family, _, _, _, where = found[0]
            client = socket.socket(family)
        client.setblocking(False)
        try:
            await loop.sock_connect(client, where)  # type: ignore[arg-type]
        except BaseException:
            client.close()
            raise
        return client


def read_address(text: str) -> LocalAddress:
    """Read what a person has written.

    Raises:
        click.UsageError: It is no address.
    """
    kind, _, rest = text.partition(":")
    if kind not in ("unix", "tcp") or not rest:
        raise click.UsageError(f"{text!r} is neither unix:PATH nor tcp:HOST:PORT")
    if kind == "unix":
        return LocalAddress(path=rest)
    host, _, port = rest.rpartition(":")
    if not port.isdecimal() or int(port) > _MAX_PORT:
        raise click.UsageError(f"{port!r} is not a port")
    return LocalAddress(host=host.strip("[]") or _LOOPBACK, port=int(port))


@contextmanager
def listening(address: LocalAddress) -> Iterator[tuple[socket.socket, LocalAddress]]:
    """Listen at an address, for as long as the context lasts.

    A socket in the file system can be opened by its owner alone, and is removed at the end.

    Returns:
        The socket, and where it is.

    Raises:
        OSError: The address cannot be had.
    """
    if address.path is not None:
        with socket.socket(socket.AF_UNIX) as server:
            mask = os.umask(0o177)
            try:
                server.bind(address.path)
            except OSError as error:
                raise OSError(error.errno, error.strerror, address.path) from None
            finally:
                os.umask(mask)
            try:
                yield _ready(server), address
            finally:
                with suppress(OSError):
                    os.unlink(address.path)
        return
    found = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    family, _, _, _, where = found[0]
    with socket.socket(family) as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind(where)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(address)) from None
        host, port = server.getsockname()[:2]
        yield _ready(server), LocalAddress(host=host, port=port)


def _ready(server: socket.socket) -> socket.socket:
    server.listen()
    server.setblocking(False)
    return server
