"""``browsermount export``: an image's merged files as a tar archive."""

from __future__ import annotations

import errno
import sys
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import BinaryIO

import click

from browsermount.cli.archives import ending, header, padding, sparse_header
from browsermount.cli.images import (
    Opening,
    image_argument,
    mounted,
    opening_options,
    run_async,
)
from browsermount.cli.paths import find, path_bytes, read_chunk
from browsermount.layers.entry import Entry, FileType
from browsermount.rootfs.content import Content, SparseContent
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.tree import components


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
    async with mounted(image, opening) as mount:
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
        entry = _entry(member, inode, linked)
        content = inode.content
        if linked is None and isinstance(content, SparseContent):
            pieces = list(content.pieces)
            size += target.write(sparse_header(entry, pieces))
            size += await _write_pieces(target, content, pieces, member)
            continue
        size += target.write(header(entry))
        if linked is None and inode.type is FileType.REGULAR:
            size += await _write_pieces(target, content, [(0, content.size)], member)
    target.write(ending(size))


async def _write_pieces(
    target: BinaryIO, content: Content, pieces: Iterable[tuple[int, int]], path: bytes
) -> int:
    written = 0
    for start, size in pieces:
        offset, end = start, start + size
        while offset < end:
            chunk = await read_chunk(content, offset, path, end - offset)
            if not chunk:
                raise OSError(errno.EIO, "The file is shorter than it should be", path)
            target.write(chunk)
            offset += len(chunk)
        written += size
    return written + target.write(padding(written))


def _entry(name: bytes, inode: Inode, linked: bytes | None) -> Entry:
    return Entry(
        name=name,
        type=inode.type if linked is None else None,
        mode=inode.mode,
        uid=inode.uid,
        gid=inode.gid,
        mtime_ns=inode.mtime_ns,
        size=inode.size,
        link=inode.target if linked is None else linked,
        rdev=inode.rdev,
        xattrs=inode.xattrs,
    )
