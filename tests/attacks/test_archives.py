"""Archives on this machine that hang what reads them, or fill its memory or disk."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import tarfile
import zlib
from pathlib import Path

import pytest

from browsermount import limits
from browsermount.cli.estargz import write_estargz
from browsermount.cli.export import write_tree
from browsermount.errors import BrowsermountError, ImageNotFound, InvalidLayer, StorageFull
from browsermount.layers.entry import Entry, FileType, Segment
from browsermount.layers.tar import TarParser
from browsermount.local import unpacking
from browsermount.local.archive import ArchiveFetcher
from browsermount.local.files import OpenedBytes
from browsermount.local.unpacking import unpack
from browsermount.rootfs.content import content_of
from browsermount.rootfs.tree import Tree

from .bounded import attack
from .layers import header, pax

END = bytes(1024)


@pytest.mark.parametrize(
    "archive",
    [
        header(b"index.json").replace(b"00000000000\0", b"\xff" * 12, 1) + END,
        pax(size=b"-512") + header(b"index.json") + END,
        header(b"index.json", size=1 << 30) + b"{}",
        pax(GNU__sparse__major=b"1", GNU__sparse__minor=b"0")
        + header(b"index.json", size=512)
        + b"x".ljust(512, b"\0")
        + END,
    ],
    ids=["negative-size", "negative-pax-size", "cut-off", "sparse-map"],
)
def test_malformed_archives(tmp_path: Path, archive: bytes) -> None:
    """tarfile hangs on some of these, and raises ValueError for others."""
    (tmp_path / "image.tar").write_bytes(archive)
    with pytest.raises(ImageNotFound, match="not an archive of an image"):
        ArchiveFetcher(tmp_path / "image.tar")


def test_chains_of_headers_and_links(tmp_path: Path) -> None:
    """tarfile recurses on each header that describes the next member."""
    path = tmp_path / "image.tar"
    path.write_bytes(pax(comment=b"x") * 3000 + header(b"index.json") + END)
    with pytest.raises(BrowsermountError):
        ArchiveFetcher(path)
    assert len(TarParser().feed(pax(comment=b"x") * 3000 + header(b"f") + END)) == 1
    with pytest.raises(InvalidLayer, match="too many headers"):
        TarParser().feed(pax(comment=b"x") * 9000 + header(b"f") + END)


def test_contents_are_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "image.tar"
    with path.open("wb") as file:
        for name in (b"a", b"b"):
            file.write(header(name, size=4 << 30))
            file.seek(4 << 30, os.SEEK_CUR)
        file.write(header(b"index.json", size=2) + b"{}".ljust(512, b"\0") + END)
    outcome = ArchiveFetcher(path)
    outcome.close()


def pax_bomb() -> None:
    """Pax headers of a megabyte each, a thousandth of it packed."""
    compressor = zlib.compressobj(6, zlib.DEFLATED, 31)
    block = pax(comment=b"x" * 1_000_000)
    packed = b"".join(compressor.compress(block) for _ in range(300)) + compressor.flush()
    path = Path(os.environ.get("TMPDIR", "/tmp")) / f"bomb-{os.getpid()}.tar.gz"
    path.write_bytes(packed)
    limits.FREE_EXPANSION, limits.MAX_EXPANSION = 1 << 24, 10
    try:
        ArchiveFetcher(path)
    finally:
        path.unlink()


def test_a_bomb_of_headers() -> None:
    outcome = attack("test_archives:pax_bomb", seconds=15, mebibytes=128)
    assert outcome.error == "ImageNotFound"
    assert "made to fill disks" in outcome.message
    assert outcome.mebibytes < 64


def test_a_bomb_at_the_edge(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(bytes(1 << 20))
    monkeypatch.setattr(limits, "MAX_EXPANSION", 0)
    monkeypatch.setattr(limits, "FREE_EXPANSION", 1 << 20)
    file, size = unpack(OpenedBytes(packed), len(packed))
    file.close()
    assert size == 1 << 20
    monkeypatch.setattr(limits, "FREE_EXPANSION", (1 << 20) - 1)
    with pytest.raises(InvalidLayer, match="made to fill disks"):
        unpack(OpenedBytes(packed), len(packed))


def test_a_disk_that_is_nearly_full(monkeypatch: pytest.MonkeyPatch) -> None:
    packed = gzip.compress(bytes(1 << 20))
    usage = unpacking.shutil.disk_usage("/")._replace(free=limits.MIN_FREE_DISK)
    monkeypatch.setattr(unpacking.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(StorageFull, match="no room"):
        unpack(OpenedBytes(packed), len(packed))


class Letters:
    """A stream whose bytes tell where they are."""

    def read_now(self, offset: int, size: int) -> bytes:
        return bytes(65 + (offset + i) % 26 for i in range(size))

    async def read(self, offset: int, size: int) -> bytes:
        return self.read_now(offset, size)


def exported(pieces: tuple[Segment, ...], size: int) -> bytes:
    tree = Tree()
    inode = tree.new_file(b"")
    inode.content = content_of(Letters(), pieces, size)
    tree.root.link(b"file", inode)
    target = io.BytesIO()
    asyncio.run(write_tree(target, tree.root, b""))
    return target.getvalue()


def test_export_of_exbibytes_of_holes() -> None:
    size = (1 << 62) - 1
    pieces = (Segment(5, 0, 3), Segment(1 << 61, 100, 2000))
    data = exported(pieces, size)
    assert len(data) < 20_000
    (entry,) = TarParser().feed(data)
    assert (entry.name, entry.size, len(entry.segments)) == (b"file", size, 2)
    for piece, stored in zip(pieces, entry.segments, strict=True):
        assert (piece.file_offset, piece.size) == (stored.file_offset, stored.size)
        found = data[stored.stream_offset :][: stored.size]
        assert found == Letters().read_now(piece.stream_offset, piece.size)


def test_what_has_holes_is_read_by_others(tmp_path: Path) -> None:
    data = exported((Segment(5, 0, 3), Segment(100_000, 100, 700)), 200_000)
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        file = archive.extractfile("file")
        assert file is not None
        content = file.read()
    assert len(content) == 200_000
    assert content[5:8] == b"ABC"
    assert content[:5] == bytes(5)
    assert content[100_000:100_700] == Letters().read_now(100, 700)
    assert not content[100_700:].strip(b"\0")


def test_conversion_of_exbibytes_of_holes(monkeypatch: pytest.MonkeyPatch) -> None:
    def zeros(entry: Entry, offset: int, size: int) -> bytes:
        return bytes(size)

    entry = Entry(b"f", FileType.REGULAR, size=1 << 60)
    with pytest.raises(InvalidLayer, match="bytes of holes") as raised:
        write_estargz(io.BytesIO(), [entry], zeros, level=1)
    assert raised.value.hint
    monkeypatch.setattr(limits, "MAX_HOLES", 1000)
    write_estargz(io.BytesIO(), [Entry(b"f", FileType.REGULAR, size=1000)], zeros, level=1)
    with pytest.raises(InvalidLayer):
        write_estargz(io.BytesIO(), [Entry(b"f", FileType.REGULAR, size=1001)], zeros, level=1)
