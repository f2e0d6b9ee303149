"""``browsermount ls``: what is in a directory of an image."""

from __future__ import annotations

import stat
import sys
from datetime import UTC, datetime

import click

from browsermount.cli.images import (
    Opening,
    image_argument,
    mounted,
    opening_options,
    run_async,
    write_all,
)
from browsermount.cli.paths import find, path_bytes, shown
from browsermount.layers.entry import FileType
from browsermount.rootfs.inode import Inode


@click.command("ls")
@image_argument
@click.argument("paths", metavar="[PATH]...", nargs=-1)
@click.option("-l", "--long", is_flag=True, help="Show mode, owner, size and time, too.")
@click.option("-R", "--recursive", is_flag=True, help="List all that is below, by path.")
@opening_options
def command(
    opening: Opening, image: str, paths: tuple[str, ...], long: bool, recursive: bool
) -> None:
    """List files of an image.

    Each PATH is a directory or file in the image; without one, the root directory is listed.
    Sizes and times are those of the merged layers.
    """
    run_async(_ls(opening, image, [path_bytes(path) for path in paths or ("/",)], long, recursive))


async def _ls(
    opening: Opening, image: str, paths: list[bytes], long: bool, recursive: bool
) -> None:
    async with mounted(image, opening) as mount:
        rootfs = mount.rootfs
    terminal = sys.stdout.isatty()
    for number, path in enumerate(paths):
        inode = find(rootfs, path, follow=not long)
        if not inode.is_directory:
            write_all(_line(path, inode, long, terminal))
            continue
        if recursive:
            entries = sorted(inode.walk(path.rstrip(b"/")))[1:]
        else:
            entries = sorted(inode.children.items())
            if len(paths) > 1:
                write_all((b"\n" if number else b"") + shown(path, terminal) + b":\n")
        for name, child in entries:
            write_all(_line(name, child, long, terminal))


def _line(name: bytes, inode: Inode, long: bool, terminal: bool) -> bytes:
    line = shown(name, terminal)
    if long:
        if inode.type is FileType.SYMLINK:
            line += b" -> " + shown(inode.target, terminal)
        line = _details(inode).encode() + b" " + line
    return line + b"\n"


def _details(inode: Inode) -> str:
    mode = stat.filemode(inode.type | inode.mode)
    if inode.type in (FileType.CHARACTER, FileType.BLOCK):
        size = "{}, {}".format(*inode.rdev)
    else:
        size = str(inode.size)
    time = _time(inode.mtime_ns)
    mark = "+" if inode.xattrs else " "
    return f"{mode}{mark} {inode.nlink:>3} {inode.uid:>5} {inode.gid:>5} {size:>10} {time}"


def _time(mtime_ns: int) -> str:
    seconds = mtime_ns // 10**9
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"
    except (OverflowError, ValueError, OSError):
        return f"@{seconds}"
