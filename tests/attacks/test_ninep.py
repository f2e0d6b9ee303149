"""Clients of 9P that would fill the server's memory."""

from __future__ import annotations

import asyncio
import tracemalloc
from typing import Any

from browsermount import limits
from browsermount.layers.entry import FileType
from browsermount.ninep import wire
from browsermount.ninep.server import MSIZE, Server
from browsermount.rootfs.content import BytesContent
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.tree import Tree
from browsermount.sockets import serve
from tests.core.client import Client


class Never:
    """A content that has to be waited for, for ever."""

    size = 1 << 20

    def __init__(self) -> None:
        self.waiting = 0

    def read_now(self, offset: int, size: int) -> None:
        return None

    async def read(self, offset: int, size: int) -> bytes:
        self.waiting += 1
        try:
            await asyncio.Event().wait()
        finally:
            self.waiting -= 1
        return b""


def opened(content: Any) -> tuple[Server, Client]:
    tree = Tree()
    inode = tree.new_file(b"")
    inode.content = content
    tree.root.link(b"file", inode)
    client = Client(tree.root)
    return client.server, client


def test_open_directories_keep_no_entries() -> None:
    tree = Tree()
    for number in range(20_000):
        tree.root.link(b"name-%d" % number, tree.new_file(b""))
    client = Client(tree.root)
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for fid in range(1000, 1100):
        client.ask(wire.Twalk(0, fid, ()), wire.Rwalk)
        client.ask(wire.Tlopen(fid, 0), wire.Rlopen)
        client.ask(wire.Treaddir(fid, 0, 8192), wire.Rreaddir)
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept < 1 << 20  # 130 MiB when each kept its entries


def test_lists_of_attributes_are_not_kept() -> None:
    tree = Tree()
    names = {b"user.%0200d" % i: b"" for i in range(200)}
    inode = Inode(tree.new_ino(), FileType.REGULAR, xattrs=names, content=BytesContent())
    tree.root.link(b"file", inode)
    client = Client(tree.root)
    fid = client.walk(b"file")
    tracemalloc.start()
    for number in range(1000, 2000):
        client.ask(wire.Txattrwalk(fid, number, b""), wire.Rxattrwalk)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 1 << 20  # 40 MiB when each kept its list
    data = client.ask(wire.Tread(1500, 0, 1 << 20), wire.Rread).data
    assert data.split(b"\0")[:-1] == list(names)


def test_a_flushed_read_ends() -> None:
    async def work() -> tuple[int, list[bytes | None]]:
        content = Never()
        server, client = opened(content)
        fid = client.open(b"file")
        tasks = []
        for tag in range(100):
            answer = server.handle(wire.Tread(fid, 0, 100).encode(tag))
            assert not isinstance(answer, bytes)
            tasks.append(asyncio.ensure_future(answer))
            if tag % 2:
                await asyncio.sleep(0)  # else it is flushed before it has begun
            server.handle(wire.Tflush(tag).encode(1000))
        async with asyncio.timeout(5):
            replies = await asyncio.gather(*tasks)
        return content.waiting, replies

    assert asyncio.run(work()) == (0, [None] * 100)


def test_reads_end_with_their_session() -> None:
    async def work() -> bytes | None:
        server, client = opened(Never())
        answer = server.handle(wire.Tread(client.open(b"file"), 0, 100).encode(1))
        assert not isinstance(answer, bytes)
        task = asyncio.ensure_future(answer)
        await asyncio.sleep(0)
        server.handle(wire.Tversion(MSIZE, b"9P2000.L").encode(0xFFFF))
        async with asyncio.timeout(5):
            return await task

    assert asyncio.run(work()) is None


async def connected(content: Any) -> tuple[asyncio.Server, asyncio.StreamWriter, list[Any]]:
    writers: list[Any] = []
    server, client = opened(content)
    assert client.open(b"file") == 1

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await serve(server, reader, writer)

    listening = await asyncio.start_server(accept, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 12)
    return listening, writer, writers


def test_replies_that_nobody_reads() -> None:
    async def work() -> int:
        size = 400_000
        listening, writer, writers = await connected(BytesContent(bytes(size)))
        writer.write(b"".join(wire.Tread(1, 0, size).encode(tag) for tag in range(2000)))
        await asyncio.sleep(0.3)
        pending = writers[0].transport.get_write_buffer_size()
        writer.transport.abort()
        listening.close()
        return int(pending)

    assert asyncio.run(work()) < 1 << 20  # 130 MB when all were answered at once


def test_reads_that_wait_without_end() -> None:
    async def work() -> int:
        content = Never()
        listening, writer, _ = await connected(content)
        writer.write(b"".join(wire.Tread(1, 0, 100).encode(tag) for tag in range(5000)))
        await asyncio.sleep(0.3)
        waiting = content.waiting
        writer.transport.abort()
        listening.close()
        return waiting

    assert asyncio.run(work()) == limits.MAX_PENDING_REPLIES
