"""What several layers change together, as one layer.

OCI image specification, layer.md: over any image that the layers can lie over, the one layer gives
the tree that they give.  Whiteouts and opaque directories are kept, since they hide what the image
has.  Members are copied as they are stored, so that contents need not be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from browsermount import limits
from browsermount.commit.heads import link, marker, renamed
from browsermount.commit.members import Archive, Member, read_members
from browsermount.errors import InvalidLayer
from browsermount.layers.entry import FileType
from browsermount.layers.tar import BLOCK
from browsermount.rootfs.merge import OPAQUE_WHITEOUT, WHITEOUT_PREFIX, clean

_AUFS_PREFIX = b".wh..wh."
_END = bytes(2 * BLOCK)


class NotMerged(Exception):
    """The layers cannot be merged without the image: the message says why."""


@dataclass(frozen=True, slots=True)
class Copy:
    """Bytes of a layer.

    Attributes:
        layer: Its number among those that were merged, from 0.
        offset: Where they begin.
        size: How many they are.
    """

    layer: int
    offset: int
    size: int


@dataclass(slots=True, eq=False)
class _File:
    """What is no directory; a file with several names is one."""

    member: Member


@dataclass(slots=True, eq=False)
class _Directory:
    """A directory that some layer lists.

    Attributes:
        member: The last that was said about it; None for the root where no layer lists it.
        opaque: Whether what the image has in it is hidden.
        children: What is in it, as far as layers have it; None stands for what is hidden.
        made: By which layers each name was given: whiteouts of the same layer do not hide it.
    """

    member: Member | None
    opaque: bool = False
    children: dict[bytes, _File | _Directory | None] = field(default_factory=dict)
    made: dict[bytes, int] = field(default_factory=dict)


class Delta:
    """Takes layers, the lowest first, and gives the one that stands for them.

    Layers are taken that name every directory before what is in it, as those that a guest makes of
    its container's changes; what a path would lead to otherwise, only the image tells.
    """

    def __init__(self) -> None:
        self._root = _Directory(None)
        self._layers: list[Archive] = []
        self._cost = 0

    async def add(self, layer: Archive) -> None:
        """Lay a layer over those before; after an error the delta is of no use.

        Raises:
            NotMerged: It cannot be done without the image.
            InvalidLayer: It is no tar archive.
        """
        self._layers.append(layer)
        async with aclosing(read_members(layer)) as members:
            async for member in members:
                self._cost += member.entry.cost
                if self._cost > limits.MAX_METADATA:
                    raise NotMerged("they have too many files")
                self._apply(member)

    def _apply(self, member: Member) -> None:
        entry = member.entry
        path = clean(entry.name)
        if not path:
            if entry.type is not FileType.DIRECTORY:
                raise NotMerged("one replaces the root directory")
            self._root.member = member
            return
        *parents, name = path
        directory = self._directory(parents)
        if name.startswith(WHITEOUT_PREFIX):
            self._white_out(directory, name)
            return
        number = len(self._layers)
        added: _File | _Directory | None
        if entry.type is None:
            added = self._link_source(entry.link)
        elif entry.type is FileType.DIRECTORY:
            added = _Directory(member)
            if name in directory.children:
                there = directory.children[name]
                if isinstance(there, _Directory):
                    there.member, added = member, there
                else:
                    # Of what was replaced or hidden, nothing may come through.
                    added.opaque = True
        else:
            added = _File(member)
        self._note(parents, number)
        directory.children[name] = added
        directory.made[name] = number

    def _directory(self, path: Sequence[bytes]) -> _Directory:
        directory = self._root
        for name in path:
            below = directory.children.get(name)
            if not isinstance(below, _Directory):
                raise NotMerged(f"{b'/'.join(path)!r} is not said to be a directory")
            directory = below
        return directory

    def _note(self, path: Sequence[bytes], number: int) -> None:
        directory = self._root
        for name in path:
            directory.made[name] = number
            below = directory.children[name]
            assert isinstance(below, _Directory)
            directory = below

    def _link_source(self, target: bytes) -> _File:
        *parents, name = clean(target) or [b""]
        source = self._directory(parents).children.get(name)
        if not isinstance(source, _File):
            raise NotMerged(f"the file {target!r} of a hard link is not among them")
        return source

    def _white_out(self, directory: _Directory, name: bytes) -> None:
        if name == OPAQUE_WHITEOUT:
            self._hide_all(directory)
            return
        hidden = name.removeprefix(WHITEOUT_PREFIX)
        if name.startswith(_AUFS_PREFIX) or hidden in (b"", b".", b".."):
            raise NotMerged(f"the whiteout {name!r} means nothing")
        if not self._is_new(directory, hidden):
            directory.children[hidden] = None
        elif isinstance(below := directory.children[hidden], _Directory):
            self._hide_all(below)

    def _hide_all(self, directory: _Directory) -> None:
        pending = [directory]
        while pending:
            directory = pending.pop()
            directory.opaque = True
            for name, below in list(directory.children.items()):
                if not self._is_new(directory, name):
                    del directory.children[name]
                elif isinstance(below, _Directory):
                    pending.append(below)

    def _is_new(self, directory: _Directory, name: bytes) -> bool:
        """Tell whether the layer at hand has given a name."""
        there = directory.children.get(name)
        return there is not None and directory.made.get(name) == len(self._layers)

    async def pieces(self) -> list[bytes | Copy]:
        """Return the one layer: a tar archive, in pieces."""
        pieces: list[bytes | Copy] = []
        sent: dict[_File, bytes] = {}
        numbers = {id(layer): number for number, layer in enumerate(self._layers)}

        def copy(member: Member, offset: int, size: int) -> None:
            number = numbers[id(member.archive)]
            last = pieces[-1] if pieces else None
            if (
                isinstance(last, Copy)
                and last.layer == number
                and last.offset + last.size == offset
            ):
                pieces[-1] = Copy(number, last.offset, last.size + size)
            elif size > 0:
                pieces.append(Copy(number, offset, size))

        for path, node in self._walk():
            if node is None:
                pieces.append(marker(path))
                continue
            member = node.member
            if member is None:
                continue
            if isinstance(node, _File) and node in sent:
                head = await member.archive.read(member.start, member.head)
                pieces.append(link(head, path, sent[node]))
            elif clean(member.entry.name) == clean(path):
                copy(member, member.start, member.head + member.body)
            else:
                head = await member.archive.read(member.start, member.head)
                pieces.append(renamed(head, path))
                copy(member, member.start + member.head, member.body)
            if isinstance(node, _File):
                sent.setdefault(node, path)
        pieces.append(_END)
        return pieces

    def _walk(self) -> Iterator[tuple[bytes, _File | _Directory | None]]:
        """Iterate over what the layer has, each with its path; None stands for a whiteout."""
        # Where the image has nothing in a directory, there is nothing to be hidden either.
        pending: list[tuple[bytes, _File | _Directory | None, bool]] = [(b"", self._root, False)]
        while pending:
            path, node, covered = pending.pop()
            if node is None and covered:
                continue
            yield path, node
            if not isinstance(node, _Directory):
                continue
            prefix = path + b"/" if path else b""
            if node.opaque and not covered:
                yield prefix + OPAQUE_WHITEOUT, None
            inside = covered or node.opaque
            for name in reversed(node.children):
                below = node.children[name]
                hidden = prefix + (WHITEOUT_PREFIX + name if below is None else name)
                pending.append((hidden, below, inside))


async def merged(layers: Sequence[Archive]) -> list[bytes | Copy]:
    """Return one layer in the place of several, the lowest first: a tar archive, in pieces.

    Raises:
        NotMerged: It cannot be done without the image.
    """
    delta = Delta()
    try:
        for layer in layers:
            await delta.add(layer)
        return await delta.pieces()
    except InvalidLayer as error:
        raise NotMerged(str(error)) from None
