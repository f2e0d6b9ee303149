"""``browsermount cat``: what is in a file of an image."""

from __future__ import annotations

import errno
import os

import click

from browsermount.cli.images import (
    Opening,
    image_argument,
    mounted,
    opening_options,
    run_async,
    write_all,
)
from browsermount.cli.paths import find, path_bytes, read_chunk
from browsermount.layers.entry import FileType


@click.command("cat")
@image_argument
@click.argument("paths", metavar="PATH...", nargs=-1, required=True)
@opening_options
def command(opening: Opening, image: str, paths: tuple[str, ...]) -> None:
    """Write files of an image to standard output."""
    run_async(_cat(opening, image, [path_bytes(path) for path in paths]))


async def _cat(opening: Opening, image: str, paths: list[bytes]) -> None:
    async with mounted(image, opening) as mount:
        for path in paths:
            inode = find(mount.rootfs, path)
            if inode.is_directory:
                raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
            if inode.type is not FileType.REGULAR:
                raise OSError(errno.EINVAL, "is no regular file", path)
            offset = 0
            while chunk := await read_chunk(inode.content, offset, path):
                write_all(chunk)
                offset += len(chunk)
