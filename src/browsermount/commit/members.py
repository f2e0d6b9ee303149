"""The members of a tar archive as they are stored, to be copied from one archive into another."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from browsermount.layers.entry import Entry
from browsermount.layers.tar import BLOCK, TarParser

_WINDOW = 1 << 16
"""Bytes that are read at once; contents that are longer are not read at all."""


class Archive(Protocol):
    """A tar archive that can be read anywhere."""

    @property
    def size(self) -> int:
        """How many bytes it has."""

    @property
    def read(self) -> Callable[[int, int], Awaitable[bytes]]:
        """Returns so many bytes from an offset."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member, and where it is.

    Attributes:
        entry: What the archive says of it.
        archive: Whose member it is.
        start: Where its first header begins: a pax header or a long name, where it has one.
        head: Bytes of its headers.
        body: Bytes of its content, with what fills up the last block.
    """

    entry: Entry
    archive: Archive
    start: int
    head: int
    body: int


async def read_members(archive: Archive) -> AsyncGenerator[Member]:
    """Iterate over the members of an archive.

    Raises:
        InvalidLayer: It is no archive, or not a whole one.
    """
    parser = TarParser()
    window = b""
    window_start = position = member_start = 0
    while position < archive.size and not parser.ended:
        offset = position - window_start
        if not 0 <= offset < len(window):
            window = await archive.read(position, min(_WINDOW, archive.size - position))
            window_start, offset = position, 0
        block = window[offset : offset + BLOCK]
        position += len(block)
        entries = parser.feed(block)
        if not entries:
            continue
        # Block by block, there is one at most, and what can be skipped is its content.
        body = min(parser.skippable, archive.size - position)
        parser.skip(body)
        yield Member(entries[0], archive, member_start, position - member_start, body)
        position += body
        member_start = position
    parser.close()
