"""The native edge of 9P: a server on an asyncio stream."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from browsermount import limits
from browsermount.ninep import Server
from browsermount.ninep.framing import FrameSplitter, FramingError
from browsermount.ninep.server import MSIZE

_CHUNK = 1 << 16


async def serve(server: Server, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one client's frames until it hangs up, then close the connection.

    Replies that have to wait do not keep others from going out.  A stream that holds
    no frames is closed.  Nothing more is read while replies are not taken, or while
    :data:`browsermount.limits.MAX_PENDING_REPLIES` have to wait.

    Args:
        server: The session; one for each connection.
        reader: Where frames come from.
        writer: Where replies go.
    """
    splitter = FrameSplitter(MSIZE)

    slots = asyncio.Semaphore(limits.MAX_PENDING_REPLIES)

    async def later(reply: Coroutine[Any, Any, bytes | None]) -> None:
        try:
            if frame := await reply:
                writer.write(frame)
                await writer.drain()
        finally:
            slots.release()

    try:
        async with asyncio.TaskGroup() as waiting:
            while data := await reader.read(_CHUNK):
                for frame in splitter.feed(data):
                    await slots.acquire()
                    reply = server.handle(frame)
                    if isinstance(reply, bytes):
                        slots.release()
                        writer.write(reply)
                        await writer.drain()
                    else:
                        waiting.create_task(later(reply))
    except* (ConnectionError, FramingError):
        pass  # the client is gone, or is no 9P client: either way there is nobody to tell
    finally:
        writer.close()
