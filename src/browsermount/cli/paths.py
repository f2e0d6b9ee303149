"""Paths in an image, as they are typed and as they are shown."""

from __future__ import annotations

import os

from browsermount.cli.printable import printable
from browsermount.rootfs.content import Content
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.tree import lookup

CHUNK = 1 << 20
"""Bytes of a file that are read at a time."""


def path_bytes(text: str) -> bytes:
    """Return the path that was typed: names in images are bytes."""
    return os.fsencode(text)


def find(root: Inode, path: bytes, *, follow: bool = True) -> Inode:
    """Find a path in an image.

    Raises:
        OSError: Its ``filename`` is the path as it was given.
    """
    try:
        return lookup(root, path, follow=follow)
    except OSError as error:
        raise OSError(error.errno, os.strerror(error.errno or 0), path) from None


def shown(name: bytes, terminal: bool) -> bytes:
    """Return a name as it is written out: on a terminal, nothing in it may control that."""
    if not terminal:
        return name
    text = name.decode("utf-8", "backslashreplace")
    return printable(text).encode()


async def read_chunk(content: Content, offset: int, path: bytes) -> bytes:
    """Return the next bytes of a file; none at its end.

    Raises:
        OSError: They cannot be had; its ``filename`` is ``path``.
    """
    try:
        return await content.read(offset, CHUNK)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), path) from error
