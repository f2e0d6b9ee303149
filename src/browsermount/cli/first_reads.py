"""What a container reads of its image when somebody types at its prompt."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import TypedDict

from browsermount.mount import Mount
from browsermount.ninep import Server, wire
from browsermount.ninep.server import Reply
from browsermount.rootfs.inode import Inode

MAX_PATHS = 2000
"""How many paths are noted at most."""
MAX_BYTES = 4 << 20
"""How many bytes of files are noted at most: a state that has them is as much larger."""


class WantedFile(TypedDict):
    """A path of the container's; what is read of a file there: an offset, a size, and so on."""

    path: str
    parts: list[int]


class WatchedServer(Server):
    """A server of an image that notes which files are looked up, and what is read of them."""

    def __init__(self, mount: Mount) -> None:
        super().__init__(mount.tree.root)
        self._rootfs = mount.rootfs
        self._requests = 0
        self._notes = False
        self._left = MAX_BYTES
        self._noted: dict[bytes, list[tuple[int, int]]] = {}
        # By inode number: the name by which a file was found last, if it has several.
        self._paths: dict[int, bytes] = {}

    def begin(self) -> None:
        """From now on, note what is asked for."""
        self._notes = True
        for path, inode in self._rootfs.walk():
            self._paths.setdefault(inode.ino, path.lstrip(b"/"))

    async def idle(self, seconds: float) -> None:
        """Wait until nothing was asked for in so many seconds."""
        before = -1
        while before != self._requests:
            before = self._requests
            await asyncio.sleep(seconds)

    def files(self) -> list[WantedFile]:
        """Return what was noted, without names that are not UTF-8, which JSON cannot say."""
        return list(self._files())

    def _files(self) -> Iterator[WantedFile]:
        for path, parts in self._noted.items():
            try:
                yield {"path": path.decode(), "parts": list(_joined(parts))}
            except UnicodeDecodeError:
                continue

    def handle(self, frame: bytes) -> Reply:
        """Answer one frame, as every server does."""
        self._requests += 1
        if self._notes:
            # Of what is wrong with it, the client hears from the server.
            with suppress(struct.error, LookupError, wire.WireError):
                self._note(frame)
        return super().handle(frame)

    def _note(self, frame: bytes) -> None:
        _, number, _ = wire.HEADER.unpack_from(frame)
        message = wire.MESSAGES[number].decode(frame[wire.HEADER.size :])
        if isinstance(message, wire.Twalk):
            self._note_walk(self._session.fids[message.fid].inode, message.names)
        elif isinstance(message, wire.Tread):
            fid = self._session.fids[message.fid]
            if fid.xattr is None:
                self._note_read(fid.inode, message.offset, message.count)

    def _note_walk(self, inode: Inode, names: Iterable[bytes]) -> None:
        for name in names:
            path = self._paths[inode.ino]
            path = path + b"/" + name if path else name
            if len(self._noted) < MAX_PATHS:
                # That nothing is there is worth to be known, too.
                self._noted.setdefault(path, [])
            inode = inode.children[name]
            self._paths[inode.ino] = path

    def _note_read(self, inode: Inode, offset: int, count: int) -> None:
        count = min(count, inode.size - offset, self._left)
        if count > 0:
            self._noted.setdefault(self._paths[inode.ino], []).append((offset, count))
            self._left -= count


def _joined(parts: Iterable[tuple[int, int]]) -> Iterator[int]:
    """Iterate over offsets and sizes in their order, with parts that touch as one."""
    start = end = 0
    for offset, size in sorted(parts):
        if offset > end:
            if end > start:
                yield from (start, end - start)
            start = offset
        end = max(end, offset + size)
    if end > start:
        yield from (start, end - start)
