"""Keeping what was fetched."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from browsermount.blobs.buffers import BufferCache
from browsermount.blobs.files import File, MemoryFile, MemoryFiles, NoRoom
from browsermount.blobs.store import CATALOG, DAMAGED_CATALOG, MAX_CATALOG, Store

from .loop import run


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


class CrampedFile(MemoryFile):
    def __init__(self, room: Callable[[int], bool]) -> None:
        super().__init__()
        self._room = room

    def write(self, offset: int, data: bytes) -> None:
        if not self._room(len(data)):
            raise NoRoom("the disk is full")
        super().write(offset, data)


class CrampedFiles(MemoryFiles):
    """A place that is smaller than the limit says, and whose open files cannot be removed."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.left = size
        self.locked: set[str] = set()

    def _take(self, size: int) -> bool:
        if size > self.left:
            return False
        self.left -= size
        return True

    async def open(self, name: str) -> File:
        if name in self.locked:
            raise NoRoom("somebody else has it open")
        return CrampedFile(self._take)

    async def remove(self, name: str) -> bool:
        return name not in self.locked and await super().remove(name)


def test_parts_of_a_blob() -> None:
    async def use() -> None:
        store = Store()
        blob = await store.open("a.blob")
        assert blob.write(100, b"later")
        assert blob.write(0, b"first")
        assert not blob.covers(0, 6)
        assert blob.covers(101, 3)
        assert blob.read(101, 3) == b"ate"
        assert list(blob.ranges) == [(0, 5), (100, 105)]
        assert await store.open("a.blob") is blob
        assert (await store.usage()).size == 10
        blob.drop(100, 2)
        assert not blob.covers(100, 5)
        assert (await store.usage()).size == 8

    run(use())


def test_what_is_kept_is_there_for_the_next() -> None:
    async def use() -> None:
        files = MemoryFiles()
        first = Store(files)
        (await first.open("a.blob")).write(3, b"abc")
        await first.save("doc", b"{}")
        await first.close()
        second = Store(files)
        blob = await second.open("a.blob")
        assert list(blob.ranges) == [(3, 6)]
        assert blob.read(3, 3) == b"abc"
        assert await second.load("doc") == b"{}"
        assert await second.load("other") is None
        usage = await second.usage()
        assert (usage.size, usage.objects) == (5, 2)

    run(use())


def test_two_at_a_time_do_not_lose_what_the_other_has_kept() -> None:
    async def use() -> None:
        files = MemoryFiles()
        one, other = Store(files), Store(files)
        first, second = await one.open("a.blob"), await other.open("a.blob")
        first.write(0, b"aa")
        second.write(10, b"bb")
        await one.commit()
        await other.commit()
        await other.save("doc", b"x")
        await one.close()
        await other.close()
        third = Store(files)
        assert list((await third.open("a.blob")).ranges) == [(0, 2), (10, 12)]
        assert await third.load("doc") == b"x"

    run(use())


def test_what_is_written_while_the_catalog_is_written_is_not_lost() -> None:
    async def use() -> None:
        class Slow(MemoryFiles):
            async def replace(self, name: str, data: bytes) -> None:
                if name == CATALOG:
                    for _ in range(3):
                        await asyncio.sleep(0)
                await super().replace(name, data)

        files = Slow()
        store = Store(files)
        blob = await store.open("a.blob")
        blob.write(0, b"aa")
        commit = asyncio.ensure_future(store.commit())
        await asyncio.sleep(0)
        blob.write(10, b"bb")
        blob.drop(0, 1)
        await commit
        await store.commit()
        assert list((await Store(files).open("a.blob")).ranges) == [(1, 2), (10, 12)]

    run(use())


def test_the_least_recently_used_go_first() -> None:
    async def use() -> None:
        store = Store(limit=30, clock=Clock())
        for name in ("a", "b", "c"):
            assert await store.save(name, bytes(10))
        assert await store.load("a")
        assert await store.save("d", bytes(10))
        assert [name for name in "abcd" if await store.load(name)] == ["a", "c", "d"]
        assert not await store.save("e", bytes(31))
        await store.prune(10)
        assert (await store.usage()).size <= 10

    run(use())


def test_blobs_go_before_what_is_known_of_them() -> None:
    async def use() -> None:
        files = MemoryFiles()
        first = Store(files, clock=Clock())
        await first.save("index", bytes(10))
        (await first.open("a.blob")).write(0, bytes(20))
        await first.close()
        second = Store(files, limit=30)
        assert await second.save("other", bytes(10))
        assert await second.load("index") == bytes(10)
        assert not (await second.open("a.blob")).ranges

    run(use())


def test_what_is_open_stays() -> None:
    async def use() -> None:
        store = Store(limit=30)
        blob = await store.open("a.blob")
        blob.write(0, bytes(20))
        assert not await store.save("b", bytes(20))
        await store.clear()
        assert blob.covers(0, 20)
        assert await store.save("c", bytes(5))
        await store.clear()
        assert await store.load("c") is None
        assert (await store.usage()).size == 20

    run(use())


def test_a_limit_stops_writing() -> None:
    async def use() -> None:
        store = Store(limit=30)
        blob = await store.open("a.blob")
        assert blob.write(0, bytes(25))
        assert not blob.write(25, bytes(25))
        assert list(blob.ranges) == [(0, 25)]

    run(use())


def test_room_is_made_beside_what_is_to_be_saved_anew() -> None:
    async def main() -> None:
        store = Store(limit=1000)
        await store.save("a", bytes(400))
        await store.save("b", bytes(400))
        # Whoever saves the one must not wait until the other is saved: by itself.
        store.save_later("a", bytes(500))
        store.save_later("b", bytes(600))
        await store.commit()
        assert (await store.usage()).size <= 1000

    run(main())


def test_a_full_disk_is_survived() -> None:
    async def use() -> None:
        files = CrampedFiles(30)
        store = Store(files, clock=Clock())
        old = await store.open("old.blob")
        assert old.write(0, bytes(20))
        await store.close()
        new = await store.open("new.blob")
        assert not new.write(0, bytes(20))
        assert store.full
        files.left += 20  # what removing the old one gives back
        assert await store.reserve(20)
        assert new.write(0, bytes(20))
        assert not (await store.open("old.blob")).ranges

    run(use())


def test_what_another_tab_has_locked_is_kept_in_memory() -> None:
    async def use() -> None:
        files = CrampedFiles(100)
        store = Store(files)
        (await store.open("a.blob")).write(0, b"abc")
        await store.close()
        files.locked.add("a.blob")
        blob = await store.open("a.blob")
        assert not blob.ranges
        assert blob.write(0, b"abc")
        assert blob.read(0, 3) == b"abc"

    run(use())


def test_what_is_discarded_is_gone() -> None:
    async def use() -> None:
        store = Store()
        (await store.open("a.blob")).write(0, b"bad")
        await store.discard("a.blob")
        blob = await store.open("a.blob")
        assert not blob.ranges
        assert blob.write(0, b"abc")
        assert blob.read(0, 3) == b"abc"
        assert (await store.usage()).size == 3

    run(use())


@pytest.mark.parametrize(
    "catalog",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 1_000_000,
        b'{"version": 2, "objects": {}}',
        b'{"version": 1, "objects": {"a": 1}}',
        b'{"version": 1, "objects": []}',
        *(
            b'{"version": 1, "objects": {"%b": {"used": %b, "whole": false, "ranges": %b}}}' % parts
            for parts in [
                (b"../../precious", b"1", b"[]"),
                (b"/etc/passwd", b"1", b"[]"),
                (b".lock", b"1", b"[]"),
                (b"catalog.json", b"1", b"[]"),
                (b"a" * 256, b"1", b"[]"),
                (b"a", b"Infinity", b"[]"),
                (b"a", b"NaN", b"[]"),
                (b"a", b"1" + b"0" * 400, b"[]"),
                (b"a", b'"1"', b"[]"),
                (b"a", b"1", b"[[0, Infinity]]"),
                (b"a", b"1", b"[[-1, 5]]"),
                (b"a", b"1", b"[[0, 9007199254740993]]"),
                (b"a", b"1", b"[[0, true]]"),
                (b"a", b"1", b'["01"]'),
                (b"a", b"1", b"[[0]]"),
            ]
        ),
        b" " * MAX_CATALOG + b'{"version": 1, "objects": {}}',
    ],
    ids=lambda catalog: repr(catalog[:80]),
)
def test_a_damaged_or_poisoned_catalog_is_put_aside(catalog: bytes) -> None:
    async def use() -> None:
        files = MemoryFiles()
        await files.replace(CATALOG, catalog)
        await files.replace("orphan", b"x")
        store = Store(files)
        assert (await store.usage()).size == 0
        assert await files.read(DAMAGED_CATALOG) == catalog[:MAX_CATALOG]
        assert await store.save("b", b"abc")
        await store.commit()
        written = await files.read(CATALOG)
        assert written is not None
        assert list(json.loads(written)["objects"]) == ["b"]
        await store.clear()
        assert await files.names() == [CATALOG]

    run(use())


def test_files_that_vanish_are_forgotten() -> None:
    async def use() -> None:
        files = MemoryFiles()
        store = Store(files)
        await store.save("a", b"abc")
        await files.remove("a")
        assert await store.load("a") is None
        assert (await store.usage()).objects == 0

    run(use())


def test_memory_files_are_sparse() -> None:
    file = MemoryFile()
    file.write(10, b"world")
    file.write(0, b"hello")
    file.write(3, b"lo, big ")
    assert file.read(0, 15) == b"hello, bigworld"
    assert file.read(12, 2) == b"rl"
    assert file.read(20, 5) == b""


def test_the_cache_of_buffers() -> None:
    cache = BufferCache(10)
    first = cache.put("a", b"aaaa")
    cache.put("b", b"bbbb")
    assert cache.get("a") is first
    cache.put("c", b"cccc")
    assert cache.get("b") is None
    assert cache.size == 8
    cache.put("a", b"AA")
    assert cache.size == 6
    huge = cache.put("huge", bytes(100))
    assert cache.get("huge") is huge
    assert cache.size == 100
    assert first.read(1, 2) == b"aa"


@asynccontextmanager
async def _never() -> AsyncIterator[None]:
    raise NoRoom("no")
    yield


def test_a_catalog_that_cannot_be_written_is_tried_again() -> None:
    async def use() -> None:
        files = MemoryFiles()
        store = Store(files)
        lock, files.lock = files.lock, _never  # type: ignore[method-assign]
        await store.save("a", b"abc")
        await store.commit()
        assert await files.read(CATALOG) is None
        files.lock = lock  # type: ignore[method-assign]
        await store.commit()
        assert await Store(files).load("a") == b"abc"

    run(use())


def test_a_catalog_of_the_future_does_not_keep_its_objects_for_ever() -> None:
    async def use() -> None:
        files = MemoryFiles()
        entry = {"used": 1e300, "whole": False, "ranges": [[0, 1 << 50]]}
        await files.replace(CATALOG, json.dumps({"version": 1, "objects": {"a": entry}}).encode())
        store = Store(files, limit=100, clock=Clock())
        assert await store.save("b", b"abc")
        assert (await store.usage()).size == 3

    run(use())


class UnhurriedFiles(MemoryFiles):
    """Files as a browser's are: everything takes some turns of the loop; the disk may be full."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self._mutex = asyncio.Lock()

    async def _wait(self, *, may_fail: bool = False) -> None:
        for _ in range(self._chance.randrange(4)):
            await asyncio.sleep(0)
        if may_fail and self._chance.random() < 0.2:
            raise NoRoom("the disk is full")

    async def open(self, name: str) -> File:
        await self._wait(may_fail=True)
        file = await super().open(name)
        await self._wait()
        return file

    async def read(self, name: str) -> bytes | None:
        await self._wait()
        data = await super().read(name)
        await self._wait()
        return data

    async def replace(self, name: str, data: bytes) -> None:
        await self._wait(may_fail=True)
        await super().replace(name, data)
        await self._wait()

    async def remove(self, name: str) -> bool:
        await self._wait()
        if self._chance.random() < 0.2:
            return False
        return await super().remove(name)

    @asynccontextmanager
    async def lock(self) -> AsyncIterator[None]:
        async with self._mutex:
            await self._wait(may_fail=True)
            yield


@pytest.mark.parametrize("seed", range(100))
def test_many_at_a_time_in_a_place_that_is_full(seed: int) -> None:
    chance = random.Random(seed)

    async def use(store: Store) -> None:
        for _ in range(30):
            key = f"sha256-{chance.randrange(6)}"
            match chance.randrange(7):
                case 0:
                    await store.save(key, bytes(chance.randrange(50)))
                case 1:
                    data = await store.load(key)
                    assert data is None or not any(data)
                case 2:
                    blob = await store.open(key + ".blob")
                    blob.write(chance.randrange(50), bytes(chance.randrange(1, 20)))
                case 3:
                    await store.discard(key + ".blob")
                case 4:
                    await store.remove(key)
                case 5:
                    await store.commit()
                case 6:
                    store.save_later(key, bytes(chance.randrange(50)))

    async def main() -> None:
        store = Store(UnhurriedFiles(chance), limit=200)
        await asyncio.gather(*(use(store) for _ in range(8)))
        # What is counted is what is there, to the byte.
        for key in (f"sha256-{number}" for number in range(6)):
            while not await store.remove(key):
                pass
            blob = await store.open(key + ".blob")
            blob.drop(0, 100)
        assert (await store.usage()).size == 0

    run(main())
