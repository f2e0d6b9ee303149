"""Inodes: what a file system knows of a file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from browsermount.layers.entry import NO_XATTRS, FileType
from browsermount.rootfs.content import EMPTY, Content


class Inode:
    """A file of any type.

    Attributes:
        ino: The inode number, unique in its tree and the same each time the image is opened.
        type: The file type.
        mode: Permission bits with setuid, setgid and sticky.
        uid, gid: The owner.
        mtime_ns: Nanoseconds since 1970, possibly negative.
        nlink: How many names the file has; of a directory, 2 and one for each subdirectory.
        rdev: Major and minor number of a device.
        target: Where a symlink points to.
        xattrs: Extended attributes by full name.
        content: The bytes of a regular file.
        children: A directory's entries by name.
        parent: The directory that a directory is in; the root's is itself.
        depth: How many directories are above a directory that has been linked.
    """

    __slots__ = (
        "children",
        "content",
        "depth",
        "gid",
        "ino",
        "mode",
        "mtime_ns",
        "nlink",
        "parent",
        "rdev",
        "target",
        "type",
        "uid",
        "xattrs",
    )

    def __init__(
        self,
        ino: int,
        type: FileType,
        *,
        mode: int = 0o755,
        uid: int = 0,
        gid: int = 0,
        mtime_ns: int = 0,
        rdev: tuple[int, int] = (0, 0),
        target: bytes = b"",
        xattrs: Mapping[bytes, bytes] | None = None,
        content: Content = EMPTY,
    ) -> None:
        self.ino = ino
        self.type = type
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime_ns = mtime_ns
        self.nlink = 0
        self.rdev = rdev
        self.target = target
        self.xattrs = xattrs or NO_XATTRS
        self.content = content
        self.parent: Inode = self
        self.depth = 0
        self.children: dict[bytes, Inode] = {} if type is FileType.DIRECTORY else _NO_CHILDREN
        if type is FileType.DIRECTORY:
            self.nlink = 2

    @property
    def is_directory(self) -> bool:
        """Whether this is a directory."""
        return self.type is FileType.DIRECTORY

    @property
    def size(self) -> int:
        """What ``st_size`` says: the length of a file or of a symlink's target."""
        if self.type is FileType.REGULAR:
            return self.content.size
        if self.type is FileType.SYMLINK:
            return len(self.target)
        return 4096 if self.type is FileType.DIRECTORY else 0

    def link(self, name: bytes, child: Inode) -> None:
        """Give ``child`` a name in this directory; the name must be free."""
        self.children[name] = child
        if child.is_directory:
            child.parent = self
            child.depth = self.depth + 1
            self.nlink += 1
        else:
            child.nlink += 1

    def unlink(self, name: bytes) -> None:
        """Take a name out of this directory, with all that is below it."""
        # Not recursive: a layer decides how deep this goes.  Files below may have other
        # names elsewhere, so their link counts matter.
        pending = [(self, name)]
        while pending:
            directory, name = pending.pop()
            child = directory.children.pop(name)
            if child.is_directory:
                directory.nlink -= 1
                pending += [(child, below) for below in child.children]
            else:
                child.nlink -= 1

    def walk(self, path: bytes = b"") -> Iterator[tuple[bytes, Inode]]:
        """Iterate over this inode and all below, parents first, with paths such as ``/usr/bin``."""
        stack: list[tuple[bytes, Inode]] = [(path, self)]
        while stack:
            path, inode = stack.pop()
            yield path or b"/", inode
            stack += [(path + b"/" + name, child) for name, child in inode.children.items()]

    def __repr__(self) -> str:
        return f"<Inode {self.ino} {self.type.name} {self.mode:04o}>"


_NO_CHILDREN: dict[bytes, Inode] = {}
