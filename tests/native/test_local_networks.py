"""Networks of containers on one computer: who finds whom, and how one is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from browsermount.cli.neighbours import (
    Link,
    LocalNeighbourhood,
    NetworkUnavailable,
    runtime_directory,
)

OTHER = """
import asyncio, sys
from pathlib import Path
from browsermount.cli.neighbours import LocalNeighbourhood

async def main():
    place = LocalNeighbourhood("shop", "web", Path(sys.argv[1]))
    await place.join(lambda name, link: (link.send, lambda: None))
    print("up", flush=True)
    await asyncio.sleep(600)

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def tmp_path(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A directory for one user, of which the path is short, as that of a socket has to be."""
    with tempfile.TemporaryDirectory() as directory:
        monkeypatch.setenv("XDG_RUNTIME_DIR", directory)
        yield Path(directory)


class Member:
    """A container that hears all, and says it back."""

    def __init__(self) -> None:
        self.met: list[str] = []
        self.lost: list[str] = []

    def meet(self, name: str, link: Link) -> tuple[Callable[[bytes], None], Callable[[], None]]:
        self.met.append(name)
        return link.send, lambda: self.lost.append(name)


async def joined(network: str, name: str) -> tuple[LocalNeighbourhood, Member]:
    place, member = LocalNeighbourhood(network, name), Member()
    await place.join(member.meet)
    return place, member


class Heard:
    """What comes over a wire."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []
        self.ended = asyncio.Event()
        self._came = asyncio.Event()

    def receive(self, message: bytes) -> None:
        self.messages.append(message)
        self._came.set()

    async def one(self) -> bytes:
        while not self.messages:
            self._came.clear()
            await asyncio.wait_for(self._came.wait(), 30)
        return self.messages.pop(0)

    async def end(self) -> None:
        await asyncio.wait_for(self.ended.wait(), 30)


def play(test: Callable[[], Awaitable[None]]) -> None:
    async def whole() -> None:
        await test()

    asyncio.run(whole())


def test_two_find_each_other(tmp_path: Path) -> None:
    async def test() -> None:
        db, _ = await joined("shop", "db")
        web, member = await joined("shop", "web")
        # The same name is another one's in another network.
        other, _ = await joined("other", "web")
        assert stat.S_IMODE((tmp_path / "browsermount").stat().st_mode) == 0o700
        assert await db.find("web")
        assert not await db.find("api")
        heard = Heard()
        link = await db.dial("web", heard.receive, heard.ended.set)
        for message in (b"", b"x", bytes(65536 + 9)):
            link.send(message)
            assert await heard.one() == message
        assert member.met == ["db"]
        web.leave()
        await heard.end()
        assert not await db.find("web")
        with pytest.raises(ConnectionError):
            await db.dial("web", heard.receive, heard.ended.set)
        db.leave()
        other.leave()
        assert list((tmp_path / "browsermount").iterdir()) == []

    play(test)


def test_one_that_closes_a_wire_is_gone_for_the_other() -> None:
    async def test() -> None:
        db, _ = await joined("shop", "db")
        web, member = await joined("shop", "web")
        heard = Heard()
        link = await db.dial("web", heard.receive, heard.ended.set)
        link.send(b"x")
        assert await heard.one() == b"x"
        link.close()
        for _ in range(1000):
            if member.lost:
                break
            await asyncio.sleep(0.01)
        assert member.lost == ["db"]
        web.leave()
        db.leave()

    play(test)


def test_a_name_is_ones_own_until_he_dies(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "n").mkdir()
        with subprocess.Popen(
            [sys.executable, "-c", OTHER, str(tmp_path / "n")], stdout=subprocess.PIPE
        ) as process:
            try:
                assert process.stdout is not None
                assert await asyncio.to_thread(process.stdout.readline) == b"up\n"
                here = LocalNeighbourhood("shop", "web", tmp_path / "n")
                with pytest.raises(NetworkUnavailable, match="called web in the network shop"):
                    await here.join(Member().meet)
                db = LocalNeighbourhood("shop", "db", tmp_path / "n")
                heard = Heard()
                link = await db.dial("web", heard.receive, heard.ended.set)
                link.send(b"hello")
                assert await heard.one() == b"hello"
            finally:
                process.send_signal(signal.SIGKILL)
            await heard.end()
        assert not await db.find("web")
        await here.join(Member().meet)
        assert await db.find("web")
        here.leave()

    play(test)


@pytest.mark.parametrize(
    "said",
    [
        b"",
        b"\0\0\0\3abc",
        b"\0\0\0\x1abrowsermount trunk 2 strange",
        b"\0\0\0\x18browsermount trunk 1 a.b",
        b"\xff\xff\xff\xff",
    ],
)
def test_who_says_something_else_is_not_met(said: bytes) -> None:
    async def test() -> None:
        web, member = await joined("shop", "web")
        (path,) = runtime_directory().glob("*.socket")
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(said)
        writer.write_eof()
        assert await asyncio.wait_for(reader.read(), 30) == b""
        writer.close()
        assert member.met == []
        web.leave()

    play(test)


def test_one_that_does_not_read_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("browsermount.cli.neighbours._MAX_WAITING", 1 << 20)

    async def test() -> None:
        web, member = await joined("shop", "web")
        (path,) = runtime_directory().glob("*.socket")
        _, writer = await asyncio.open_unix_connection(path)
        greeting = b"browsermount trunk 1 db"
        writer.write(len(greeting).to_bytes(4, "big") + greeting)
        message = bytes(60_000)

        async def ask() -> None:
            while True:
                writer.write(len(message).to_bytes(4, "big") + message)
                await writer.drain()

        # It asks for answers, and takes none.
        with pytest.raises(ConnectionError):
            await asyncio.wait_for(ask(), 30)
        assert member.lost == ["db"]
        writer.close()
        web.leave()

    play(test)


def test_directories_that_are_not_ours_alone(tmp_path: Path) -> None:
    (tmp_path / "browsermount").mkdir(mode=0o755)
    with pytest.raises(NetworkUnavailable, match="others may open it"):
        runtime_directory()
    (tmp_path / "browsermount").rmdir()
    (tmp_path / "real").mkdir(mode=0o700)
    (tmp_path / "browsermount").symlink_to(tmp_path / "real")
    with pytest.raises(NetworkUnavailable, match="somebody else's"):
        runtime_directory()


def test_where_there_is_no_such_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_RUNTIME_DIR")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert runtime_directory() == tmp_path / f"browsermount-{os.getuid()}"
