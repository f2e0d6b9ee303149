"""Unpacking what is compressed as a whole into a file that has no name."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from typing import BinaryIO, cast

from browsermount import limits
from browsermount.errors import InvalidLayer, StorageFull
from browsermount.layers.compression import Detecting
from browsermount.local.files import Opened

_CHUNK = 1 << 20
_LOOK_STEP = 64 << 20
"""Bytes after which the free room is looked at once more."""


class Expansion:
    """Counts what comes out of something compressed, and refuses a bomb.

    Args:
        packed: The compressed size in bytes.
        on_disk: Whether it is written to the directory for temporary files.
    """

    def __init__(self, packed: int, *, on_disk: bool = True) -> None:
        self._limit = limits.FREE_EXPANSION + packed * limits.MAX_EXPANSION
        self._on_disk = on_disk
        self._size = 0
        self._look = 0

    def add(self, size: int) -> None:
        """Take note of ``size`` more bytes that are about to be written.

        Raises:
            InvalidLayer: It has become too large for what it was made from.
            StorageFull: The disk is nearly full.
        """
        self._size += size
        if self._size > self._limit:
            raise InvalidLayer(
                f"it has more than {self._limit >> 20} MiB when it is unpacked, which is "
                f"{limits.MAX_EXPANSION} times what it has now: it seems to be made to fill disks",
                hint="If it is what it should be, unpack it yourself and give the plain archive.",
            )
        if self._on_disk and self._size >= self._look:
            self._look = self._size + _LOOK_STEP
            directory = tempfile.gettempdir()
            if shutil.disk_usage(directory).free < _LOOK_STEP + limits.MIN_FREE_DISK:
                raise StorageFull(
                    f"there is no room in {directory} to unpack it: {self._size >> 20} MiB have "
                    "come so far",
                    hint="Free some room there, or set TMPDIR to a directory with more of it.",
                )


def unpack(opened: Opened, size: int) -> tuple[BinaryIO, int]:
    """Decompress into an unnamed temporary file and return it with its length.

    Raises:
        InvalidLayer: It is damaged, or becomes far larger than it is.
        StorageFull: There is no room for it.
    """
    target = cast(BinaryIO, tempfile.TemporaryFile(prefix="browsermount-"))  # noqa: SIM115
    expansion = Expansion(size)
    try:
        for plain in plain_chunks(opened, size):
            expansion.add(len(plain))
            target.write(plain)
    except BaseException:
        target.close()
        raise
    length = target.tell()
    target.seek(0)
    return target, length


def plain_chunks(opened: Opened, size: int) -> Iterator[bytes]:
    """Iterate over what is decompressed.

    Raises:
        InvalidLayer: It is damaged.
    """
    decompressor = Detecting()
    for offset in range(0, size, _CHUNK):
        yield from decompressor.feed(opened.read_at(offset, min(_CHUNK, size - offset)))
    decompressor.close()
