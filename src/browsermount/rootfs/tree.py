"""A tree of inodes, and looking up paths in it as a kernel would."""

from __future__ import annotations

import errno
from collections.abc import Iterable
from hashlib import blake2b

from browsermount.layers.entry import FileType
from browsermount.rootfs.content import BytesContent
from browsermount.rootfs.inode import Inode

MAX_SYMLINKS = 40
"""How many symlinks one lookup follows, as in Linux."""


class Tree:
    """A directory and all below it, with inode numbers of its own."""

    def __init__(self) -> None:
        self._last_ino = 0
        self.root = self.new_directory()

    def new_ino(self) -> int:
        """Return an inode number that was not given before."""
        self._last_ino += 1
        return self._last_ino

    def new_directory(self, *, mode: int = 0o755, mtime_ns: int = 0) -> Inode:
        """Return a directory that has no name yet."""
        return Inode(self.new_ino(), FileType.DIRECTORY, mode=mode, mtime_ns=mtime_ns)

    def new_file(self, data: bytes, *, mode: int = 0o644, mtime_ns: int = 0) -> Inode:
        """Return a regular file that has no name yet."""
        return Inode(
            self.new_ino(),
            FileType.REGULAR,
            mode=mode,
            mtime_ns=mtime_ns,
            content=BytesContent(data),
        )

    @property
    def inodes(self) -> int:
        """How many inodes were made."""
        return self._last_ino


def components(path: bytes) -> list[bytes]:
    """Split a path; ``.`` and empty components go, ``..`` stays."""
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def lookup(root: Inode, path: bytes, *, follow: bool = True) -> Inode:
    """Find what a path leads to, with ``root`` as the root directory.

    Symlinks in the middle are followed, one at the end only with ``follow``;
    neither ``..`` nor a symlink leads out of ``root``.

    Raises:
        OSError: With errno ENOENT, ENOTDIR or ELOOP, as from Linux.
    """
    pending = components(path)[::-1]
    current = root
    links = 0
    while pending:
        name = pending.pop()
        if not current.is_directory:
            raise OSError(errno.ENOTDIR, "Not a directory", path)
        if name == b"..":
            current = root if current is root else current.parent
            continue
        child = current.children.get(name)
        if child is None:
            raise OSError(errno.ENOENT, "No such file or directory", path)
        if child.type is FileType.SYMLINK and (pending or follow):
            links += 1
            if links > MAX_SYMLINKS:
                raise OSError(errno.ELOOP, "Too many levels of symbolic links", path)
            if child.target.startswith(b"/"):
                current = root
            pending += components(child.target)[::-1]
            continue
        current = child
    return current


def content_size(inodes: Iterable[Inode]) -> int:
    """Return how many bytes the regular files among ``inodes`` have, each file counted once."""
    files = {inode.ino: inode for inode in inodes if inode.type is FileType.REGULAR}
    return sum(inode.size for inode in files.values())


def fingerprint(root: Inode) -> str:
    """Return what tells whether two trees have the same files, in the same order and numbering.

    A client that has seen one of them can go on with the other. Contents are not looked at.

    Args:
        root: The tree's; in which order its own directories came does not matter.
    """
    parts: list[bytes] = []
    # A name says where it is by the number of its directory.
    pending = [(0, name, root.children[name]) for name in sorted(root.children, reverse=True)]
    while pending:
        above, name, inode = pending.pop()
        ino = inode.ino
        parts += b"%d %d %d %d %d " % (above, ino, inode.type, inode.size, len(name)), name
        if inode.children:
            pending += [(ino, name, child) for name, child in inode.children.items()]
    return blake2b(b"".join(parts), digest_size=16).hexdigest()
