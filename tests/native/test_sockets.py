"""The native edges: 9P on a socket, and fetching over real HTTP."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from browsermount.ninep import Server, wire
from browsermount.sockets import serve

from ..core.images import member, tar
from ..core.test_rootfs import merge


async def connected(
    path: Path, talk: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
) -> None:
    root = merge(tar(member("f", b"text")))
    done = asyncio.Event()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(Server(root), reader, writer)
        done.set()

    async with await asyncio.start_unix_server(accept, path):
        reader, writer = await asyncio.open_unix_connection(path)
        await talk(reader, writer)
        writer.close()
        await asyncio.wait_for(done.wait(), 10)


async def reply(reader: asyncio.StreamReader) -> tuple[int, wire.Message]:
    size = await reader.readexactly(4)
    return wire.decode(size + await reader.readexactly(int.from_bytes(size, "little") - 4))


def test_requests_that_come_together_and_in_pieces(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests = [
            wire.Tversion(8192, b"9P2000.L").encode(0xFFFF),
            wire.Tattach(0, wire.NOFID, b"", b"", 0).encode(1),
            wire.Twalk(0, 1, (b"f",)).encode(2),
            wire.Tlopen(1, 0).encode(3),
            wire.Tread(1, 0, 100).encode(4),
        ]
        stream = b"".join(requests)
        for start in range(0, len(stream), 50):
            writer.write(stream[start : start + 50])
            await writer.drain()
        replies = [await reply(reader) for _ in requests]
        assert [tag for tag, _ in replies] == [0xFFFF, 1, 2, 3, 4]
        assert replies[-1][1] == wire.Rread(b"text")

    asyncio.run(connected(tmp_path / "9p", talk))


def test_rubbish_ends_the_connection(tmp_path: Path) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""

    asyncio.run(connected(tmp_path / "9p", talk))
