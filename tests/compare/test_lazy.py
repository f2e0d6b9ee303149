"""Layers that are read lazily give the tree that other programs make of the whole layers."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from pathlib import Path

import pytest

from browsermount.layers.index import LayerIndex, LayerKind
from browsermount.layers.indexer import LayerIndexer
from browsermount.layers.lazy import open_index
from browsermount.layers.span import decode
from browsermount.oci.descriptor import Descriptor
from browsermount.rootfs.merge import Merger
from browsermount.rootfs.tree import Tree
from tests.compare.readers import (
    mount_layout,
    read_mount,
    read_tree,
    unpack_with_umoci,
    work_directory,
)
from tests.compare.records import Records, differences
from tests.fixtures import fixture
from tests.fixtures.layout import Json, manifest_layers, read_layers
from tests.fixtures.lazy import CHUNK, ZSTD_CHUNKED
from tests.fixtures.tools import run, umoci_add, umoci_new

TAG = "lazy"
# What eStargz adds to its archives; our tree does not show it, as containerd's does not.
ADDED = (b"stargz.index.json", b".prefetch.landmark", b".no.prefetch.landmark")


def ours(layout: Path, tag: str = TAG) -> Records:
    async def read() -> Records:
        mounted = await mount_layout(layout, tag)
        try:
            return await read_mount(mounted)
        finally:
            await mounted.close()

    return asyncio.run(read())


def expected(layout: Path) -> Records:
    """Let zstd(1) and umoci unpack what they are told to be ordinary layers."""
    layers = manifest_layers(layout)
    if not layers[0]["mediaType"].endswith("zstd"):
        records = unpack_with_umoci(layout, TAG)
    else:
        with work_directory() as work:
            image = umoci_new(work / "layout", TAG)
            for number, layer in enumerate(layers):
                archive = work / f"{number}.tar"
                archive.write_bytes(run("zstd", "-dcq", blob_path(layout, layer)))
                umoci_add(image, archive)
            records = unpack_with_umoci(work / "layout", TAG)
    return {path: record for path, record in records.items() if path not in ADDED}


def blob_path(layout: Path, layer: Json) -> Path:
    return layout.joinpath("blobs", *layer["digest"].split(":"))


LAYOUTS = ["original", "estargz", "estargz-prefetch", "estargz-unverified", "zstd-chunked"]


def layout_of(name: str) -> Path:
    return ZSTD_CHUNKED if name == "committed zstd-chunked" else fixture("lazy") / name


@pytest.mark.parametrize("name", [*LAYOUTS, "committed zstd-chunked"])
def test_same_tree_as_umoci(name: str) -> None:
    layout = layout_of(name)
    tree = expected(layout)
    assert {record.type for record in tree.values()} == set("fdlcbp")
    assert len(tree) > 60
    text = differences(tree, ours(layout))
    assert not text, f"\n{text}"


@pytest.mark.parametrize("name", LAYOUTS[1:])
def test_same_tree_in_all_forms(name: str) -> None:
    text = differences(ours(fixture("lazy") / "original"), ours(layout_of(name)))
    assert not text, f"\n{text}"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("original", None),
        ("estargz", LayerKind.ESTARGZ),
        ("estargz-prefetch", LayerKind.ESTARGZ),
        ("estargz-unverified", None),
        ("zstd-chunked", LayerKind.ZSTD_CHUNKED),
        ("committed zstd-chunked", LayerKind.ZSTD_CHUNKED),
    ],
)
def test_tables_of_contents(name: str, kind: LayerKind | None) -> None:
    """Without this, the trees could be the same because all layers were read as a whole."""
    layout = layout_of(name)
    first = manifest_layers(layout)[0]
    fetched = 0

    async def read(offset: int, size: int) -> bytes:
        nonlocal fetched
        fetched += size
        with blob_path(layout, first).open("rb") as file:
            file.seek(offset)
            return file.read(size)

    descriptor = Descriptor.from_document(first, "manifest")
    index = asyncio.run(open_index(descriptor, read))
    if kind is None:
        assert index is None
        assert not fetched
        return
    assert index is not None
    assert index.kind is kind
    assert index.from_toc
    assert fetched < descriptor.size // 20
    entries = {entry.name.removeprefix(b"./"): entry for entry in index.entries}
    assert not set(ADDED) & set(entries)
    assert (0 < index.prefetch < descriptor.size) == (name == "estargz-prefetch")
    if name == "estargz":
        (noise,) = entries[b"data/noise"].segments
        assert [s.size for s in index.spans if s.stream_offset == noise.stream_offset] == [CHUNK]
    if name == "committed zstd-chunked":
        # Runs of zeros are left out.
        assert len(entries[b"data/holes"].segments) > 1


class SpanStream:
    """A layer's plain stream, all of which is decoded from the blob span by span."""

    def __init__(self, index: LayerIndex, blob: bytes) -> None:
        self._spans = index.spans
        self._starts = [span.stream_offset for span in index.spans]
        self._blob = blob
        self._decoded: dict[int, bytes] = {}

    def read_now(self, offset: int, size: int) -> bytes:
        result = b""
        number = bisect_right(self._starts, offset) - 1
        while len(result) < size:
            span = self._spans[number]
            if number not in self._decoded:
                stored = self._blob[span.blob_offset : span.blob_end]
                self._decoded[number] = decode(span, stored)
            start = offset + len(result) - span.stream_offset
            result += self._decoded[number][start : start + size - len(result)]
            number += 1
        return result

    async def read(self, offset: int, size: int) -> bytes:
        return self.read_now(offset, size)


@pytest.mark.parametrize(
    ("name", "folder", "tag"),
    [
        ("features", "layout", "features"),
        ("features", "layout-zstd", "features"),
        ("lazy", "original", "lazy"),
        ("lazy", "estargz", "lazy"),
        ("lazy", "zstd-chunked", "lazy"),
        ("debian", "layout", "latest"),
    ],
)
def test_same_tree_through_what_the_first_pass_recorded(name: str, folder: str, tag: str) -> None:
    """What a later visit reads, with nothing of the first one but the index."""
    layout = fixture(name) / folder
    tree = Tree()
    merger = Merger(tree, tree.root)
    for layer in read_layers(layout, tag):
        indexer = LayerIndexer(lambda span, plain: None)
        indexer.feed(layer.content)
        index = LayerIndex.from_bytes(indexer.close().to_bytes())
        assert index.stored == "blob"
        merger.apply(index.entries, SpanStream(index, layer.content))
    text = differences(ours(layout, tag), asyncio.run(read_tree(tree.root)))
    assert not text, f"\n{text}"
