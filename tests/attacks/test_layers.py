"""Layers and documents of a few kilobytes that would cost gigabytes or minutes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from browsermount import limits
from browsermount.blobs.store import Store
from browsermount.errors import BrowsermountError, InvalidLayer
from browsermount.layers import estargz
from browsermount.layers.tar import TarParser
from browsermount.layers.toc import read_toc
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.rootfs.content import SparseContent
from browsermount.rootfs.merge import STEP, Merger
from browsermount.rootfs.tree import Tree
from browsermount.steps import finish
from tests.core.loop import run
from tests.core.test_opener import fetcher_of, opened

from .bounded import attack
from .layers import header, pax

LAYER = "application/vnd.oci.image.layer.v1.tar"


@pytest.mark.parametrize(
    ("name", "message", "mebibytes"),
    [
        ("endless_directories", "files and directories", 100),
        ("long_names", "too long", 64),
        ("long_paths", "MiB of memory", 64),
        ("large_attributes", "too long", 96),
        ("many_attributes", "MiB of memory", 64),
        ("many_members", "MiB of memory", 64),
        ("many_pieces", "MiB of memory", 96),
        ("repeated_layer", "files and directories", 64),
        ("many_values", "values", 256),
    ],
)
def test_refused(name: str, message: str, mebibytes: int) -> None:
    outcome = attack(f"layers:{name}", seconds=5, mebibytes=mebibytes + 64)
    assert outcome.error in ("InvalidLayer", "InvalidImage"), outcome
    assert message in outcome.message
    assert outcome.mebibytes < mebibytes
    assert outcome.seconds < 3


def test_deep_directories_cost_no_more_than_others() -> None:
    outcome = attack("layers:deep_directories", seconds=5, mebibytes=128)
    assert outcome.result == 20 * 2038 + 2
    assert outcome.seconds < 2


def test_a_document_of_escapes() -> None:
    outcome = attack("layers:escapes", seconds=2, mebibytes=64)
    assert outcome.result == str(1 << 20)


def entries(data: bytes) -> list[Any]:
    parser = TarParser()
    return parser.feed(data)


@pytest.mark.parametrize("key", ["path", "linkpath"])
def test_paths_at_the_edge(key: str) -> None:
    assert len(entries(pax(**{key: b"n" * limits.MAX_PATH}) + header(b"f", b"2"))) == 1
    with pytest.raises(InvalidLayer, match="longer than 4095 bytes"):
        entries(pax(**{key: b"n" * (limits.MAX_PATH + 1)}) + header(b"f", b"2"))


def test_attributes_at_the_edge() -> None:
    room = limits.MAX_XATTRS_SIZE - len("user.x")
    assert len(entries(pax(SCHILY__xattr__user__x=b"v" * room) + header(b"f"))) == 1
    with pytest.raises(InvalidLayer, match="extended attributes"):
        entries(pax(SCHILY__xattr__user__x=b"v" * (room + 1)) + header(b"f"))


def test_paths_and_attributes_in_a_table_of_contents() -> None:
    def toc(**row: Any) -> bytes:
        entry = {"name": "f", "type": "symlink", "linkName": "l", **row}
        return json.dumps({"version": 1, "entries": [entry]}).encode()

    found = finish(read_toc(toc(name="n" * limits.MAX_PATH, linkName="n" * limits.MAX_PATH)))
    assert len(found) == 1
    for row in (
        {"name": "n" * (limits.MAX_PATH + 1)},
        {"linkName": "n" * (limits.MAX_PATH + 1)},
        {"xattrs": {"user.x": "AAAA" * (limits.MAX_XATTRS_SIZE // 3 + 1)}},
        {"xattrs": {"n" * 256: "AAAA"}},
        {"modtime": "2020-01-01T00:00:00." + "1" * 31 + "Z"},
        {"modtime": "\u0662020-01-01T00:00:00Z"},
    ):
        with pytest.raises(InvalidLayer):
            finish(read_toc(toc(**row)))


def test_members_of_a_table_of_contents(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "MAX_METADATA", 10_000)
    rows = [{"name": f"d{i}", "type": "dir"} for i in range(60)]
    with pytest.raises(InvalidLayer, match="MiB of memory"):
        finish(read_toc(json.dumps({"version": 1, "entries": rows}).encode()))


def test_a_large_table_of_contents_lets_others_have_their_turn() -> None:
    """However large it is, a step has some hundred members, or 256 KiB of the document."""
    row = {"type": "reg", "size": 9, "chunkDigest": str(Digest.of(b""))}
    rows = [{"name": f"d/{i}", "offset": 10 * i + 1, **row} for i in range(30_000)]
    data = json.dumps({"version": 1, "entries": rows}).encode()
    steps, longest, count = estargz.index_from_toc(data, 10**6), 0.0, 0
    while True:
        start = time.process_time()
        try:
            next(steps)
        except StopIteration as end:
            index = end.value
            break
        longest = max(longest, time.process_time() - start)
        count += 1
    assert len(index.entries) == 30_000
    assert count > 300
    assert longest < 0.1


def test_merging_lets_others_have_their_turn() -> None:
    found = entries(b"".join(header(b"f%d" % i) for i in range(3 * STEP)))
    tree = Tree()
    steps = Merger(tree, tree.root).steps(found, None)  # type: ignore[arg-type]
    assert isinstance(steps, Iterator)
    assert sum(1 for _ in steps) == 3


def test_reads_of_many_pieces_look_at_few() -> None:
    class Counting(tuple[Any, ...]):
        looked = 0

        def __getitem__(self, place: Any) -> Any:
            Counting.looked += 1
            return super().__getitem__(place)

    class Zeros:
        def read_now(self, offset: int, size: int) -> bytes:
            return bytes(size)

    (entry,) = entries(
        pax(
            GNU__sparse__map=b",".join(b"%d,1" % (2 * i) for i in range(10_000)),
            GNU__sparse__size=b"20000",
        )
        + header(b"f", size=10_000)
    )
    content = SparseContent(Zeros(), Counting(entry.segments), 20_000)  # type: ignore[arg-type]
    assert content.read_now(10_000, 10) == bytes(10)
    assert Counting.looked < 30


def test_a_layer_that_is_said_to_be_huge_lets_others_be_kept() -> None:
    kept = "sha256-" + "a" * 64 + ".blob"
    claimed = Descriptor(LAYER, Digest.of(b"x"), 900)
    store = Store(limit=1000)

    async def fill() -> None:
        assert (await store.open(kept)).write(0, bytes(900))
        await store.close()

    run(fill())
    for size in (900, 10**18):
        descriptor = replace(claimed, size=size)
        with pytest.raises(BrowsermountError):
            opened(descriptor, fetcher_of(descriptor, b"short"), store)
        assert run(store.usage()).size == 900


def test_a_huge_layer_evicts_nothing_before_it_comes() -> None:
    async def work() -> tuple[bool, int]:
        store = Store(limit=1000)
        await store.save("sha256-a.json", bytes(900))
        reserved = await store.reserve(10**18)
        return reserved, (await store.usage()).size

    assert run(work()) == (False, 900)
