"""Applying layers to a tree: OCI image specification, layer.md, "Changeset" and "Whiteouts".

Where the specification leaves a choice, this does what containerd and umoci do:
paths are cleaned as if the rootfs were ``/``, symlinks among the directories of
a path are followed within the rootfs, and an entry of another type replaces
what was there.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from browsermount import limits
from browsermount.errors import InvalidLayer
from browsermount.layers.entry import Entry, FileType
from browsermount.rootfs.content import EMPTY, Stream, content_of
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.tree import MAX_SYMLINKS, Tree, components

WHITEOUT_PREFIX = b".wh."
OPAQUE_WHITEOUT = b".wh..wh..opq"
# Other names with this prefix belonged to AUFS itself and mean nothing to anybody else.
_AUFS_PREFIX = b".wh..wh."

STEP = 1024
"""Members that are applied before others may have their turn."""


class Merger:
    """Applies layers, the lowest first, to a directory of a tree.

    Args:
        tree: Where inode numbers come from.
        root: The directory that becomes the rootfs.
    """

    def __init__(self, tree: Tree, root: Inode) -> None:
        self._tree = tree
        self._root = root
        # The names that the layer at hand has made: its own whiteouts do not hide them.
        self._made: set[tuple[int, bytes]] = set()
        # The last directory, by how it is written: members mostly stand beside each other.
        self._last: tuple[bytes, Inode] | None = None

    def apply(self, entries: Iterable[Entry], stream: Stream) -> None:
        """Apply one layer.

        Args:
            entries: The layer's members in their order.
            stream: The layer's decompressed stream, which the entries point into.

        Raises:
            InvalidLayer: An entry cannot be applied, such as a hard link to nothing.
        """
        for _ in self.steps(entries, stream):
            pass

    def steps(self, entries: Iterable[Entry], stream: Stream) -> Iterator[None]:
        """Apply one layer as :meth:`apply` does, but stop after each :data:`STEP` members."""
        self._made.clear()
        self._last = None
        for number, entry in enumerate(entries, 1):
            self._apply(entry, stream)
            if number % STEP == 0:
                yield

    def _apply(self, entry: Entry, stream: Stream) -> None:
        where, _, last = entry.name.rpartition(b"/")
        beside = self._last if last not in (b"", b".", b"..") else None
        if (
            beside is not None
            and beside[0] == where
            and not last.startswith(WHITEOUT_PREFIX)
            and len(last) <= limits.MAX_NAME
        ):
            source = self._link_source(entry) if entry.type is None else None
            self._put(entry, beside[1], last, source, stream)
            return
        path = clean(entry.name)
        if not path:
            if entry.type is FileType.DIRECTORY:
                _update(self._root, entry)
                return
            raise InvalidLayer(f"the entry {entry.name!r} would replace the root directory")
        *parents, name = path
        if name.startswith(WHITEOUT_PREFIX):
            self._white_out(parents, name)
            return
        if any(parent.startswith(WHITEOUT_PREFIX) for parent in parents):
            return  # below a whiteout, or in a directory of AUFS's own
        if len(name) > limits.MAX_NAME:
            raise InvalidLayer(f"the name {name[:40]!r}... is longer than {limits.MAX_NAME} bytes")
        # Found before anything of the same name goes: a link may well lead to itself.
        source = self._link_source(entry) if entry.type is None else None
        directory = self._directory(parents)
        if name == last:
            self._last = where, directory
        self._put(entry, directory, name, source, stream)

    def _put(
        self, entry: Entry, directory: Inode, name: bytes, source: Inode | None, stream: Stream
    ) -> None:
        """Give an entry a name in a directory; a hard link leads to ``source``."""
        there = directory.children.get(name)
        self._made.add((directory.ino, name))
        if source is not None:
            if there is source:
                return
            self._replace(directory, name, source)
        elif there is not None and there.is_directory and entry.type is FileType.DIRECTORY:
            _update(there, entry)
        else:
            self._replace(directory, name, self._inode(entry, stream))

    def _replace(self, directory: Inode, name: bytes, inode: Inode) -> None:
        if name in directory.children:
            directory.unlink(name)
            self._last = None  # it may have been what was removed, or a symlink on the way
        if inode.is_directory and directory.depth >= limits.MAX_DIRECTORY_DEPTH:
            raise InvalidLayer(
                f"more than {limits.MAX_DIRECTORY_DEPTH} directories are below each other"
            )
        directory.link(name, inode)

    def _new_ino(self) -> int:
        if self._tree.inodes >= limits.MAX_INODES:
            raise InvalidLayer(
                f"the image has more than {limits.MAX_INODES} files and directories",
                hint="Build it with fewer, or pack what is rarely needed into archives.",
            )
        return self._tree.new_ino()

    def _inode(self, entry: Entry, stream: Stream) -> Inode:
        assert entry.type is not None
        inode = Inode(
            self._new_ino(),
            entry.type,
            rdev=entry.rdev,
            target=entry.link if entry.type is FileType.SYMLINK else b"",
            content=content_of(stream, entry.segments, entry.size)
            if entry.type is FileType.REGULAR
            else EMPTY,
        )
        _update(inode, entry)
        return inode

    def _link_source(self, entry: Entry) -> Inode:
        *parents, name = clean(entry.link) or [b""]
        directory = self._find(parents)
        source = directory.children.get(name) if directory is not None else None
        if source is None:
            raise InvalidLayer(
                f"{entry.name!r} is a hard link to {entry.link!r}, which does not exist"
            )
        if source.is_directory:
            raise InvalidLayer(f"{entry.name!r} is a hard link to the directory {entry.link!r}")
        return source

    def _white_out(self, parents: list[bytes], name: bytes) -> None:
        directory = self._find(parents)
        if directory is None:
            return  # nothing there to hide
        if name == OPAQUE_WHITEOUT:
            for child in list(directory.children):
                self._remove_lower(directory, child)
        elif not name.startswith(_AUFS_PREFIX):
            hidden = name.removeprefix(WHITEOUT_PREFIX)
            if hidden in (b"", b".", b".."):
                raise InvalidLayer(f"the whiteout {name!r} hides no valid name")
            if hidden in directory.children:
                self._remove_lower(directory, hidden)

    def _remove_lower(self, directory: Inode, name: bytes) -> None:
        """Remove what lower layers have put at a name, and keep what this layer has."""
        pending = [(directory, name)]
        while pending:
            directory, name = pending.pop()
            child = directory.children[name]
            if (directory.ino, name) not in self._made:
                directory.unlink(name)
                self._last = None
            elif child.is_directory:
                pending += [(child, below) for below in child.children]

    def _find(self, path: list[bytes]) -> Inode | None:
        """Find a directory, symlinks followed; None where it is not there."""
        return self._descend(path, create=False)

    def _directory(self, path: list[bytes]) -> Inode:
        """Find a directory, symlinks followed, and make what is missing of it."""
        directory = self._descend(path, create=True)
        assert directory is not None
        return directory

    def _descend(self, path: list[bytes], *, create: bool) -> Inode | None:
        pending = path[::-1]
        current = self._root
        links = 0
        while pending:
            name = pending.pop()
            if name == b"..":
                current = self._root if current is self._root else current.parent
                continue
            child = current.children.get(name)
            if child is not None and child.type is FileType.SYMLINK:
                links += 1
                if links > MAX_SYMLINKS:
                    raise InvalidLayer(f"too many symlinks in the path {b'/'.join(path)!r}")
                if child.target.startswith(b"/"):
                    current = self._root
                pending += components(child.target)[::-1]
                continue
            if child is None or not child.is_directory:
                if not create:
                    return None
                child = Inode(self._new_ino(), FileType.DIRECTORY)
                self._replace(current, name, child)
            if create:
                self._made.add((current.ino, name))
            current = child
        return current


def clean(path: bytes) -> list[bytes]:
    """Return the components of a path, with ``.`` and ``..`` resolved as if it began at ``/``."""
    result: list[bytes] = []
    for part in components(path):
        if part != b"..":
            result.append(part)
        elif result:
            result.pop()
    return result


def _update(inode: Inode, entry: Entry) -> None:
    """Give an inode the metadata of an entry."""
    # Linux has no permissions on symlinks and shows them as 0777.
    inode.mode = 0o777 if inode.type is FileType.SYMLINK else entry.mode
    inode.uid = entry.uid
    inode.gid = entry.gid
    inode.mtime_ns = entry.mtime_ns
    inode.xattrs = entry.xattrs
