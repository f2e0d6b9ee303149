"""A mounted image's tree as two files, from which bare/files.js fills v86's own file system."""

from __future__ import annotations

import gzip
import json
import stat
from pathlib import Path
from typing import Any

from browsermount.layers.entry import FileType
from browsermount.mount import Mount


async def pack(mounted: Mount, out: Path) -> None:
    """Write files.json and contents.gz into a folder.

    Extended attributes are left out, and names have to be UTF-8: v86 takes nothing else.
    """
    entries: list[dict[str, Any]] = []
    paths: dict[int, str] = {}
    with gzip.GzipFile(out / "contents.gz", "wb", 6, mtime=0) as contents:
        for name, inode in mounted.tree.root.walk():
            path = name.decode()
            if path == "/":
                continue
            entry: dict[str, Any] = {"path": path}
            entries.append(entry)
            if inode.ino in paths:
                entry["link"] = paths[inode.ino]
                continue
            paths[inode.ino] = path
            entry["mode"] = inode.type | inode.mode
            entry["uid"], entry["gid"] = inode.uid, inode.gid
            entry["mtime"] = inode.mtime_ns // 1_000_000_000
            if inode.type is FileType.REGULAR:
                entry["size"] = inode.size
                contents.write(await inode.content.read(0, inode.size))
            elif inode.type is FileType.SYMLINK:
                entry["target"] = inode.target.decode()
            elif stat.S_ISCHR(inode.type) or stat.S_ISBLK(inode.type):
                entry["device"] = inode.rdev
    (out / "files.json").write_text(json.dumps(entries))
