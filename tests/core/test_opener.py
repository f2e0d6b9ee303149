"""Which way a layer is opened, and what counts of what was learned before."""

import gzip
from dataclasses import replace

from browsermount.blobs.buffers import BufferCache
from browsermount.blobs.store import Store
from browsermount.events import Event
from browsermount.layers.estargz import DIGEST_ANNOTATION
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.layout import LayoutSource
from browsermount.reference import LayoutReference
from browsermount.streams.opener import LayerOpener
from browsermount.streams.stream import LayerStream
from browsermount.streams.traffic import Traffic
from tests.core.images import BASE, FakeFetcher, member, sha256, tar
from tests.core.loop import run
from tests.core.spans import text
from tests.core.tocs import Blob, estargz

SH, EVIL = text(5000, 1), text(5000, 2)


def files() -> Blob:
    """Return a layer of two files, which is an archive when it is read as a whole, too."""
    blob = Blob()
    blob.data = b""
    for name, content in (("bin/sh", SH), ("tmp/evil", EVIL)):
        archive = tar(member(name, content))
        blob.data += gzip.compress(archive[:512])
        blob.rows.append({"name": name, "type": "reg", "size": len(content), **blob.put(content)})
        blob.data += gzip.compress(bytes(-len(content) % 512))
    return blob


def layer() -> tuple[Descriptor, Blob]:
    blob = files()
    return estargz(blob), blob


def fetcher_of(descriptor: Descriptor, data: bytes) -> FakeFetcher:
    return FakeFetcher({f"blobs/sha256/{descriptor.digest.encoded}": data})


def opened(
    descriptor: Descriptor,
    fetcher: FakeFetcher,
    store: Store,
    *,
    allow_unverified: bool = False,
    known: dict[str, bytes] | None = None,
) -> tuple[LayerStream, list[Event]]:
    events: list[Event] = []
    traffic = Traffic(lambda error, lost: None, lambda: None)
    opener = LayerOpener(
        LayoutSource(fetcher, LayoutReference(BASE)),
        store,
        BufferCache(1 << 24),
        traffic,
        events.append,
        allow_unverified=allow_unverified,
        known=known,
    )
    return run(opener.open(0, descriptor)), events


def shell(stream: LayerStream) -> bytes:
    (entry,) = [entry for entry in stream.index.entries if entry.name == b"bin/sh"]
    (segment,) = entry.segments
    return run(stream.read(segment.stream_offset, segment.size))


def test_a_known_table_is_not_fetched_again() -> None:
    descriptor, blob = layer()
    store = Store()
    fetcher = fetcher_of(descriptor, blob.data)
    for _ in range(2):
        stream, _ = opened(descriptor, fetcher, store)
        assert stream.index.from_toc
    assert len(fetcher.asked) == 1
    assert shell(stream) == SH


def test_an_index_that_is_given_is_believed() -> None:
    descriptor, blob = layer()
    fetcher = fetcher_of(descriptor, blob.data)
    store = Store()
    stream, _ = opened(descriptor, fetcher, store)
    opener = LayerOpener(
        LayoutSource(fetcher, LayoutReference(BASE)),
        store,
        BufferCache(1 << 24),
        Traffic(lambda error, lost: None, lambda: None),
        lambda event: None,
    )
    known = run(opener.index(descriptor))
    assert known is not None
    key, data = known
    asked = len(fetcher.asked)
    stream, _ = opened(descriptor, fetcher, Store(), known={key: data})
    assert len(fetcher.asked) == asked
    assert shell(stream) == SH
    # One that is damaged is as good as none.
    stream, _ = opened(descriptor, fetcher, Store(), known={key: data[:-1]})
    assert len(fetcher.asked) == asked + 2
    assert shell(stream) == SH


def test_a_table_counts_only_for_manifests_that_vouch_for_it() -> None:
    """Else an image could change what another one's layer looks like."""
    descriptor, blob = layer()
    store = Store()
    # Another image names the same layer, with a table in which the files have changed places,
    # and its server gives that table at the layer's end.
    forged = files()
    for row, name in zip(forged.rows, ("tmp/evil", "bin/sh"), strict=True):
        row["name"] = name
    bad = replace(estargz(forged), digest=descriptor.digest)
    stream, _ = opened(bad, fetcher_of(bad, forged.data), store)
    assert shell(stream) == EVIL

    stream, _ = opened(descriptor, fetcher_of(descriptor, blob.data), store)
    assert stream.index.from_toc
    assert shell(stream) == SH
    # A manifest without any digest of a table does not get the forged one either.
    bare = replace(descriptor, annotations={})
    stream, _ = opened(bare, fetcher_of(bare, blob.data), store)
    assert not stream.index.from_toc
    assert shell(stream) == SH


def test_a_table_that_is_not_vouched_for_is_not_kept() -> None:
    descriptor, blob = layer()
    bare = replace(descriptor, annotations={})
    store = Store()
    fetcher = fetcher_of(bare, blob.data)
    stream, _ = opened(bare, fetcher, store, allow_unverified=True)
    assert stream.index.from_toc
    assert shell(stream) == SH
    # What it said does not count for a manifest that vouches for another one.
    wrong = replace(descriptor, annotations={DIGEST_ANNOTATION: sha256(b"other")})
    stream, events = opened(wrong, fetcher, store)
    assert not stream.index.from_toc
    assert shell(stream) == SH
    assert any("table of contents" in getattr(event, "message", "") for event in events)
