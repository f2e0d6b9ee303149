import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from browsermount.layers.entry import Entry, FileType, Segment
from browsermount.layers.index import LayerIndex, LayerKind, UnusableIndex
from browsermount.layers.span import Codec, Span, own_digest
from browsermount.oci.digest import Digest

LARGE = st.integers(0, (1 << 62) - 1)
U32 = st.integers(0, (1 << 32) - 1)

ENTRIES = st.builds(
    Entry,
    name=st.binary(min_size=1),
    type=st.sampled_from([None, *FileType]),
    mode=st.integers(0, 0o7777),
    uid=U32,
    gid=U32,
    mtime_ns=st.integers(-(1 << 63) * 1_000_000_000, ((1 << 63) - 1) * 1_000_000_000),
    size=LARGE,
    link=st.binary(),
    rdev=st.tuples(st.integers(0, (1 << 12) - 1), st.integers(0, (1 << 20) - 1)),
    xattrs=st.dictionaries(st.binary(), st.binary(), max_size=3),
    segments=st.lists(st.builds(Segment, LARGE, LARGE, LARGE), max_size=3).map(tuple),
)
SPANS = st.builds(
    Span,
    stream_offset=LARGE,
    size=LARGE,
    blob_offset=LARGE,
    blob_size=LARGE,
    codec=st.sampled_from(Codec),
    digest=st.sampled_from([own_digest(b"a"), Digest.of(b"b"), Digest("sha512", "ab" * 64)]),
    over=st.sampled_from(["plain", "blob"]),
    skip=LARGE,
    bits=st.integers(0, 7),
    packed_window=st.binary(max_size=30),
)
INDEXES = st.builds(
    LayerIndex,
    kind=st.sampled_from(LayerKind),
    entries=st.lists(ENTRIES, max_size=5),
    spans=st.lists(SPANS, max_size=5),
    stored=st.sampled_from(["blob", "plain"]),
    from_toc=st.booleans(),
    prefetch=LARGE,
)


@given(index=INDEXES)
@settings(deadline=None)
def test_round_trip(index: LayerIndex) -> None:
    assert LayerIndex.from_bytes(index.to_bytes()) == index


def many(count: int) -> LayerIndex:
    """Return an index as that of a layer with many small files."""
    entries = [
        Entry(
            b"usr/share/doc/package%d/file%d" % (i // 50, i),
            FileType.REGULAR,
            0o644,
            mtime_ns=1_700_000_000_000_000_000,
            size=3000 + i % 999,
            segments=(Segment(0, 4096 * i, 3000 + i % 999),),
        )
        for i in range(count)
    ]
    return LayerIndex(LayerKind.GZIP, entries, [])


def test_it_is_small() -> None:
    assert len(many(10_000).to_bytes()) < 10_000 * 15


SAMPLE = many(50)
SAMPLE.spans.append(Span(0, 1, 0, 1, Codec.GZIP, own_digest(b"x"), "blob"))
SAMPLE_BYTES = SAMPLE.to_bytes()


@pytest.mark.parametrize("place", range(0, len(SAMPLE_BYTES), 37))
def test_damage_is_seen(place: int) -> None:
    data = bytearray(SAMPLE_BYTES)
    data[place] ^= 1
    with pytest.raises(UnusableIndex):
        LayerIndex.from_bytes(bytes(data))
    with pytest.raises(UnusableIndex):
        LayerIndex.from_bytes(SAMPLE_BYTES[:place])


def test_other_versions_are_refused() -> None:
    data = bytearray(SAMPLE_BYTES)
    data[7] += 1
    with pytest.raises(UnusableIndex, match="version"):
        LayerIndex.from_bytes(bytes(data))
