"""The native edge of 9P: a server on a stream."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from browsermount import limits
from browsermount.ninep import Server
from browsermount.ninep.framing import FrameSplitter, FramingError
from browsermount.ninep.server import MSIZE

_CHUNK = 1 << 16


async def serve(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer the frames of a client on a socket until it hangs up, then close the connection.

    Args:
        server: The session; one for each connection.
        reader: Where frames come from.
        writer: Where replies go.
    """

    async def write(frame: bytes) -> None:
        writer.write(frame)
        await writer.drain()

    try:
        await answer(server, lambda: reader.read(_CHUNK), write)
    finally:
        writer.close()


async def answer(
    server: Server,
    read: Callable[[], Awaitable[bytes]],
    write: Callable[[bytes], Awaitable[None]],
) -> None:
    """Answer one client's frames until it hangs up.

    Replies that have to wait do not keep others from going out.  What holds no frames is not read
    to its end.  Nothing more is read while replies are not taken, or while
    :data:`browsermount.limits.MAX_PENDING_REPLIES` have to wait.

    Args:
        server: The session; one for each connection.
        read: Returns what comes next, nothing at the end.
        write: Takes all of a reply; is called by one after the other.
    """
    splitter = FrameSplitter(MSIZE)
    slots = asyncio.Semaphore(limits.MAX_PENDING_REPLIES)
    turn = asyncio.Lock()

    async def send(reply: bytes) -> None:
        async with turn:
            await write(reply)

    async def later(reply: Coroutine[Any, Any, bytes | None]) -> None:
        try:
            if frame := await reply:
                await send(frame)
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as waiting:
            while data := await read():
                for frame in splitter.feed(data):
                    await slots.acquire()
                    reply = server.handle(frame)
                    if isinstance(reply, bytes):
                        slots.release()
                        await send(reply)
                    else:
                        waiting.create_task(later(reply))
    except* (ConnectionError, FramingError):
        pass  # the client is gone, or is no 9P client: either way there is nobody to tell
