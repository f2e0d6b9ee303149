"""A connection with the guest for coroutines."""

from __future__ import annotations

import asyncio
from typing import Protocol

from browsermount.limits import RECEIVE_BUFFER
from browsermount.network.connection import Connection, State


class ByteStream(Protocol):
    """What is spoken over: a connection, or TLS on one."""

    async def read(self) -> bytes:
        """Return what has come; nothing at the end.

        Raises:
            ConnectionResetError: The guest has broken the connection off.
        """
        ...

    async def write(self, data: bytes) -> None:
        """Write all of some bytes.

        Raises:
            ConnectionResetError: The connection is gone.
        """
        ...


class Remote(ByteStream, Protocol):
    """What a connection of the guest's leads to."""

    @property
    def halves(self) -> bool:
        """Whether each direction ends by itself; else all ends with what comes from there."""
        ...

    async def finish(self) -> None:
        """Say that nothing more will be written."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...

    def abort(self) -> None:
        """Break it off."""
        ...


class Stream:
    """Reads from a connection and writes to it, and waits where that cannot be done yet.

    One coroutine may read while another one writes.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[asyncio.Future[None]] = []
        connection.on_change = self._wake

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for future in waiting:
            if not future.done():
                future.set_result(None)

    async def _change(self) -> None:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        await future

    async def opened(self) -> None:
        """Wait until the connection is open.

        Raises:
            ConnectionRefusedError: The guest does not want it.
        """
        while self._connection.state in {State.SYN_SENT, State.SYN_RECEIVED}:
            await self._change()
        if self._connection.reset:
            raise ConnectionRefusedError(
                f"nothing in the container answers at {self._connection.remote}"
            )

    async def read(self, limit: int = RECEIVE_BUFFER) -> bytes:
        """Return what has come, at most ``limit`` bytes; nothing at the end.

        Raises:
            ConnectionResetError: The guest has broken the connection off.
        """
        while not self._connection.unread:
            if self._connection.reset:
                raise ConnectionResetError("the container has broken the connection off")
            if self._connection.at_eof:
                return b""
            await self._change()
        return self._connection.read(limit)

    async def write(self, data: bytes) -> None:
        """Write all of some bytes.

        Raises:
            ConnectionResetError: The connection is gone.
        """
        rest = memoryview(data)
        while rest:
            if self._connection.state is State.GONE:
                raise ConnectionResetError("the container has broken the connection off")
            if written := self._connection.write(bytes(rest[: self._connection.room])):
                rest = rest[written:]
            else:
                await self._change()

    async def drained(self) -> None:
        """Wait until the guest has all that was written, or never will have it."""
        while not self._connection.done:
            await self._change()

    def finish(self) -> None:
        """Say that nothing more will be written."""
        self._connection.finish()

    def close(self) -> None:
        """Finish, and take nothing more."""
        self._connection.close()

    def abort(self) -> None:
        """Break the connection off."""
        self._connection.abort()


async def join(stream: Stream, remote: Remote, limit: int = RECEIVE_BUFFER) -> None:
    """Hand on what one side writes to the other, until both have ended or one has broken off.

    Args:
        stream: The guest's side.
        remote: The other one.
        limit: Bytes that it takes at once.
    """

    async def up() -> None:
        while data := await stream.read(limit):
            await remote.write(data)
        await remote.finish()

    async def down() -> None:
        while data := await remote.read():
            await stream.write(data)
        stream.finish()
        if not remote.halves:
            sending.cancel()

    ended = False
    try:
        async with asyncio.TaskGroup() as both:
            sending = both.create_task(up())
            both.create_task(down())
        await stream.drained()
        stream.close()
        ended = True
    except* OSError:
        remote.abort()  # one of them has broken it off, which the other one is told
    finally:
        if not ended:
            stream.abort()
        # Where we are given up, what the other side has not taken yet may still be on its way.
        remote.close()
