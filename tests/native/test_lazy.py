"""Images read lazily from real servers, and kept in a directory."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import pytest

from browsermount.blobs import remote
from browsermount.blobs.directory import DirectoryFiles
from browsermount.blobs.store import Store
from browsermount.events import Event, LayerProgress, LayerState
from browsermount.fetch.native import HttpxFetcher
from browsermount.mount import Mount, mount, read_file
from browsermount.oci.image import Source
from browsermount.rootfs.tree import lookup
from browsermount.streams import traffic
from tests.compare.readers import read_mount
from tests.compare.records import differences
from tests.fixtures import fixture
from tests.servers.nginx import Nginx, nginx
from tests.servers.registry import registry

LAZY_KINDS = ["estargz", "estargz-prefetch", "zstd-chunked"]
WORDS = b"".join(b"%d: all work and no play\n" % i for i in range(30_000))
"""What is in the fixture's file data/linked-words."""


@pytest.fixture(scope="module")
def layouts() -> Path:
    """One folder with all kinds of the image."""
    return fixture("lazy")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, layouts: Path) -> Iterator[Nginx]:
    with nginx(tmp_path_factory.mktemp("nginx"), layouts) as running:
        yield running


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "FIRST_DELAY", 0.01)
    monkeypatch.setattr(traffic, "IDLE_SECONDS", 0.05)


Use = Callable[[Mount, list[Event]], Coroutine[Any, Any, Any]]


def opened(image: str | Source, use: Use, directory: Path | None = None, **options: Any) -> Any:
    """Mount an image, let it be used, and leave all tidy."""
    events: list[Event] = []

    async def work() -> Any:
        store = Store(DirectoryFiles(directory)) if directory else Store()
        async with HttpxFetcher() as fetcher:
            mounted = await mount(
                image, fetcher=fetcher, store=store, on_event=events.append, **options
            )
            try:
                return await use(mounted, events)
            finally:
                await mounted.close()
                await store.close()

    return asyncio.run(work())


def states(events: list[Event]) -> list[LayerState]:
    """Return the last state of each layer."""
    last = {event.index: event.state for event in events if isinstance(event, LayerProgress)}
    return [last[index] for index in sorted(last)]


async def nothing(mounted: Mount, events: list[Event]) -> list[LayerState]:
    return states(events)


async def words(mounted: Mount, events: list[Event]) -> bytes | None:
    # What is prefetched somewhere is waited for, else closing the mount gives it up.
    await read_file(mounted.rootfs, b"bin/busybox")
    return await read_file(mounted.rootfs, b"data/linked-words")


def blobs(server: Nginx, since: int = 0) -> list[tuple[str, int, int]]:
    """Return the answers about layers, which are those that are larger than documents."""
    return [
        a for a in server.answers[since:] if "/blobs/" in a[0] and (a[1] == 206 or a[2] > 20000)
    ]


@pytest.mark.parametrize("kind", LAZY_KINDS)
def test_a_lazy_layer_is_read_in_parts(
    server: Nginx, layouts: Path, tmp_path: Path, kind: str
) -> None:
    url = f"{server.url}/{kind}"
    before = len(server.answers)
    assert opened(url, nothing, tmp_path) == [LayerState.LAZY] * 2
    opening = sum(size for _, _, size in blobs(server, before))
    total = sum(path.stat().st_size for path in (layouts / kind).rglob("blobs/*/*"))
    if kind != "estargz-prefetch":
        assert opening < total / 3
    assert opened(url, words, tmp_path) == WORDS
    before = len(server.answers)
    # What was read is kept, and the tables of contents too.
    assert opened(url, words, tmp_path) == WORDS
    assert not blobs(server, before)


def test_prioritised_files_come_with_one_request(server: Nginx, tmp_path: Path) -> None:
    before = len(server.answers)

    async def use(mounted: Mount, events: list[Event]) -> bytes:
        inode = lookup(mounted.rootfs, b"bin/busybox")
        return await inode.content.read(0, inode.size)

    program = opened(f"{server.url}/estargz-prefetch", use, tmp_path)
    assert program[:4] == b"\x7fELF"
    # Two tables of contents, and one more for all that was asked for in advance.
    assert len(blobs(server, before)) == 3


@pytest.mark.parametrize("kind", ["original", *LAZY_KINDS])
def test_every_kind_gives_the_same_tree(server: Nginx, kind: str) -> None:
    async def use(mounted: Mount, events: list[Event]) -> Any:
        return await read_mount(mounted)

    expected = opened(f"{server.url}/original", use)
    assert len(expected) > 20
    text = differences(expected, opened(f"{server.url}/{kind}", use))
    assert not text, f"\n{text}"


@pytest.mark.parametrize("kind", ["original", "estargz"])
def test_without_ranges_the_whole_is_fetched_once(layouts: Path, tmp_path: Path, kind: str) -> None:
    with nginx(tmp_path / "nginx", layouts, ranges=False) as server:
        url = f"{server.url}/{kind}"
        assert opened(url, words, tmp_path / "store") == WORDS
        whole = [path for path, status, size in blobs(server) if status == 200]
        before = len(server.answers)
        assert opened(url, words, tmp_path / "store") == WORDS
        assert not blobs(server, before)
    # The attempts to read a part were given up as soon as their headers had come.
    assert len(whole) <= 4


def test_an_unverified_table_is_believed_only_when_allowed(server: Nginx, tmp_path: Path) -> None:
    url = f"{server.url}/estargz-unverified"

    async def notices(mounted: Mount, events: list[Event]) -> Any:
        return states(events), [e.to_dict()["message"] for e in events if e.kind == "notice"]

    found, said = opened(url, notices, tmp_path, allow_unverified=True)
    assert found == [LayerState.LAZY] * 2
    assert not said
    # To have been allowed once is not to be allowed for ever.
    found, said = opened(url, notices, tmp_path)
    assert found == [LayerState.READY] * 2
    assert len(said) == 2
    assert "no digest of its table of contents" in said[0]


def test_checkpoints_make_an_ordinary_layer_lazy(server: Nginx, tmp_path: Path) -> None:
    url = f"{server.url}/original"
    assert opened(url, nothing, tmp_path) == [LayerState.READY] * 2
    assert opened(url, nothing, tmp_path) == [LayerState.EXISTS] * 2

    async def forget_blobs() -> None:
        store = Store(DirectoryFiles(tmp_path))
        for name in await DirectoryFiles(tmp_path).names():
            if name.endswith(".blob"):
                assert await store.remove(name)
        await store.close()

    asyncio.run(forget_blobs())
    before = len(server.answers)
    assert opened(url, nothing, tmp_path) == [LayerState.LAZY] * 2
    opening = blobs(server, before)
    assert all(status == 206 for _, status, _ in opening)
    assert opened(url, words, tmp_path) == WORDS


def test_the_rest_is_fetched_while_nobody_reads(server: Nginx, tmp_path: Path) -> None:
    async def fill(mounted: Mount, events: list[Event]) -> list[LayerState]:
        mounted.start_fill()
        for _ in range(500):
            if states(events) == [LayerState.EXISTS] * 2:
                break
            await asyncio.sleep(0.01)
        return states(events)

    url = f"{server.url}/estargz"
    assert opened(url, fill, tmp_path) == [LayerState.EXISTS] * 2
    server.kill()
    try:
        assert opened(url, words, tmp_path) == WORDS
    finally:
        server.start()


def test_a_server_that_dies_and_comes_back(tmp_path: Path) -> None:
    with nginx(tmp_path / "nginx", fixture("lazy")) as server:

        async def use(mounted: Mount, events: list[Event]) -> None:
            inode = lookup(mounted.rootfs, b"data/linked-words")
            assert await inode.content.read(0, 10) == WORDS[:10]
            server.kill()
            with pytest.raises(OSError) as caught:  # noqa: PT011
                await inode.content.read(inode.size - 10, 10)
            assert caught.value.errno == errno.EIO
            troubles = [event.to_dict() for event in events if event.kind == "trouble"]
            assert [trouble["lost"] for trouble in troubles].count(True) == 1
            assert "cannot reach" in troubles[-1]["message"]
            server.start()
            assert await inode.content.read(inode.size - 10, 10) == WORDS[-10:]
            assert events[-1].kind in ("recovered", "layer")
            assert any(event.kind == "recovered" for event in events)
            # A server that is away for a moment is not even noticed by who reads.
            server.kill()
            read = asyncio.ensure_future(inode.content.read(300_000, 10))
            await asyncio.sleep(0.03)
            server.start()
            assert await read == WORDS[300_000:300_010]

        opened(f"{server.url}/estargz", use)


def test_a_lazy_image_of_a_registry(tmp_path: Path) -> None:
    with registry(tmp_path / "registry") as server:
        server.push(fixture("lazy") / "estargz", "lazy", "team/lazy:1")
        image = f"{server.host}/team/lazy:1"
        assert opened(image, nothing, tmp_path / "store") == [LayerState.LAZY] * 2
        assert opened(image, words, tmp_path / "store") == WORDS


def test_damage_on_the_disk_is_noticed(server: Nginx, tmp_path: Path) -> None:
    url = f"{server.url}/estargz"
    assert opened(url, words, tmp_path) == WORDS
    for path in tmp_path.glob("*.blob"):
        data = bytearray(path.read_bytes())
        for place in range(0, len(data), 999):
            data[place] ^= 0x55
        path.write_bytes(data)
    before = len(server.answers)
    assert opened(url, words, tmp_path) == WORDS
    assert blobs(server, before)
    for path in tmp_path.iterdir():
        path.write_bytes(b"")
    assert opened(url, words, tmp_path) == WORDS


def test_a_disk_that_cannot_be_written_is_done_without(server: Nginx, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert opened(f"{server.url}/estargz", words, tmp_path / "file" / "store") == WORDS
    assert opened(f"{server.url}/original", words, tmp_path / "file" / "store") == WORDS


def test_what_is_kept_is_private_and_sparse(server: Nginx, tmp_path: Path) -> None:
    opened(f"{server.url}/estargz", words, tmp_path)
    kept = list(tmp_path.glob("*.blob"))
    assert kept
    if os.name == "posix":
        assert {path.stat().st_mode & 0o077 for path in kept} == {0}
