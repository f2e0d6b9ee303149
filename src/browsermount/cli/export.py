"""``browsermount export``: an image's merged files as a tar archive."""

from __future__ import annotations

import sys
import tarfile
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click

from browsermount.cli.images import (
    Opening,
    image_argument,
    mounted,
    opened,
    opening_options,
    run_async,
)
from browsermount.cli.paths import find, path_bytes, read_chunk
from browsermount.layers.entry import FileType
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.tree import components

_TYPES = {
    FileType.FIFO: tarfile.FIFOTYPE,
    FileType.CHARACTER: tarfile.CHRTYPE,
    FileType.DIRECTORY: tarfile.DIRTYPE,
    FileType.BLOCK: tarfile.BLKTYPE,
    FileType.REGULAR: tarfile.REGTYPE,
    FileType.SYMLINK: tarfile.SYMTYPE,
}


@click.command("export")
@image_argument
@click.argument("path", default="/")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to a file, not to standard output.",
)
@opening_options
def command(opening: Opening, image: str, path: str, output: Path | None) -> None:
    """Write an image's files as a tar archive.

    The layers are merged. With PATH, only what is at that path in the image is written, by
    names that begin with the last part of PATH. Owners, times with nanoseconds, extended
    attributes, hard links and devices are kept (pax format).
    """
    run_async(_export(opening, image, path_bytes(path), output))


async def _export(opening: Opening, image: str, path: bytes, output: Path | None) -> None:
    if output is None and sys.stdout.isatty():
        raise click.UsageError("an archive does not go to a terminal: give --output, or a pipe")
    async with opened(image) as (source, fetcher):
        mount = await mounted(source, fetcher, opening)
        top = find(mount.rootfs, path, follow=False)
        with ExitStack() as stack:
            target = stack.enter_context(output.open("wb")) if output else sys.stdout.buffer
            await write_tree(target, top, b"/".join(components(path)[-1:]))


async def write_tree(target: BinaryIO, top: Inode, name: bytes) -> None:
    """Write the archive of ``top`` and all below; ``name`` is what it is called there.

    Raises:
        OSError: A file's content cannot be had, or the archive cannot be written.
    """
    names: dict[int, bytes] = {}
    size = 0
    # By components: a directory's contents follow it, with no neighbour's in between, so that
    # what extracts them can set the directory's time last.
    for path, inode in sorted(top.walk(name), key=lambda found: components(found[0])):
        member = path.strip(b"/")
        if not member:
            continue  # the root directory has no name in an archive of all
        first = names.setdefault(inode.ino, member)
        linked = first if first != member else None
        size += target.write(_header(member, inode, linked))
        if linked is None and inode.type is FileType.REGULAR:
            size += await _write_content(target, inode, member)
    # Two blocks of zeros end it, and it is filled up to what a tape's record was.
    ending = 2 * tarfile.BLOCKSIZE
    ending += -(size + ending) % tarfile.RECORDSIZE
    target.write(bytes(ending))


async def _write_content(target: BinaryIO, inode: Inode, path: bytes) -> int:
    offset = 0
    while chunk := await read_chunk(inode.content, offset, path):
        target.write(chunk)
        offset += len(chunk)
    padding = -offset % tarfile.BLOCKSIZE
    target.write(bytes(padding))
    return offset + padding


def _header(name: bytes, inode: Inode, linked: bytes | None) -> bytes:
    info = tarfile.TarInfo(_text(name))
    info.type = tarfile.LNKTYPE if linked is not None else _TYPES[inode.type]
    info.mode, info.uid, info.gid = inode.mode, inode.uid, inode.gid
    info.devmajor, info.devminor = inode.rdev
    seconds, nanoseconds = divmod(inode.mtime_ns, 10**9)
    info.mtime = seconds
    if linked is not None:
        info.linkname = _text(linked)
    elif inode.type is FileType.SYMLINK:
        info.linkname = _text(inode.target)
    elif inode.type is FileType.REGULAR:
        info.size = inode.size
    records: dict[str, str] = {}
    if nanoseconds:
        records["mtime"] = _decimal(inode.mtime_ns)
    for attribute, value in inode.xattrs.items() if linked is None else ():
        # A keyword ends at "="; GNU tar has this way to write one with it.
        keyword = _text(attribute).replace("%", "%25").replace("=", "%3D")
        records[f"SCHILY.xattr.{keyword}"] = _text(value)
    info.pax_headers = records
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def _decimal(ns: int) -> str:
    sign, ns = ("-", -ns) if ns < 0 else ("", ns)
    return f"{sign}{ns // 10**9}.{ns % 10**9:09}"


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
