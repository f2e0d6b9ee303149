import gzip
import zlib
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from browsermount.errors import DigestMismatch, InvalidLayer
from browsermount.layers import deflate
from browsermount.layers.index import LayerIndex, LayerKind
from browsermount.layers.indexer import MAX_FRAME_SIZE, MAX_SPAN_SIZE, SPAN_SIZE, LayerIndexer
from browsermount.layers.span import Codec, Span, decode, decode_shared
from tests.core.images import member, tar
from tests.core.spans import (
    WORDS_SIZE,
    archive,
    gzip_members,
    index_of,
    one_block,
    read,
    text,
    zstd_compress,
    zstd_frames,
)

ARCHIVE = archive()
SKIPPABLE = b"\x51\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"

FORMS: dict[str, Callable[[bytes], bytes]] = {
    "tar": bytes,
    "gzip-1": lambda data: gzip.compress(data, 1),
    "gzip-6": lambda data: gzip.compress(data, 6),
    "gzip-9": one_block,
    "gzip-stored": lambda data: gzip.compress(data, 0),
    "gzip-members": lambda data: gzip_members(data, 10_000),
    "gzip-large-members": lambda data: gzip_members(data, 1_300_000),
    "gzip-padded": lambda data: bytes(5).join(
        [gzip.compress(data[:700_000]), gzip.compress(b""), gzip.compress(data[700_000:]), b""]
    ),
    "zstd": zstd_compress,
    "zstd-frames": lambda data: zstd_frames(data, 10_000),
    "zstd-skippable": lambda data: (
        SKIPPABLE + SKIPPABLE.join(zstd_compress(d) for d in (data[:99], data[99:])) + SKIPPABLE
    ),
}
BLOBS = {name: form(ARCHIVE) for name, form in FORMS.items()}
INDEXES = {name: index_of(blob) for name, blob in BLOBS.items()}

forms = pytest.mark.parametrize("form", FORMS)


@forms
def test_spans_are_the_stream(form: str) -> None:
    index, plain = INDEXES[form]
    assert plain == ARCHIVE[: len(plain)]
    assert not any(ARCHIVE[len(plain) :])
    assert index.stored == "blob"
    assert index.spans[0].stream_offset == 0
    assert index.spans[-1].end == len(plain)
    for before, after in zip(index.spans, index.spans[1:], strict=False):
        assert before.end == after.stream_offset
    for span in index.spans:
        stored = BLOBS[form][span.blob_offset : span.blob_end]
        assert decode(span, stored) == plain[span.stream_offset : span.end]


@forms
def test_spans_are_small(form: str) -> None:
    index, _ = INDEXES[form]
    limit = MAX_FRAME_SIZE if form in ("zstd", "zstd-skippable") else MAX_SPAN_SIZE
    assert all(span.size <= limit for span in index.spans)
    if limit == MAX_SPAN_SIZE:
        assert len(index.spans) > len(ARCHIVE) // MAX_SPAN_SIZE
    assert all(span.size >= SPAN_SIZE for span in index.spans[:-1] if form != "gzip-padded")


@forms
def test_members(form: str) -> None:
    index, _ = INDEXES[form]
    assert [e.name for e in index.entries[:3]] == [b"etc/", b"etc/words", b"etc/noise"]
    assert len(index.entries) == 304
    assert index.entries == INDEXES["tar"][0].entries
    (segment,) = index.entries[1].segments
    assert read(index, BLOBS[form], segment.stream_offset, segment.size) == text(WORDS_SIZE)


def test_kinds() -> None:
    kinds = {name: index.kind for name, (index, _) in INDEXES.items()}
    assert kinds["tar"] is LayerKind.TAR
    assert kinds["gzip-6"] is kinds["gzip-members"] is LayerKind.GZIP
    assert kinds["zstd"] is kinds["zstd-skippable"] is LayerKind.ZSTD
    codecs = {name: {s.codec for s in index.spans} for name, (index, _) in INDEXES.items()}
    assert codecs["gzip-6"] == {Codec.GZIP, Codec.DEFLATE}
    assert codecs["gzip-members"] == {Codec.GZIP}


def test_borders_lie_at_all_bits() -> None:
    """Else half of the decoder would not have been tested."""
    bits: set[int] = set()
    for seed in range(20):
        blob = gzip.compress(tar(member("a", text(3 << 20, seed))), 1)
        index, plain = index_of(blob)
        for span in index.spans:
            decoded = decode(span, blob[span.blob_offset : span.blob_end])
            assert decoded == plain[span.stream_offset : span.end]
            bits.add(span.bits)
        if bits == set(range(8)):
            return
    raise AssertionError(f"only {bits}")


@pytest.mark.parametrize("form", ["tar", "gzip-6", "gzip-members", "zstd", "zstd-frames"])
@given(offset=st.integers(0, len(ARCHIVE)), size=st.integers(0, 1 << 20))
@settings(max_examples=5, deadline=None)
def test_any_read_is_that_of_the_stream(form: str, offset: int, size: int) -> None:
    index, plain = INDEXES[form]
    assert read(index, BLOBS[form], offset, size) == plain[offset : offset + size]


@given(
    pieces=st.lists(
        st.tuples(
            st.sampled_from(["text", "zeros", "stored", "member", "flush"]),
            st.integers(1, 300_000),
            st.integers(0, 9),
        ),
        max_size=12,
    ),
    step=st.integers(1000, 1 << 20),
)
@settings(max_examples=12, deadline=None)
def test_gzip_of_any_make(pieces: list[tuple[str, int, int]], step: int) -> None:
    compressor = zlib.compressobj(6, wbits=31)
    size = sum(size for _, size, _ in pieces)
    header = tar(member("a", bytes(size)))[:512]
    blob = compressor.compress(header)
    expected = header
    for kind, size, level in pieces:
        data = bytes(size) if kind == "zeros" else text(size, level)
        expected += data
        if kind in ("member", "stored"):
            blob += compressor.flush()
            compressor = zlib.compressobj(0 if kind == "stored" else level, wbits=31)
        blob += compressor.compress(data)
        if kind == "flush":
            blob += compressor.flush(zlib.Z_SYNC_FLUSH if level % 2 else zlib.Z_FULL_FLUSH)
    padding = bytes(-len(expected) % 512)
    blob += compressor.compress(padding) + compressor.flush()
    index, plain = index_of(blob, step)
    assert plain == expected + padding
    for span in index.spans:
        decoded = decode(span, blob[span.blob_offset : span.blob_end])
        assert decoded == plain[span.stream_offset : span.end]


@pytest.mark.parametrize("step", [1, 7])
def test_tiny_steps(step: int) -> None:
    data = tar(member("a", text(5000)))
    for form in FORMS.values():
        assert index_of(form(data), step)[1] == data


def test_a_block_that_does_not_end() -> None:
    """Spans end all the same, and are decoded from the same place."""
    data = tar(member("zeros", bytes(20 << 20)))
    index, plain = index_of(one_block(data))
    blob = one_block(data)
    assert plain == data[: len(plain)]
    shared = [span for span in index.spans if span.skip]
    assert shared
    for span in shared[:2]:
        decoded = decode(span, blob[span.blob_offset : span.blob_end])
        assert decoded == plain[span.stream_offset : span.end]
    group = [s for s in index.spans if s.blob_offset == shared[0].blob_offset][:3]
    longest = blob[group[0].blob_offset : max(s.blob_end for s in group)]
    assert decode_shared(group, longest) == [plain[s.stream_offset : s.end] for s in group]


def test_a_large_zstd_frame_is_kept_plain() -> None:
    data = tar(member("a", text(1 << 20) * 17))
    index, plain = index_of(zstd_compress(data))
    assert index.stored == "plain"
    assert plain == data[: len(plain)]
    assert all(span.codec is Codec.RAW and span.size <= SPAN_SIZE for span in index.spans)
    assert read(index, plain, 5_000_000, 3_000_000) == plain[5_000_000:8_000_000]


def test_a_large_zstd_frame_after_small_ones() -> None:
    data = tar(member("a", text(1 << 20) * 18))
    blob = zstd_compress(data[:600_000]) + zstd_compress(data[600_000:])
    index, plain = index_of(blob)
    assert index.stored == "blob"
    assert plain == data[: len(plain)]
    for span in index.spans:
        decoded = decode(span, blob[span.blob_offset : span.blob_end])
        assert decoded == plain[span.stream_offset : span.end]


def test_without_the_interface_of_zlib(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise NotImplementedError

    monkeypatch.setattr(deflate, "_library", missing)
    index, plain = index_of(BLOBS["gzip-6"])
    assert index.stored == "plain"
    assert index.kind is LayerKind.GZIP
    assert read(index, plain, 0, len(plain)) == INDEXES["tar"][1]


@pytest.mark.parametrize(
    "form", ["tar", "gzip-6", "gzip-members", "gzip-9", "zstd", "zstd-frames", "plain"]
)
def test_damage_is_seen_in_every_span(form: str) -> None:
    index, plain = INDEXES["tar" if form == "plain" else form]
    stored = plain if form == "plain" else BLOBS[form]
    for span in index.spans:
        part = bytearray(stored[span.blob_offset : span.blob_end])
        part[len(part) // 2] ^= 4
        with pytest.raises(DigestMismatch, match="digest"):
            decode(span, bytes(part))
        with pytest.raises(InvalidLayer, match="came for"):
            decode(span, bytes(part[:-1]))


class TestBadLayers:
    @pytest.mark.parametrize("form", ["gzip-6", "gzip-members", "zstd", "zstd-frames"])
    def test_cut_off(self, form: str) -> None:
        with pytest.raises(InvalidLayer, match="too early") as caught:
            index_of(BLOBS[form][:-1])
        assert caught.value.hint

    def test_cut_off_tar(self) -> None:
        with pytest.raises(InvalidLayer, match="middle of a member"):
            index_of(ARCHIVE[:1000])

    @pytest.mark.parametrize("place", [-1, -6, 4000, 0])
    def test_damaged_gzip(self, place: int) -> None:
        """Its own checksum and length count, too."""
        blob = bytearray(BLOBS["gzip-6"])
        blob[place] ^= 0x55
        with pytest.raises(InvalidLayer):
            index_of(bytes(blob))

    def test_rubbish_after_gzip(self) -> None:
        with pytest.raises(InvalidLayer, match="incorrect header check"):
            index_of(gzip.compress(ARCHIVE) + b"rubbish")

    def test_empty_and_tiny(self) -> None:
        index, plain = index_of(b"")
        assert (index.entries, index.spans, plain) == ([], [], b"")
        with pytest.raises(InvalidLayer, match="2 bytes"):
            index_of(b"ab")

    @pytest.mark.parametrize("compress", [one_block, zstd_compress])
    def test_a_bomb_comes_in_steps(self, compress: Callable[[bytes], bytes]) -> None:
        largest = 0

        def sink(span: Span, plain: bytes) -> None:
            nonlocal largest
            largest = max(largest, len(plain))

        indexer = LayerIndexer(sink)
        indexer.feed(compress(tar(member("a", bytes(20 << 20)))))
        assert indexer.close().spans
        assert largest <= MAX_SPAN_SIZE


def test_what_follows_the_archive_is_not_kept() -> None:
    index, plain = index_of(gzip.compress(ARCHIVE + bytes(20 << 20)))
    assert len(plain) < len(ARCHIVE) + 2 * MAX_SPAN_SIZE
    assert LayerIndex.from_bytes(index.to_bytes()) == index


def test_a_file_named_as_the_table_of_contents() -> None:
    data = tar(member("a", b"1"), member("stargz.index.json", b"{}"), member(".prefetch.landmark"))
    index, _ = index_of(gzip.compress(data))
    assert index.kind is LayerKind.GZIP
    assert len(index.entries) == 3
