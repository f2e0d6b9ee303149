"""A second visit: what is held needs no network."""

from typing import Any

import pytest

from browsermount.blobs.caching import CachingSource
from browsermount.blobs.files import MemoryFiles
from browsermount.blobs.store import Store
from browsermount.errors import NetworkError
from browsermount.events import Event, LayerProgress, LayerState
from browsermount.mount import Mount, mount
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.layout import LayoutSource
from browsermount.reference import LayoutReference

from .client import Client
from .images import BASE, FakeFetcher, FakeResponse, Layout, member, tar
from .loop import run

LAYERS = (
    tar(member("etc/"), member("etc/passwd", b"root:x:0:0::/root:/bin/sh\n")),
    tar(member("big", bytes(range(256)) * 4000)),
)


class Network(FakeFetcher):
    down = False

    async def get(self, url: str, **options: Any) -> FakeResponse:
        if self.down:
            raise NetworkError(f"cannot reach {url}")
        return await super().get(url, **options)


def visit(network: Network, files: MemoryFiles) -> tuple[Mount, list[Event]]:
    """Open the image as a page does that knows no more than what was kept."""
    events: list[Event] = []

    async def work() -> Mount:
        store = Store(files)
        mounted = await mount(BASE, fetcher=network, store=store, on_event=events.append)
        await store.close()
        return mounted

    return run(work()), events


def content(mounted: Mount) -> bytes:
    return Client(mounted.tree.root).read(b"rootfs", b"big")


@pytest.mark.parametrize("compress", [True, False])
def test_a_second_visit_fetches_only_what_the_name_stands_for(compress: bool) -> None:
    network = Network(Layout().add(*LAYERS, compress=compress).index())
    files = MemoryFiles()
    first, _ = visit(network, files)
    before = len(network.asked)
    second, events = visit(network, files)
    assert {url.rsplit("/", 1)[1] for url in network.asked[before:]} == {"index.json", "oci-layout"}
    assert content(first) == content(second) == bytes(range(256)) * 4000
    states = [event.state for event in events if isinstance(event, LayerProgress)]
    assert states == [LayerState.WAITING, LayerState.EXISTS] * 2


def test_without_the_network_the_last_known_image_is_opened() -> None:
    network = Network(Layout().add(*LAYERS).index())
    files = MemoryFiles()
    visit(network, files)
    network.down = True
    offline, events = visit(network, files)
    assert content(offline) == bytes(range(256)) * 4000
    assert "seen the last time" in next(e.message for e in events if e.kind == "notice")  # type: ignore[attr-defined]
    with pytest.raises(NetworkError):
        visit(network, MemoryFiles())


def test_a_name_that_stands_for_another_image_is_noticed() -> None:
    files = MemoryFiles()
    visit(Network(Layout().add(*LAYERS).index()), files)
    other, _ = visit(Network(Layout().add(tar(member("big", b"new"))).index()), files)
    assert content(other) == b"new"


async def _damage(files: MemoryFiles, ending: str) -> int:
    names = [name for name in await files.names() if name.endswith(ending)]
    for name in names:
        data = await files.read(name) or b""
        await files.replace(name, bytes([data[0] ^ 1]) + data[1:])
    return len(names)


@pytest.mark.parametrize("ending", [".json", ".index"])
def test_what_was_damaged_is_fetched_anew(ending: str) -> None:
    network = Network(Layout().add(*LAYERS).index())
    files = MemoryFiles()
    visit(network, files)
    assert run(_damage(files, ending)) > 1
    again, _ = visit(network, files)
    assert content(again) == bytes(range(256)) * 4000


async def _overwrite(files: MemoryFiles, data: bytes) -> int:
    names = [name for name in await files.names() if name.startswith("name-")]
    for name in names:
        await files.replace(name, data)
    return len(names)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"manifests": ' + b"[" * 100_000, b"{}", b"7"])
def test_a_kept_name_that_somebody_else_has_written(data: bytes) -> None:
    network = Network(Layout().add(*LAYERS).index())
    files = MemoryFiles()
    visit(network, files)
    assert run(_overwrite(files, data)) == 1
    network.down = True
    with pytest.raises(NetworkError):
        visit(network, files)


@pytest.mark.parametrize(
    "document",
    [
        {"mediaType": "a/b", "digest": "sha256:" + "0" * 64, "size": 3},
        {
            "mediaType": "a/b",
            "digest": "sha256:" + "0" * 64,
            "size": 3,
            "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
            "annotations": {"x": "y"},
            "data": "YWJj",
            "urls": ["https://example.com/a"],
        },
    ],
)
def test_descriptors_are_kept_whole(document: dict[str, Any]) -> None:
    assert Descriptor.from_document(document, "it").to_document() == document


def test_it_is_called_as_the_source() -> None:
    source = LayoutSource(FakeFetcher({}), LayoutReference(BASE))
    assert str(CachingSource(source, Store(), lambda error: None)) == BASE
