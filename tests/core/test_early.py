"""Layers that come decompressed from somebody who began before the mount was there."""

import asyncio
import gzip
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from browsermount.blobs.buffers import Buffer, BufferCache, MemoryBuffer
from browsermount.blobs.store import Store
from browsermount.layers.span import own_digest
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.layout import LayoutSource
from browsermount.reference import LayoutReference
from browsermount.streams import early as module
from browsermount.streams.early import EarlyLayer
from browsermount.streams.opener import LayerOpener
from browsermount.streams.stream import LayerStream
from browsermount.streams.traffic import Traffic
from tests.core.images import BASE, FakeFetcher, member, sha256, tar
from tests.core.layers import read_layer
from tests.core.loop import run
from tests.core.spans import text

BIG = text(300_000, 1)
ARCHIVE = tar(member("a", b"1234"), member("big", BIG), member("b", b"56"), member("empty", b""))
BLOB = gzip.compress(ARCHIVE)
LAYER = Descriptor(
    "application/vnd.oci.image.layer.v1.tar+gzip", Digest.parse(sha256(BLOB)), len(BLOB)
)


@dataclass
class Coming:
    """An :class:`EarlyLayer` whose pieces come one by one."""

    pieces: list[bytes]
    failed: bool = False
    came: int = len(BLOB)
    sha256: str = LAYER.digest.encoded
    closed: bool = False
    stalls: bool = False
    _waiting: list[Buffer] = field(default_factory=list)

    @classmethod
    def of(cls, plain: bytes, size: int) -> "Coming":
        return cls([plain[start : start + size] for start in range(0, len(plain), size)])

    def take(self) -> Sequence[Buffer]:
        taken, self._waiting = self._waiting, []
        return taken

    async def wait(self) -> bool:
        if self.stalls:
            await asyncio.Event().wait()
        await asyncio.sleep(0)
        if self.pieces:
            self._waiting.append(MemoryBuffer(self.pieces.pop(0)))
        return bool(self.pieces)

    def close(self) -> None:
        self.closed = True


class Opened:
    """The layer, opened with what comes already."""

    def __init__(self, coming: EarlyLayer | None, store: Store, blob: bytes = BLOB) -> None:
        self.fetcher = FakeFetcher({f"blobs/sha256/{LAYER.digest.encoded}": blob})
        self.wanted: list[str] = []

        async def early(digits: str) -> EarlyLayer | None:
            self.wanted.append(digits)
            return coming

        self.opener = LayerOpener(
            LayoutSource(self.fetcher, LayoutReference(BASE)),
            store,
            BufferCache(1 << 24),
            Traffic(lambda error, lost: None, lambda: None),
            lambda event: None,
            early=early,
        )
        self.stream: LayerStream = run(self.opener.open(0, LAYER))
        self.entries = list(self.stream.index.entries)

    def contents(self) -> dict[bytes, bytes]:
        return {
            entry.name: b"".join(
                run(self.stream.read(segment.stream_offset, segment.size))
                for segment in entry.segments
            )
            for entry in self.entries
        }


CONTENTS = {b"a": b"1234", b"big": BIG, b"b": b"56", b"empty": b""}


@pytest.mark.parametrize("size", [512, 1000, 1 << 16, 1 << 19])
def test_it_is_what_it_would_be_in_any_other_way(size: int) -> None:
    coming = Coming.of(ARCHIVE, size)
    opened = Opened(coming, Store())
    assert opened.wanted == [LAYER.digest.encoded]
    assert not opened.fetcher.asked
    assert opened.entries == read_layer(BLOB)[0].entries
    assert opened.contents() == CONTENTS
    assert coming.closed


def test_it_is_kept_when_nobody_reads() -> None:
    """The next visit reads it without any request."""
    store = Store()
    first = Opened(Coming.of(ARCHIVE, 1 << 16), store)
    assert run(first.opener.index(LAYER)) is None
    first.stream.index.entries.clear()  # as the mount does
    run(first.opener.settle(LAYER, first.stream))
    assert first.contents() == CONTENTS

    second = Opened(None, store)
    assert not second.wanted
    assert not second.fetcher.asked
    assert second.entries == first.entries
    assert second.contents() == CONTENTS
    # What it is verified by from now on.
    pieces = [ARCHIVE[start : start + (1 << 16)] for start in range(0, len(ARCHIVE), 1 << 16)]
    spans = second.stream.index.spans
    assert [span.digest for span in spans] == [own_digest(piece) for piece in pieces]


def test_where_it_cannot_be_kept_it_stays_in_memory() -> None:
    store = Store(limit=1000)
    run(store.save("of-others", b"kept"))
    opened = Opened(Coming.of(ARCHIVE, 1 << 16), store)
    run(opened.opener.settle(LAYER, opened.stream))
    assert run(opened.opener.index(LAYER)) is None
    # Nothing is let go for it.
    assert run(store.load("of-others")) == b"kept"
    assert opened.contents() == CONTENTS


OTHER = tar(member("a", b"evil"))


@pytest.mark.parametrize(
    "coming",
    [
        Coming([OTHER], sha256=hashlib.sha256(gzip.compress(OTHER)).hexdigest()),
        Coming([ARCHIVE], came=len(BLOB) - 1),
        Coming([ARCHIVE], came=len(BLOB) + 1),
        Coming([ARCHIVE], failed=True, sha256=""),
        Coming([ARCHIVE[:1000]], failed=True, sha256=""),
        Coming([ARCHIVE[: len(ARCHIVE) // 2]]),
        Coming([b"no archive at all" * 100]),
        Coming([ARCHIVE], stalls=True),
    ],
    ids=[
        "another archive",
        "too short",
        "too long",
        "several members",
        "damaged",
        "cut off",
        "no archive",
        "stalled",
    ],
)
def test_what_is_wrong_with_it_is_found_out_by_reading_it_as_ever(
    coming: Coming, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STALL_SECONDS", 0.01)
    opened = Opened(coming, Store())
    assert coming.closed
    assert opened.fetcher.asked
    assert opened.contents() == CONTENTS
