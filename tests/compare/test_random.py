"""Trees and images that nobody thought of."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from browsermount.errors import InvalidLayer
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.merge import Merger
from browsermount.rootfs.tree import Tree
from tests.compare.random_images import write_random_images
from tests.compare.readers import (
    mount_layout,
    read_directory,
    read_mount,
    read_tree,
    unpack_with_umoci,
    work_directory,
)
from tests.compare.records import Records, differences
from tests.core.layers import read_layer

SEEDS = 200


def test_random_layers_merge_as_umoci_merges_them() -> None:
    """Umoci takes fewer images than we do; those that it takes must be the same."""
    seen: Counter[str] = Counter()
    with work_directory() as work:
        write_random_images(work / "layout", range(SEEDS))
        start = time.time_ns()
        for seed in range(SEEDS):
            try:
                expected = unpack_with_umoci(work / "layout", str(seed))
            except AssertionError:
                seen["refused by umoci"] += 1
                continue
            found = asyncio.run(_ours(work / "layout", str(seed)))
            # umoci gives the time of unpacking to directories that no entry names.
            for path, record in expected.items():
                if record.type == "d" and record.mtime_ns >= start and path in found:
                    expected[path] = replace(record, mtime_ns=found[path].mtime_ns)
            text = differences(expected, found)
            assert not text, f"seed {seed}:\n{text}"
            seen["same"] += 1
    assert seen["same"] > SEEDS / 2, seen


async def _ours(layout: Path, tag: str) -> Records:
    return await read_mount(await mount_layout(layout, tag))


GNU = ("tar", "--numeric-owner", "--sort=name", "-cf")
# bsdtar 3.6 cuts long names of sparse files short where they are not UTF-8.
BSD = ("bsdtar", "--no-read-sparse", "-cf")
FORMATS = {
    # What the format can hold: names of any length and bytes, extended attributes, nanoseconds.
    "gnu-posix": (*GNU, "long", "xattrs", "nanoseconds", "--format=posix", "--xattrs"),
    "gnu-posix-sparse": (*GNU, "long", "nanoseconds", "--format=posix", "--sparse"),
    "gnu-gnu": (*GNU, "long", "--format=gnu"),
    "gnu-gnu-sparse": (*GNU, "long", "--format=gnu", "--sparse"),
    "gnu-oldgnu": (*GNU, "long", "--format=oldgnu"),
    "gnu-ustar": (*GNU, "--format=ustar"),
    "gnu-v7": (*GNU, "plain", "--format=v7"),
    "bsd-pax": (*BSD, "long", "xattrs", "nanoseconds", "--format=pax"),
    "bsd-restricted-pax": (*BSD, "long", "--format=paxr"),
    "bsd-gnutar": (*BSD, "long", "--format=gnutar"),
    "bsd-ustar": (*BSD, "--format=ustar"),
}
ABILITIES = {"long", "xattrs", "nanoseconds", "plain"}


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seed", range(4))
def test_random_trees_are_read_from_archives(name: str, seed: int) -> None:
    abilities = ABILITIES & set(FORMATS[name])
    program, *options = [word for word in FORMATS[name] if word not in ABILITIES]
    with work_directory() as work:
        tree = work / "tree"
        _random_tree(tree, random.Random(seed), abilities)
        archive = work / "archive.tar"
        place = options.index("-cf") + 1
        command = [program, *options[:place], str(archive), *options[place:], "-C", str(tree), "."]
        done = subprocess.run(command, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr.decode(errors="replace")
        expected = read_directory(tree)
        assert len(expected) > 20
        data = archive.read_bytes()
        for step in (len(data), 4096, 997):
            text = differences(expected, asyncio.run(read_tree(_parse(data, step))))
            assert not text, f"\n{text}"


def _parse(data: bytes, step: int) -> Inode:
    index, stream = read_layer(data, step)
    tree = Tree()
    Merger(tree, tree.root).apply(index.entries, stream)
    return tree.root


@pytest.mark.parametrize("seed", range(30))
def test_damaged_archives_are_refused_or_read_and_nothing_else(seed: int) -> None:
    source = random.Random(seed)
    with work_directory() as work:
        _random_tree(work / "tree", source, {"long", "xattrs", "nanoseconds"})
        command = ["tar", "--xattrs", "--format=posix", "--sparse", "-C", str(work / "tree")]
        data = subprocess.run([*command, "-c", "."], capture_output=True, check=True).stdout
    for _ in range(40):
        damaged = bytearray(data)
        for _ in range(source.randint(1, 20)):
            damaged[source.randrange(len(damaged))] = source.randrange(256)
        cut = source.choice((len(damaged), source.randrange(len(damaged))))
        try:
            root = _parse(bytes(damaged[:cut]), 10_000)
        except InvalidLayer:
            continue
        for path, inode in root.walk():
            assert b"\0" not in path
            assert 0 <= inode.mode <= 0o7777
            assert 0 <= inode.uid < 2**32


def _random_tree(root: Path, source: random.Random, abilities: set[str]) -> None:
    """Fill a directory with files of all types, with names and attributes by chance."""
    root.mkdir()
    base = os.fsencode(root)
    directories = [base]
    files: list[bytes] = []
    names = _names(source, abilities)
    for _ in range(source.randint(40, 90)):
        path = os.path.join(source.choice(directories), next(names))
        kind = source.choices(
            ("file", "directory", "symlink", "link", "sparse", "fifo", "device"),
            (8, 4, 3, 2, 1, 1, 1),
        )[0]
        if "plain" in abilities and kind in ("fifo", "device"):
            continue
        if kind == "directory" and path.count(b"/") - base.count(b"/") < 6:
            os.mkdir(path)
            directories.append(path)
        elif kind == "symlink":
            os.symlink(b"/".join(next(names) for _ in range(source.randint(1, 3)))[:90], path)
        elif kind == "link" and files:
            os.link(source.choice(files), path)
            continue
        elif kind == "fifo":
            os.mkfifo(path)
        elif kind == "device":
            os.mknod(path, source.choice((0o020600, 0o060644)), os.makedev(7, source.randint(0, 9)))
        else:
            with open(path, "wb") as file:
                if kind == "sparse":
                    for _ in range(source.randint(0, 9)):
                        file.seek(source.randint(1, 50) * 4096, os.SEEK_CUR)
                        file.write(source.randbytes(source.choice((1, 4096, 5000))))
                    file.truncate(file.tell() + source.choice((0, 1, 70_000)))
                else:
                    file.write(source.randbytes(source.choice((0, 1, 511, 512, 513, 9000))))
            files.append(path)
        _random_attributes(path, source, abilities, kind)
    for path in [*files, *directories]:
        _random_time(path, source, abilities)


def _random_attributes(path: bytes, source: random.Random, abilities: set[str], kind: str) -> None:
    large = (0, 1000, 65_534) if "long" not in abilities else (0, 1000, 3_000_000)
    os.chown(path, source.choice(large), source.choice(large), follow_symlinks=False)
    if kind == "symlink":
        _random_time(path, source, abilities)
        return
    os.chmod(path, source.choice((0o644, 0o755, 0o4711, 0o2750, 0o1777, 0o600)))
    if "xattrs" in abilities and kind in ("file", "directory") and source.random() < 0.3:
        for number in range(source.randint(1, 3)):
            value = source.randbytes(source.randint(1, 300))
            os.setxattr(path, f"user.attribute-{number}", value)
    _random_time(path, source, abilities)


def _random_time(path: bytes, source: random.Random, abilities: set[str]) -> None:
    nanoseconds = source.randint(1, 2_000_000_000) * 1_000_000_000
    if "nanoseconds" in abilities:
        nanoseconds += source.randint(0, 999_999_999)
    os.utime(path, ns=(nanoseconds, nanoseconds), follow_symlinks=False)


def _names(source: random.Random, abilities: set[str]) -> Iterator[bytes]:
    number = 0
    while True:
        number += 1
        if "long" not in abilities:
            yield b"%d" % number
            continue
        length = source.choice((1, 5, 20, 99, 100, 101, 155, 240))
        alphabet = source.choice((b"abc", b"a \n\\%=", "\u00e9\u65e5".encode(), b"a\xff\x80"))
        yield (b"%d-" % number + bytes(source.choices(alphabet, k=length)))[:250]
