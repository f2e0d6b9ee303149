import contextlib
import gzip
import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from browsermount.errors import BrowsermountError, DigestMismatch, InvalidLayer
from browsermount.layers import estargz as estargz_module
from browsermount.layers.entry import Entry, FileType
from browsermount.layers.estargz import DIGEST_ANNOTATION
from browsermount.layers.index import LayerIndex, LayerKind
from browsermount.layers.indexer import LayerIndexer
from browsermount.layers.lazy import open_index
from browsermount.layers.span import Codec, decode, decode_shared
from browsermount.oci.descriptor import Descriptor
from tests.core.images import member, sha256, tar
from tests.core.loop import run
from tests.core.spans import read, text, zstd_compress
from tests.core.tocs import (
    KEY,
    Blob,
    describe,
    encoded,
    estargz,
    footer,
    legacy_footer,
    open_blob,
    zstd_chunked,
)

LARGE = text(300_000)

FORMS: dict[str, tuple[Callable[[], Blob], Callable[..., Descriptor]]] = {
    "estargz": (Blob, estargz),
    "zstd:chunked": (lambda: Blob(zstd_compress), zstd_chunked),
}
forms = pytest.mark.parametrize("form", FORMS)


def opened(form: str, *rows: dict[str, Any], **more: Any) -> tuple[LayerIndex, bytes]:
    """Open a layer with some files and with rows that have no content."""
    new, finish = FORMS[form]
    blob = new()
    blob.rows += rows
    blob.file("small", b"small\n", **more)
    blob.file("large", LARGE, 1 << 16)
    blob.file("empty", b"")
    descriptor = finish(blob)
    index = open_blob(descriptor, blob.data)
    assert index is not None
    return index, blob.data


def content(index: LayerIndex, stored: bytes, name: bytes) -> bytes:
    """Read a file's content."""
    (entry,) = [entry for entry in index.entries if entry.name == name]
    result = bytearray(entry.size)
    for segment in entry.segments:
        result[segment.file_offset : segment.file_offset + segment.size] = read(
            index, stored, segment.stream_offset, segment.size
        )
    return bytes(result)


def entry_of(**row: Any) -> Entry:
    index, _ = opened("estargz", {"name": "x", "mode": 0o755, **row})
    return index.entries[0]


@forms
def test_contents(form: str) -> None:
    index, stored = opened(form)
    assert index.kind is (LayerKind.ESTARGZ if form == "estargz" else LayerKind.ZSTD_CHUNKED)
    assert index.from_toc
    assert index.stored == "blob"
    assert [e.name for e in index.entries] == [b"small", b"large", b"empty"]
    assert content(index, stored, b"small") == b"small\n"
    assert content(index, stored, b"large") == LARGE
    assert content(index, stored, b"empty") == b""
    assert len(index.spans) == 1 + 5
    # One segment, since the chunks follow each other.
    assert len(index.entries[1].segments) == 1
    assert LayerIndex.from_bytes(index.to_bytes()) == index


@forms
def test_damage_is_seen_in_every_chunk(form: str) -> None:
    index, stored = opened(form)
    for span in index.spans:
        stored_part = stored[span.blob_offset : span.blob_end]
        plain = decode(span, stored_part)
        for place in range(0, span.blob_size, 1 + span.blob_size // 20):
            part = bytearray(stored_part)
            part[place] ^= 0x10
            # What comes after the chunk's own member or frame, and some bits of headers, do
            # not matter; nothing may come out that is not the very content.
            with contextlib.suppress(DigestMismatch, InvalidLayer):
                assert decode(span, bytes(part)) == plain
    part = bytearray(stored[index.spans[1].blob_offset : index.spans[1].blob_end])
    part[:] = (gzip.compress if form == "estargz" else zstd_compress)(bytes(1 << 16))
    part += bytes(index.spans[1].blob_size - len(part))
    with pytest.raises(DigestMismatch):
        decode(index.spans[1], bytes(part))


class TestEntries:
    def test_types(self) -> None:
        assert entry_of(type="dir").type is FileType.DIRECTORY
        assert entry_of(type="fifo").type is FileType.FIFO
        link = entry_of(type="symlink", linkName="../target")
        assert (link.type, link.link) == (FileType.SYMLINK, b"../target")
        hard = entry_of(type="hardlink", linkName="small")
        assert (hard.type, hard.link) == (None, b"small")
        device = entry_of(type="char", devMajor=1, devMinor=3)
        assert (device.type, device.rdev) == (FileType.CHARACTER, (1, 3))
        device = entry_of(type="block", devMajor=259, devMinor=300_000)
        assert (device.type, device.rdev) == (FileType.BLOCK, (259, 300_000))

    def test_metadata(self) -> None:
        entry = entry_of(type="dir", mode=0o41777, uid=5, gid=2**32 - 2)
        assert (entry.mode, entry.uid, entry.gid) == (0o1777, 5, 2**32 - 2)
        entry = entry_of(type="dir", xattrs={"user.a": encoded(b"\0\xff"), "user.b": ""})
        assert entry.xattrs == {b"user.a": b"\0\xff", b"user.b": b""}

    @pytest.mark.parametrize(
        ("written", "expected"),
        [
            ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
            ("2023-11-14T23:13:20.5+01:00", 1_700_000_000_500_000_000),
            ("2023-11-14T20:43:20.000000001-01:30", 1_700_000_000_000_000_001),
            ("1969-12-31T23:59:59Z", -1_000_000_000),
            ("9999-12-31T23:59:59Z", 253402300799_000_000_000),
            ("0001-01-01T00:00:00Z", 0),
            ("", 0),
            (None, 0),
        ],
    )
    def test_times(self, written: str, expected: int) -> None:
        assert entry_of(type="dir", modtime=written).mtime_ns == expected

    @pytest.mark.parametrize(
        "row",
        [
            {"type": "dir", "name": ""},
            {"type": "dir", "name": None},
            {"type": "dir", "name": "a/../b"},
            {"type": "dir", "name": "../etc"},
            {"type": "dir", "name": "a\0b"},
            {"type": "socket"},
            {"type": None},
            {"type": ["dir"]},
            {"type": "dir", "mode": -1},
            {"type": "dir", "mode": 1.5},
            {"type": "dir", "mode": True},
            {"type": "dir", "mode": "0755"},
            {"type": "dir", "uid": -1},
            {"type": "dir", "uid": 2**32},
            {"type": "dir", "modtime": "yesterday"},
            {"type": "dir", "modtime": "2023-13-14T22:13:20Z"},
            {"type": "dir", "modtime": 5},
            {"type": "dir", "modtime": ["2023-11-14T22:13:20Z"]},
            {"type": "symlink"},
            {"type": "symlink", "linkName": 5},
            {"type": "char", "devMajor": 4096},
            {"type": "dir", "xattrs": {"user.a": "no base64!"}},
            {"type": "dir", "xattrs": {"user.a": 5}},
            {"type": "dir", "xattrs": {"": ""}},
            {"type": "dir", "xattrs": ["user.a"]},
            {"type": "reg", "size": -5},
            {"type": "reg", "size": 2**63},
            {"type": "reg", "size": 5},
            {"type": "chunk"},
        ],
    )
    def test_malformed(self, row: dict[str, Any]) -> None:
        with pytest.raises(InvalidLayer, match="table of contents"):
            entry_of(**row)

    def test_names_are_bytes(self) -> None:
        assert entry_of(type="dir", name="\u65e5/\udcff").name == "\u65e5/\udcff".encode(
            "utf-8", "surrogatepass"
        )


class TestChunks:
    DIGEST = sha256(b"x" * 10)

    def blob(self, *rows: dict[str, Any]) -> tuple[Descriptor, bytes]:
        blob = Blob()
        place = blob.put(b"x" * 10)["offset"]
        blob.data += bytes(100)
        defaults = {"name": "f", "offset": place, "chunkDigest": self.DIGEST}
        blob.rows = [{**defaults, **row} for row in rows]
        return estargz(blob), blob.data

    @pytest.mark.parametrize(
        "rows",
        [
            [{"type": "reg", "size": 10, "offset": 0}],
            [{"type": "reg", "size": 10, "offset": -1}],
            [{"type": "reg", "size": 10, "offset": 10**6}],
            [{"type": "reg", "size": 10, "offset": 2**70}],
            [{"type": "reg", "size": 10, "offset": "5"}],
            [{"type": "reg", "size": 10, "endOffset": 10**6}],
            [{"type": "reg", "size": 10, "endOffset": 3}],
            [{"type": "reg", "size": 10, "chunkOffset": 1}],
            [{"type": "reg", "size": 10, "chunkSize": 11}],
            [{"type": "reg", "size": 10, "chunkSize": 9}],
            [{"type": "reg", "size": 10, "chunkSize": -1}],
            [{"type": "reg", "size": 2**50}],
            [{"type": "reg", "size": 10, "innerOffset": 2**40}],
            [{"type": "reg", "size": 10, "chunkDigest": None}],
            [{"type": "reg", "size": 10, "chunkDigest": "md5:00"}],
            [{"type": "reg", "size": 10, "chunkDigest": 5}],
            [{"type": "reg", "size": 10, "chunkSize": 5}, {"type": "chunk", "chunkOffset": 6}],
            [{"type": "reg", "size": 10, "chunkSize": 5}, {"type": "chunk", "chunkOffset": 4}],
            [{"type": "reg", "size": 10, "chunkSize": 5}, {"type": "chunk", "chunkOffset": 5}] * 2
            + [{"type": "chunk", "chunkOffset": 10}],
            [{"type": "dir"}, {"type": "chunk", "chunkOffset": 5}],
            [{"type": "reg", "size": 10, "chunkSize": 5}, {"type": "chunk", "digest": "x"}],
        ],
    )
    def test_malformed(self, rows: list[dict[str, Any]]) -> None:
        descriptor, data = self.blob(*rows)
        with pytest.raises(InvalidLayer, match="table of contents"):
            open_blob(descriptor, data)

    def test_content_that_is_longer_or_shorter(self) -> None:
        for size in (9, 11):
            descriptor, data = self.blob({"type": "reg", "size": size})
            index = open_blob(descriptor, data)
            assert index is not None
            (span,) = index.spans
            with pytest.raises((InvalidLayer, DigestMismatch)):
                decode(span, data[span.blob_offset : span.blob_end])

    def test_a_bomb_is_not_unpacked_whole(self) -> None:
        blob = Blob()
        bomb = zlib.compressobj(9, wbits=31)
        packed = b"".join(bomb.compress(bytes(1 << 24)) for _ in range(8)) + bomb.flush()
        offset = len(blob.data)
        blob.data += packed
        row = {"name": "f", "type": "reg", "size": 10, "offset": offset}
        blob.rows = [{**row, "chunkDigest": sha256(bytes(10))}]
        index = open_blob(estargz(blob), blob.data)
        assert index is not None
        (span,) = index.spans
        assert decode(span, blob.data[span.blob_offset : span.blob_end]) == bytes(10)

    def test_files_that_share_a_member(self) -> None:
        """eStargz with a minimal chunk size; "innerOffset"."""
        blob = Blob()
        contents = [b"one", b"two!", b"three"]
        rows = []
        offset = len(blob.data)
        for number, data in enumerate(contents):
            inner = sum(map(len, contents[:number]))
            row = {"name": f"f{number}", "type": "reg", "size": len(data), "offset": offset}
            rows.append({**row, "innerOffset": inner, "chunkDigest": sha256(data)})
        blob.put(*contents)
        blob.rows = rows
        index = open_blob(estargz(blob), blob.data)
        assert index is not None
        assert [s.skip for s in index.spans] == [0, 3, 7]
        assert {(s.blob_offset, s.codec) for s in index.spans} == {(offset, Codec.GZIP)}
        stored = blob.data[offset : index.spans[0].blob_end]
        assert [decode(span, stored) for span in index.spans] == contents
        assert decode_shared(index.spans, stored) == contents
        assert decode_shared(index.spans[1:], stored) == contents[1:]

    def test_holes(self) -> None:
        """zstd:chunked leaves runs of zeros out."""
        blob = Blob(zstd_compress)
        first = {"name": "f", "type": "reg", "mode": 0o644, "size": 2**40 + 11}
        blob.rows = [
            {**first, "chunkSize": 5, **blob.put(b"start")},
            {"name": "f", "type": "chunk", "chunkOffset": 5, "chunkSize": 2**40}
            | {"chunkType": "zeros", **blob.put(bytes(5000))},
            {"name": "f", "type": "chunk", "chunkOffset": 2**40 + 5, "chunkSize": 6}
            | blob.put(b"finish"),
        ]
        blob.rows[0]["endOffset"] = len(blob.data)
        index = open_blob(zstd_chunked(blob), blob.data)
        assert index is not None
        (entry,) = index.entries
        assert entry.size == 2**40 + 11
        assert [(s.file_offset, s.size) for s in entry.segments] == [(0, 5), (2**40 + 5, 6)]
        last = entry.segments[1]
        assert read(index, blob.data, last.stream_offset, last.size) == b"finish"
        assert index.spans[-1].blob_end == len(blob.data) - len(
            blob.data[index.spans[-1].blob_end :]
        )


class TestTables:
    def test_prefetch(self) -> None:
        for landmark, prefetched in (
            (".prefetch.landmark", True),
            (".no.prefetch.landmark", False),
        ):
            blob = Blob()
            blob.file("first", LARGE)
            offset = len(blob.data)
            blob.file(landmark, b"\x0f")
            blob.file("dir/.prefetch.landmark", b"a file like others")
            index = open_blob(estargz(blob), blob.data)
            assert index is not None
            assert [e.name for e in index.entries] == [b"first", b"dir/.prefetch.landmark"]
            assert index.prefetch == (offset if prefetched else 0)

    def test_the_footer_of_stargz(self) -> None:
        blob = Blob()
        blob.file("a", b"data")
        descriptor = estargz(blob, make_footer=legacy_footer)
        index = open_blob(descriptor, blob.data)
        assert index is not None
        assert content(index, blob.data, b"a") == b"data"

    def test_a_table_longer_than_what_is_read_first(self) -> None:
        blob = Blob()
        for i in range(3000):
            blob.file(f"file{i}", b"%d" % i)
        descriptor = estargz(blob)
        reads: list[tuple[int, int]] = []

        async def read(offset: int, size: int) -> bytes:
            reads.append((offset, size))
            return blob.data[offset : offset + size]

        index = run(open_index(descriptor, read))
        assert index is not None
        assert len(index.entries) == 3000
        (last, size), (first, rest) = reads
        assert last + size == len(blob.data)
        assert first + rest == last

    @forms
    def test_a_table_that_the_manifest_does_not_vouch_for(self, form: str) -> None:
        new, finish = FORMS[form]
        blob = new()
        blob.file("a", b"data")
        finish(blob)
        bare = describe(blob.data)
        asked: list[int] = []

        async def read(offset: int, size: int) -> bytes:
            asked.append(offset)
            return blob.data[offset : offset + size]

        assert run(open_index(bare, read)) is None
        assert not asked
        index = run(open_index(bare, read, allow_unverified=True))
        assert index is not None
        assert content(index, blob.data, b"a") == b"data"

    def test_an_ordinary_layer(self) -> None:
        for data in (gzip.compress(tar(member("a", b"data"))), tar(member("a")), b"", b"x"):
            assert open_blob(describe(data), data) is None
            assert not data or open_blob(describe(data), data, allow_unverified=True) is None

    @forms
    def test_another_digest(self, form: str) -> None:
        new, finish = FORMS[form]
        blob = new()
        blob.file("a", b"data")
        annotations = dict(finish(blob).annotations)
        key = DIGEST_ANNOTATION if form == "estargz" else f"{KEY}checksum"
        for digest, error in (
            (sha256(b"other"), DigestMismatch),
            ("sha256:0", InvalidLayer),
            ("md5:" + "0" * 32, InvalidLayer),
        ):
            annotations[key] = digest
            with pytest.raises(error, match="digest"):
                open_blob(describe(blob.data, annotations), blob.data)

    def test_containerd_s_form_of_zstd(self) -> None:
        """Its annotation has the digest of the plain table."""
        blob = Blob(zstd_compress)
        blob.file("a", b"data")
        toc = blob.toc()
        zstd_chunked(blob)
        index = open_blob(describe(blob.data, {DIGEST_ANNOTATION: sha256(toc)}), blob.data)
        assert index is not None
        assert index.kind is LayerKind.ZSTD_CHUNKED
        with pytest.raises(DigestMismatch):
            open_blob(describe(blob.data, {DIGEST_ANNOTATION: sha256(b"")}), blob.data)

    def test_the_older_names_of_the_annotations(self) -> None:
        blob = Blob(zstd_compress)
        blob.file("a", b"data")
        old = {k.replace("io.github.", "io."): v for k, v in zstd_chunked(blob).annotations.items()}
        assert open_blob(describe(blob.data, old), blob.data) is not None

    @pytest.mark.parametrize(
        "position",
        [
            "",
            "1:2:3",
            "a:b:c:1",
            "-5:10:10:1",
            "0:10:10:1",
            f"10:{10**9}:10:1",
            f"10:10:{10**9}:1",
            f"{10**30}:10:10:1",
            "10:10:10:1",
            "10:0:10:1",
        ],
    )
    def test_bad_positions(self, position: str) -> None:
        blob = Blob(zstd_compress)
        blob.file("a", text(1000))
        annotations = dict(zstd_chunked(blob).annotations)
        annotations[f"{KEY}position"] = position
        with pytest.raises((InvalidLayer, DigestMismatch)):
            open_blob(describe(blob.data, annotations), blob.data)

    @pytest.mark.parametrize("offset", [0, 5, 10**6, 2**63, 2**64 - 1])
    def test_a_footer_that_points_elsewhere(self, offset: int) -> None:
        blob = Blob()
        blob.file("a", text(1000))
        descriptor = estargz(blob, make_footer=lambda _: footer(offset))
        with pytest.raises(InvalidLayer):
            open_blob(descriptor, blob.data)

    def test_no_table_at_all(self) -> None:
        data = gzip.compress(tar(member("a", b"data")))
        with pytest.raises(InvalidLayer, match="none at its end"):
            open_blob(describe(data, {DIGEST_ANNOTATION: sha256(b"")}), data)

    def test_a_short_answer(self) -> None:
        blob = Blob()
        blob.file("a", text(1000))
        descriptor = estargz(blob)
        with pytest.raises(InvalidLayer, match="bytes came"):
            open_blob(descriptor, blob.data[:-1])

    @forms
    @pytest.mark.parametrize(
        "toc",
        [
            b"",
            b"[]",
            b"{}",
            b'{"version": 2, "entries": []}',
            b'{"version": 1, "entries": {}}',
            b'{"version": 1, "entries": [5]}',
            b'{"version": 1, "entries": [null]}',
            b'{"version": 1, "entries": [',
            b'{"version": 1, "entries": ' + b"[" * 100_000,
            b'{"version": 1, "entries": [{"name": "\xff", "type": "dir"}]}',
        ],
    )
    def test_malformed(self, form: str, toc: bytes) -> None:
        new, finish = FORMS[form]
        blob = new()
        with pytest.raises(InvalidLayer):
            open_blob(finish(blob, toc), blob.data)

    def test_too_large(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(estargz_module, "MAX_TOC_SIZE", 1 << 20)
        toc = b'{"version": 1, "entries": [], "x": "' + bytes(1 << 20) + b'"}'
        blob = Blob()
        with pytest.raises(InvalidLayer, match="larger"):
            open_blob(estargz(blob, toc), blob.data)

    @forms
    @given(data=st.data())
    @settings(max_examples=60, deadline=None)
    def test_nothing_but_errors_of_ours(self, form: str, data: st.DataObject) -> None:
        new, finish = FORMS[form]
        blob = new()
        more: dict[str, Any] = {"xattrs": {"user.a": encoded(b"b")}, "uid": 0, "gid": 0}
        more |= {"modtime": "2023-11-14T22:13:20Z", "linkName": "", "devMajor": 0, "endOffset": 0}
        more |= {"chunkType": "", "digest": "", "innerOffset": 0}
        blob.file("a", text(1000), 300, **more)
        row = data.draw(st.sampled_from(blob.rows))
        values = st.one_of(
            st.none(), st.booleans(), st.integers(), st.floats(), st.text(), st.lists(st.integers())
        )
        row[data.draw(st.sampled_from(sorted(row)))] = data.draw(values)
        try:
            toc = json.dumps({"version": 1, "entries": blob.rows}).encode()
            index = open_blob(finish(blob, toc), blob.data)
            assert index is not None
            for span in index.spans:
                decode(span, blob.data[span.blob_offset : span.blob_end])
        except BrowsermountError:
            pass


def test_the_first_pass_over_an_estargz_layer() -> None:
    """Without its digest in the manifest it is read as a whole, and says what it is."""
    blob = Blob()
    # Two members of two blocks each; the table comes before the end mark.
    members = tar(member("a", b"data"), member(".no.prefetch.landmark", b"\x0f"))[: 4 * 512]
    blob.data = gzip.compress(members)
    estargz(blob, b"{}")
    indexer = LayerIndexer(lambda span, plain: None)
    indexer.feed(blob.data)
    index = indexer.close()
    assert index.kind is LayerKind.ESTARGZ
    assert not index.from_toc
    assert [e.name for e in index.entries] == [b"a"]
