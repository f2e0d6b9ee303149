"""The tar parser, against archives that Python's tarfile and hand-made headers give.

Archives of GNU tar and bsdtar are read in the tests of the fixture images.
"""

import base64
import io
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsermount.errors import InvalidLayer
from browsermount.layers.entry import Entry, FileType, Segment
from browsermount.layers.tar import BLOCK, TarParser

from .images import hardlink, member, symlink, tar


def parse(data: bytes, step: int | None = None) -> list[Entry]:
    parser = TarParser()
    entries = []
    step = step or max(len(data), 1)
    for start in range(0, len(data), step):
        entries += parser.feed(data[start : start + step])
    parser.close()
    return entries


def content(entry: Entry, archive: bytes) -> bytes:
    result = bytearray(entry.size)
    for part in entry.segments:
        result[part.file_offset : part.file_offset + part.size] = archive[
            part.stream_offset : part.stream_offset + part.size
        ]
    return bytes(result)


def header(name: bytes = b"f", *, size: bytes = b"0", kind: bytes = b"0", **at: bytes) -> bytes:
    """Make a header by hand; ``at`` puts bytes at the offset that its name gives (``_386=``)."""
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[100:107] = b"0000644"
    block[124 : 124 + len(size)] = size
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    for offset, value in at.items():
        start = int(offset[1:])
        block[start : start + len(value)] = value
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(*records: tuple[bytes, bytes], kind: bytes = b"x") -> bytes:
    body = b""
    for key, value in records:
        rest = b" " + key + b"=" + value + b"\n"
        length = len(rest) + 1
        while len(b"%d" % length) + len(rest) != length:
            length += 1
        body += b"%d" % length + rest
    padding = bytes(-len(body) % BLOCK)
    return header(b"pax", size=b"%o" % len(body), kind=kind) + body + padding


@pytest.mark.parametrize("step", [1, 511, 512, 513, 1 << 20])
@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_types(format: int, step: int) -> None:
    archive = tar(
        member("./", mode=0o711),
        member("etc/", uid=12, gid=34),
        member("etc/motd", b"hello" * 300, mtime=1234567890, mode=0o4755),
        member("etc/empty", b""),
        symlink("etc/link", "../motd"),
        hardlink("etc/hard", "etc/motd"),
        member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        member("sda", type=tarfile.BLKTYPE, devmajor=8, devminor=300),
        member("pipe", type=tarfile.FIFOTYPE),
        format=format,
    )
    root, etc, motd, empty, link, hard, null, sda, pipe = parse(archive, step)
    assert (root.name.strip(b"./"), root.type, root.mode) == (b"", FileType.DIRECTORY, 0o711)
    assert (etc.type, etc.uid, etc.gid) == (FileType.DIRECTORY, 12, 34)
    assert (motd.type, motd.mode, motd.size) == (FileType.REGULAR, 0o4755, 1500)
    assert motd.mtime_ns == 1234567890_000_000_000
    assert content(motd, archive) == b"hello" * 300
    assert (empty.size, empty.segments) == (0, ())
    assert (link.type, link.link) == (FileType.SYMLINK, b"../motd")
    assert (hard.type, hard.link) == (None, b"etc/motd")
    assert (null.type, null.rdev) == (FileType.CHARACTER, (1, 3))
    assert (sda.type, sda.rdev) == (FileType.BLOCK, (8, 300))
    assert pipe.type == FileType.FIFO


@pytest.mark.parametrize("format", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_names_and_large_numbers(format: int) -> None:
    name = "/".join(["d" * 90] * 30)
    archive = tar(
        member(name, b"x", uid=3_000_000_000, gid=1 << 22),
        symlink("s", name),
        member("plain", b"y"),
        format=format,
    )
    long, link, plain = parse(archive, 100)
    assert (long.name, long.uid, long.gid) == (name.encode(), 3_000_000_000, 1 << 22)
    assert link.link == name.encode()
    assert (plain.name, content(plain, archive)) == (b"plain", b"y")


def test_ustar_prefix() -> None:
    name = "a" * 100 + "/" + "b" * 99
    assert parse(tar(member(name, b""), format=tarfile.USTAR_FORMAT))[0].name == name.encode()


def test_names_are_bytes() -> None:
    name = b"caf\xe9\n\\ \xff"
    archive = tar(member(name.decode("utf-8", "surrogateescape")), format=tarfile.GNU_FORMAT)
    assert parse(archive)[0].name == name
    archive = pax((b"path", name)) + header()
    assert parse(archive)[0].name == name


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"1", 1_000_000_000),
        (b"1.5", 1_500_000_000),
        (b"1.123456789", 1_123_456_789),
        (b"1.1234567899", 1_123_456_789),
        (b"-1", -1_000_000_000),
        (b"-0.25", -250_000_000),
        (b"99999999999.000000001", 99_999_999_999_000_000_001),
    ],
)
def test_pax_times(text: bytes, nanoseconds: int) -> None:
    assert parse(pax((b"mtime", text)) + header())[0].mtime_ns == nanoseconds


def test_times_before_1970_in_base_256() -> None:
    field = (-5).to_bytes(12, "big", signed=True)
    assert parse(header(_136=field))[0].mtime_ns == -5_000_000_000


def test_pax_overrides_and_ends_with_its_member() -> None:
    archive = (
        pax((b"path", b"new"), (b"uid", b"7"), (b"gid", b"8"), (b"size", b"3"))
        + header(b"old", size=b"0")
        + b"abc".ljust(BLOCK, b"\0")
        + header(b"next")
    )
    first, second = parse(archive)
    assert (first.name, first.uid, first.gid, content(first, archive)) == (b"new", 7, 8, b"abc")
    assert (second.name, second.uid) == (b"next", 0)


def test_global_pax_headers_are_ignored() -> None:
    archive = pax((b"comment", b"0123"), (b"uid", b"7"), kind=b"g") + header()
    assert parse(archive)[0].uid == 0


def test_xattrs() -> None:
    value = bytes(range(256))
    archive = (
        pax(
            (b"SCHILY.xattr.user.binary", value),
            (b"SCHILY.xattr.security.capability", b"a=b\n"),
            # bsdtar repeats each attribute in this form, with another name if it has odd bytes.
            (b"LIBARCHIVE.xattr.user.odd%20name", base64.b64encode(b"\0x").rstrip(b"=")),
            (b"LIBARCHIVE.xattr.user.binary", base64.b64encode(b"other")),
        )
        + header()
        + pax((b"LIBARCHIVE.xattr.user.odd%20name", base64.b64encode(b"\0x").rstrip(b"=")))
        + header(b"g")
        + header(b"h")
    )
    first, second, third = parse(archive)
    assert first.xattrs == {b"user.binary": value, b"security.capability": b"a=b\n"}
    assert second.xattrs == {b"user.odd name": b"\0x"}
    assert third.xattrs == {}


def test_missing_padding_after_the_last_member_is_let_pass() -> None:
    # Layers of `umoci insert` (0.4.7) end right after the last member's content.
    archive = header(size=b"5") + b"hello"
    assert parse(archive)[0].size == 5
    with pytest.raises(InvalidLayer):
        parse(archive[:-1])


def test_a_name_with_a_slash_at_its_end_is_a_directory() -> None:
    assert parse(header(b"old/", kind=b"\0"))[0].type is FileType.DIRECTORY


def test_old_gnu_sparse() -> None:
    numbers = b"".join(b"%011o\0" % n for n in (0, 512, 4096, 512, 1 << 20, 100, 1 << 21, 0))
    archive = (
        header(
            size=b"%o" % 1124,
            kind=b"S",
            _257=b"ustar  \0",
            _386=numbers,
            _483=b"%011o\0" % (1 << 21),
        )
        + b"a" * 512
        + b"b" * 512
        + (b"c" * 100).ljust(512, b"\0")
        + header(b"next")
    )
    sparse, following = parse(archive, 300)
    assert sparse.size == 1 << 21
    assert sparse.segments == (
        Segment(0, 512, 512),
        Segment(4096, 1024, 512),
        Segment(1 << 20, 1536, 100),
    )
    assert following.name == b"next"


def test_old_gnu_sparse_with_a_long_map() -> None:
    pairs = [(i * 1024, 512) for i in range(30)]
    fields = [b"%011o\0" % n for pair in pairs for n in pair]
    extension = (b"".join(fields[8:50]).ljust(504, b"\0") + b"\1").ljust(512, b"\0")
    extension += b"".join(fields[50:]).ljust(512, b"\0")
    archive = (
        header(
            size=b"%o" % (30 * 512),
            kind=b"S",
            _257=b"ustar  \0",
            _386=b"".join(fields[:8]),
            _482=b"\1",
            _483=b"%011o\0" % (30 * 1024),
        )
        + extension
        + b"".join(bytes([i]) * 512 for i in range(30))
    )
    (sparse,) = parse(archive, 300)
    assert content(sparse, archive) == b"".join(bytes([i]) * 512 + bytes(512) for i in range(30))


@pytest.mark.parametrize("version", ["0.0", "0.1", "1.0"])
def test_pax_sparse(version: str) -> None:
    body = b"a" * 512 + b"b" * 512
    if version == "1.0":
        table = b"2\n0\n512\n10240\n512\n".ljust(512, b"\0")
        records = [
            (b"GNU.sparse.major", b"1"),
            (b"GNU.sparse.minor", b"0"),
            (b"GNU.sparse.name", b"real"),
            (b"GNU.sparse.realsize", b"20000"),
        ]
        body = table + body
    elif version == "0.1":
        records = [
            (b"GNU.sparse.size", b"20000"),
            (b"GNU.sparse.numblocks", b"2"),
            (b"GNU.sparse.name", b"real"),
            (b"GNU.sparse.map", b"0,512,10240,512"),
        ]
    else:
        records = [
            (b"GNU.sparse.size", b"20000"),
            (b"GNU.sparse.numblocks", b"2"),
            (b"GNU.sparse.offset", b"0"),
            (b"GNU.sparse.numbytes", b"512"),
            (b"GNU.sparse.offset", b"10240"),
            (b"GNU.sparse.numbytes", b"512"),
            (b"path", b"real"),
        ]
    archive = pax(*records) + header(b"GNUSparseFile.0/real", size=b"%o" % len(body)) + body
    archive += header(b"next")
    sparse, following = parse(archive, 700)
    assert (sparse.name, sparse.size) == (b"real", 20000)
    assert content(sparse, archive) == b"".join(
        [b"a" * 512, bytes(10240 - 512), b"b" * 512, bytes(20000 - 10240 - 512)]
    )
    assert following.name == b"next"


def test_what_follows_the_end_is_ignored() -> None:
    parser = TarParser()
    assert len(parser.feed(tar(member("a")) + b"rubbish" * 1000)) == 1
    assert parser.ended
    assert parser.feed(b"more") == []
    parser.close()


def test_a_missing_end_mark_is_let_pass() -> None:
    assert len(parse(header(b"a") + header(b"b"))) == 2
    assert parse(b"") == []


@pytest.mark.parametrize(
    "archive",
    [
        pytest.param(b"x" * 512, id="rubbish"),
        pytest.param(b"x" * 100, id="short"),
        pytest.param(header()[:-1] + b"x", id="checksum"),
        pytest.param(header(size=b"12345"), id="cut-off content"),
        pytest.param(header(size=b"9"), id="size is not octal"),
        pytest.param(header(_124=b"\xff" * 12), id="negative size"),
        pytest.param(header(size=b"77777777777", kind=b"x"), id="huge pax header"),
        pytest.param(header(kind=b"Q"), id="unknown type"),
        pytest.param(header(b""), id="no name"),
        pytest.param(pax((b"path", b"a\0b")) + header(), id="NUL in a name"),
        pytest.param(pax((b"uid", b"-1")) + header(), id="negative owner"),
        pytest.param(pax((b"uid", b"9" * 15)) + header(), id="huge owner"),
        pytest.param(pax((b"size", b"1e3")) + header(), id="odd size"),
        pytest.param(pax((b"mtime", b"nan")) + header(), id="odd time"),
        pytest.param(bytes(512) + header(), id="lone zero block"),
        pytest.param(
            header(b"pax", size=b"5", kind=b"x") + b"9 a=b".ljust(512, b"\0") + header(),
            id="pax record longer than its header",
        ),
        pytest.param(
            pax((b"GNU.sparse.size", b"10"), (b"GNU.sparse.map", b"0,512")) + header(),
            id="sparse map longer than its file",
        ),
        pytest.param(
            pax((b"GNU.sparse.size", b"1000"), (b"GNU.sparse.map", b"500,10,0,10"))
            + header(size=b"24")
            + bytes(512),
            id="sparse map out of order",
        ),
        pytest.param(
            pax((b"GNU.sparse.size", b"1000"), (b"GNU.sparse.map", b"0,1")) + header(),
            id="sparse map without content",
        ),
    ],
)
def test_malformed(archive: bytes) -> None:
    with pytest.raises(InvalidLayer):
        parse(archive)


@given(st.binary(max_size=2000), st.integers(1, 700))
def test_rubbish_raises_nothing_else(data: bytes, step: int) -> None:
    with suppress(InvalidLayer):
        parse(data, step)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([0, 100, 124, 136, 148, 156, 257, 345, 386, 482, 511]),
            st.binary(min_size=1, max_size=12),
        ),
        max_size=4,
    )
)
def test_a_valid_checksum_does_not_make_a_header_valid(patches: list[tuple[int, bytes]]) -> None:
    block = bytearray(header(b"name", size=b"10"))
    for offset, value in patches:
        block[offset : offset + len(value)] = value[: BLOCK - offset]
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    with suppress(InvalidLayer):
        parse(bytes(block) + bytes(1024))


_names = st.text(st.characters(codec="utf-8", exclude_characters="/\0"), min_size=1, max_size=40)


@given(
    st.lists(st.tuples(_names, st.binary(max_size=1500)), max_size=6),
    st.sampled_from([tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
    st.integers(1, 1500),
)
def test_what_tarfile_writes(files: list[tuple[str, bytes]], format: int, step: int) -> None:
    archive = tar(*(member(name, data) for name, data in files), format=format)
    entries = parse(archive, step)
    with tarfile.open(fileobj=io.BytesIO(archive)) as reference:
        infos = reference.getmembers()
    assert [e.name.decode() for e in entries] == [info.name for info in infos]
    assert [content(e, archive) for e in entries] == [data for _, data in files]


def test_a_directory_without_a_name_is_the_root() -> None:
    (entry,) = parse(header(b"", kind=b"5", _100=b"0000711"))
    assert (entry.name, entry.type, entry.mode) == (b"./", FileType.DIRECTORY, 0o711)
    for kind in (b"0", b"1", b"2"):
        with pytest.raises(InvalidLayer, match="no valid name"):
            parse(header(b"", kind=kind))


@pytest.mark.parametrize(
    ("field", "number"),
    [
        (b"0001750\0", 1000),
        (b"   1750\0", 1000),
        (b"1750    ", 1000),
        (b"1750\0abc", 1000),
        (b"\0\0\0\0\0\0\0\0", 0),
        (b"        ", 0),
        (b"\x80\0\0\0\0\0\x03\xe8", 1000),
    ],
)
def test_numbers_of_headers(field: bytes, number: int) -> None:
    (entry,) = parse(header(_108=field))
    assert entry.uid == number


def test_numbers_of_pax_records() -> None:
    records = pax((b"uid", b"+7"), (b"gid", b"007"), (b"mtime", b"+1.5"), (b"size", b"+3"))
    (entry,) = parse(records + header() + b"abc".ljust(BLOCK, b"\0"))
    assert (entry.uid, entry.gid, entry.mtime_ns, entry.size) == (7, 7, 1_500_000_000, 3)
    for wrong in (b" 7", b"7 ", b"0x7", b"++7", b"1_0"):
        with pytest.raises(InvalidLayer, match="not a decimal number"):
            parse(pax((b"uid", wrong)) + header())


def test_empty_pax_values_leave_what_the_header_says() -> None:
    keys = (b"path", b"linkpath", b"uid", b"gid", b"mtime", b"size", b"GNU.sparse.name")
    records = pax(*((key, b"") for key in keys))
    fields = {"_108": b"0000007", "_116": b"0000010", "_136": b"00000000002"}
    (entry,) = parse(records + header(b"name", size=b"3", **fields) + b"abc".ljust(BLOCK, b"\0"))
    assert (entry.name, entry.uid, entry.gid, entry.size) == (b"name", 7, 8, 3)
    assert entry.mtime_ns == 2_000_000_000
    (entry,) = parse(records + header(b"name", kind=b"2", _157=b"target"))
    assert entry.link == b"target"


def test_lengths_of_pax_records_with_a_sign() -> None:
    body = b"+11 uid=42\n"
    records = header(size=b"%o" % len(body), kind=b"x") + body.ljust(BLOCK, b"\0")
    (entry,) = parse(records + header())
    assert entry.uid == 42
