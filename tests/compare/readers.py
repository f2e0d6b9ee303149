"""Ways to read an image's file tree."""

from __future__ import annotations

import os
import stat
import subprocess
import tempfile
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from browsermount.layers.entry import FileType
from browsermount.mount import Mount, mount
from browsermount.rootfs.inode import Inode
from tests.compare.records import ROOT, Record, Records, with_names
from tests.fixtures.store import cache_directory

_TYPES = {
    stat.S_IFREG: "f",
    stat.S_IFDIR: "d",
    stat.S_IFLNK: "l",
    stat.S_IFCHR: "c",
    stat.S_IFBLK: "b",
    stat.S_IFIFO: "p",
    stat.S_IFSOCK: "s",
}


def read_directory(root: Path) -> Records:
    """Read a directory of this machine's file system."""
    return with_names(_read_directory(os.fsencode(root)))


def _read_directory(root: bytes) -> Iterator[tuple[bytes, int, Record]]:
    pending = [root]
    while pending:
        path = pending.pop()
        info = os.lstat(path)
        kind = _TYPES[stat.S_IFMT(info.st_mode)]
        record = Record(
            type=kind,
            mode=stat.S_IMODE(info.st_mode),
            uid=info.st_uid,
            gid=info.st_gid,
            size=info.st_size if kind in "fl" else 0,
            mtime_ns=info.st_mtime_ns,
            nlink=info.st_nlink if kind != "d" else 0,
            rdev=(os.major(info.st_rdev), os.minor(info.st_rdev)) if kind in "cb" else (0, 0),
            target=os.readlink(path) if kind == "l" else b"",
            checksum=_checksum(path) if kind == "f" else "",
            xattrs={
                os.fsencode(name): os.getxattr(path, name, follow_symlinks=False)
                for name in os.listxattr(path, follow_symlinks=False)
            },
        )
        yield path[len(root) + 1 :] or ROOT, info.st_ino, record
        if kind == "d":
            pending += [os.path.join(path, name) for name in os.listdir(path)]


def _checksum(path: bytes) -> str:
    checksum = 0
    with open(path, "rb") as file:
        while part := file.read(1 << 20):
            checksum = zlib.crc32(part, checksum)
    return f"{checksum:08x}"


@contextmanager
def work_directory() -> Iterator[Path]:
    """Make a directory that goes at the end, on a file system with extended attributes."""
    # That of the cache has them; /tmp may be a tmpfs without.
    cache_directory().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".work-", dir=cache_directory()) as work:
        yield Path(work)


def unpack_with_umoci(layout: Path, tag: str) -> Records:
    """Let umoci unpack an image into this machine's file system, and read that."""
    with work_directory() as work:
        root = work / "rootfs"
        command = ["umoci", "raw", "unpack", "--image", f"{layout}:{tag}", str(root)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return read_directory(root)


def unpack_with_tar(layers: list[bytes]) -> Records:
    """Let GNU tar extract layers on top of each other; it knows nothing of whiteouts."""
    with work_directory() as work:
        root = work / "rootfs"
        root.mkdir()
        for layer in layers:
            command = ["tar", "-x", "-p", "-C", str(root), "--numeric-owner", "--same-owner"]
            command += ["--xattrs", "--xattrs-include=*"]
            done = subprocess.run(command, input=layer, capture_output=True, check=False)
            assert done.returncode == 0, done.stderr.decode()
        return read_directory(root)


class FileResponse:
    """A response that is a file of this machine."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.headers: Mapping[str, str] = {}
        self._path = Path(url.removeprefix("http://layout.invalid"))
        self.status = 200 if self._path.is_file() else 404

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the file's bytes."""
        if self.status == 200:
            with self._path.open("rb") as file:
                while chunk := file.read(1 << 16):
                    yield chunk

    async def aclose(self) -> None:
        """Do nothing."""


class FileFetcher:
    """Fetches from this machine's file system, to leave HTTP out of the comparison."""

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FileResponse:
        """Answer with a file."""
        return FileResponse(url)


def layout_url(layout: Path, tag: str | None = None) -> str:
    """What to give to `mount` together with a `FileFetcher`."""
    return f"http://layout.invalid{layout}" + (f"#{tag}" if tag else "")


async def mount_layout(layout: Path, tag: str | None = None) -> Mount:
    """Mount an image of a layout on this machine."""
    return await mount(layout_url(layout, tag), fetcher=FileFetcher())


async def read_mount(mounted: Mount) -> Records:
    """Read the tree that our Python API gives."""
    return await read_tree(mounted.rootfs)


async def read_tree(root: Inode) -> Records:
    """Read a tree of our inodes."""
    return with_names([entry async for entry in _read_tree(root)])


async def _read_tree(root: Inode) -> AsyncIterator[tuple[bytes, int, Record]]:
    checksums: dict[int, str] = {}
    for path, inode in root.walk():
        kind = _TYPES[int(inode.type)]
        if inode.type is FileType.REGULAR and inode.ino not in checksums:
            checksums[inode.ino] = await _content_checksum(inode)
        record = Record(
            type=kind,
            mode=inode.mode,
            uid=inode.uid,
            gid=inode.gid,
            size=inode.size if kind in "fl" else 0,
            mtime_ns=inode.mtime_ns,
            nlink=inode.nlink if kind != "d" else 0,
            rdev=inode.rdev,
            target=inode.target,
            checksum=checksums.get(inode.ino, ""),
            xattrs=dict(inode.xattrs),
        )
        yield path[1:] or ROOT, inode.ino, record


async def _content_checksum(inode: Inode) -> str:
    checksum = offset = 0
    while part := await inode.content.read(offset, 1 << 20):
        checksum = zlib.crc32(part, checksum)
        offset += len(part)
    assert offset == inode.size
    return f"{checksum:08x}"
