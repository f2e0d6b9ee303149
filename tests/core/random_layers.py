"""Random layers: many entries for few names, so that layers get in each other's way."""

from __future__ import annotations

import random
import tarfile
from pathlib import PurePosixPath
from typing import Any

from .images import member

NAMES = ("a", "b", "c", "d")
FORMATS = (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT)
Member = tuple[tarfile.TarInfo, bytes]


def random_layer(source: random.Random, number: int, *, with_parents: float = 0.9) -> list[Member]:
    """Return the members of a layer.

    Args:
        source: Where its randomness is from.
        number: Stands in the files' contents.
        with_parents: How probable it is that a member's directories are members, too.
    """
    members: list[Member] = []
    # Hard links only within a layer and to files: to anything else they are errors.
    files: list[str] = []
    for _ in range(source.randint(1, 12)):
        path = _path(source)
        attributes: dict[str, Any] = {
            "mode": source.choice((0o644, 0o755, 0o600, 0o4755, 0o1777)),
            "uid": source.choice((0, 0, 5, 1000)),
            "gid": source.choice((0, 0, 7)),
            "mtime": 1_000_000_000 + source.randint(0, 10**8),
        }
        if source.random() < with_parents:
            # As every tool does. Without, a file in the way of a path is an error for umoci.
            parents = [str(parent) for parent in PurePosixPath(path).parents][-2::-1]
            members += [member(parent, type=tarfile.DIRTYPE, **attributes) for parent in parents]
        kind = source.choices(
            ("file", "directory", "symlink", "link", "whiteout", "opaque", "fifo"),
            (6, 4, 3, 2, 4, 1, 1),
        )[0]
        if kind == "file":
            members.append(member(path, f"{number} {path}\n".encode(), **attributes))
            files.append(path)
        elif kind == "directory":
            members.append(member(path, type=tarfile.DIRTYPE, **attributes))
        elif kind == "symlink":
            target = source.choice(("", "", "/", "../", "./")) + _path(source).lstrip("./")
            members.append(member(path, type=tarfile.SYMTYPE, linkname=target, **attributes))
        elif kind == "fifo":
            members.append(member(path, type=tarfile.FIFOTYPE, **attributes))
        elif kind == "link" and files and members[-1][0].name == files[-1] != path:
            # Right after its file, so that nothing can have replaced it.
            if not path.startswith(files[-1]) and not files[-1].startswith(path):
                members.append(member(path, type=tarfile.LNKTYPE, linkname=files[-1]))
        elif kind == "whiteout":
            directory, _, name = path.rpartition("/")
            members.append(member(f"{directory}/.wh.{name}" if directory else f".wh.{name}"))
        elif kind == "opaque":
            members.append(member(f"{path}/.wh..wh..opq"))
    return members


def _path(source: random.Random) -> str:
    path = "/".join(source.choice(NAMES) for _ in range(source.randint(1, 3)))
    return source.choice(("", "", "./")) + path
