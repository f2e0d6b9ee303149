"""Merging layers: OCI image specification, layer.md."""

import errno
import tarfile

import pytest

from browsermount.errors import InvalidLayer
from browsermount.layers.entry import FileType, Segment
from browsermount.rootfs.content import content_of
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.merge import Merger, clean
from browsermount.rootfs.tree import Tree, content_size, lookup

from .images import hardlink, member, symlink, tar
from .layers import read_layer
from .loop import run


def merge(*layers: bytes) -> Inode:
    tree = Tree()
    root = tree.new_directory()
    tree.root.link(b"rootfs", root)
    merger = Merger(tree, root)
    for data in layers:
        index, stream = read_layer(data)
        merger.apply(index.entries, stream)
    check_links(root)
    return root


def check_links(root: Inode) -> None:
    """Assert that link counts and parents are what the tree says."""
    names: dict[int, int] = {}
    inodes: dict[int, Inode] = {}
    for _, inode in root.walk():
        names[inode.ino] = names.get(inode.ino, 0) + 1
        inodes[inode.ino] = inode
        for child in inode.children.values():
            assert not child.is_directory or child.parent is inode
    for ino, inode in inodes.items():
        if inode.is_directory:
            assert names[ino] == 1
            below = sum(child.is_directory for child in inode.children.values())
            assert inode.nlink == 2 + below
        else:
            assert inode.nlink == names[ino]


def paths(root: Inode) -> list[str]:
    return sorted(path.decode() for path, _ in root.walk() if path != b"/")


def text(root: Inode, path: str) -> bytes:
    inode = lookup(root, path.encode())
    return run(inode.content.read(0, inode.size))


def test_one_layer() -> None:
    root = merge(
        tar(
            member("./", mode=0o711),
            member("a/", mode=0o700, uid=5),
            member("a/f", b"one", mode=0o4750, mtime=99, gid=6),
            symlink("a/s", "f"),
            member("dev/", b""),
            member("dev/null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
        )
    )
    assert paths(root) == ["/a", "/a/f", "/a/s", "/dev", "/dev/null"]
    assert root.mode == 0o711
    f = lookup(root, b"a/f")
    assert (f.mode, f.gid, f.mtime_ns, f.nlink, f.size) == (0o4750, 6, 99_000_000_000, 1, 3)
    assert lookup(root, b"/a/s") is f
    assert lookup(root, b"/a/s", follow=False).target == b"f"
    assert lookup(root, b"dev/null").rdev == (1, 3)


def test_upper_layers_win() -> None:
    root = merge(
        tar(member("f", b"old"), member("d/", mode=0o700), member("d/x", b"x")),
        tar(member("f", b"new"), member("d/", mode=0o755), member("d/y", b"y")),
    )
    assert paths(root) == ["/d", "/d/x", "/d/y", "/f"]
    assert text(root, "f") == b"new"
    assert lookup(root, b"d").mode == 0o755


def test_whiteouts() -> None:
    root = merge(
        tar(member("a"), member("d/"), member("d/x"), member("d/e/"), member("d/e/y"), member("k")),
        tar(member(".wh.a"), member(".wh.d"), member(".wh.nothing"), member("no/.wh.such")),
    )
    assert paths(root) == ["/k"]


@pytest.mark.parametrize("first", [True, False])
def test_a_whiteout_leaves_alone_what_its_own_layer_has(first: bool) -> None:
    upper = [member("d/"), member("d/new")]
    upper = [member(".wh.d"), *upper] if first else [*upper, member(".wh.d")]
    root = merge(tar(member("d/"), member("d/old")), tar(*upper))
    assert paths(root) == ["/d", "/d/new"]


@pytest.mark.parametrize("first", [True, False])
def test_opaque_directories(first: bool) -> None:
    upper = [member("d/new"), member("d/e/new")]
    opaque = member("d/.wh..wh..opq")
    root = merge(
        tar(member("d/"), member("d/old"), member("d/e/"), member("d/e/old"), member("k")),
        tar(opaque, *upper) if first else tar(*upper, opaque),
    )
    assert paths(root) == ["/d", "/d/e", "/d/e/new", "/d/new", "/k"]


def test_an_opaque_root() -> None:
    assert paths(merge(tar(member("a"), member("b/")), tar(member(".wh..wh..opq")))) == []


def test_names_of_aufs_mean_nothing() -> None:
    assert paths(merge(tar(member("a"), member(".wh..wh.plnk/"), member(".wh..wh.aufs")))) == ["/a"]


def test_a_file_becomes_a_directory_and_the_reverse() -> None:
    root = merge(
        tar(member("a", b"file"), member("b/"), member("b/c/"), member("b/c/d")),
        tar(member("a/"), member("a/x"), member("b", b"file")),
    )
    assert paths(root) == ["/a", "/a/x", "/b"]
    assert text(root, "b") == b"file"


def test_a_symlink_to_a_directory_is_replaced_by_a_directory() -> None:
    root = merge(
        tar(member("real/"), member("real/x"), symlink("link", "real")),
        tar(member("link/"), member("link/y")),
    )
    assert lookup(root, b"link", follow=False).type is FileType.DIRECTORY
    assert paths(root) == ["/link", "/link/y", "/real", "/real/x"]


def test_symlinks_among_the_parents_are_followed_within_the_rootfs() -> None:
    root = merge(
        tar(member("usr/lib/"), symlink("lib", "usr/lib"), symlink("abs", "/../../usr")),
        tar(member("lib/new"), member("abs/lib/other"), hardlink("hard", "lib/new")),
    )
    assert lookup(root, b"usr/lib/new").nlink == 2
    assert lookup(root, b"usr/lib/other")
    assert lookup(root, b"lib", follow=False).type is FileType.SYMLINK


def test_whiteouts_reach_through_symlinks_too() -> None:
    root = merge(
        tar(member("usr/lib/x"), symlink("lib", "usr/lib")),
        tar(member("lib/.wh.x")),
    )
    assert paths(root) == ["/lib", "/usr", "/usr/lib"]


def test_dots_cannot_leave_the_rootfs() -> None:
    assert clean(b"/../../etc/./x/../passwd") == [b"etc", b"passwd"]
    root = merge(tar(member("../../etc/passwd", b"x"), member("/abs", b"y")))
    assert paths(root) == ["/abs", "/etc", "/etc/passwd"]


def test_missing_parents_are_made() -> None:
    root = merge(tar(member("a/b/c", b"x")))
    assert (lookup(root, b"a").mode, lookup(root, b"a/b").uid) == (0o755, 0)


def test_a_directory_after_its_contents() -> None:
    root = merge(tar(member("d/f", b"x"), member("d/", mode=0o700)))
    assert (lookup(root, b"d").mode, text(root, "d/f")) == (0o700, b"x")


def test_the_last_of_several_entries_counts() -> None:
    root = merge(tar(member("f", b"one"), member("f", b"two"), member("f", b"three")))
    assert text(root, "f") == b"three"


def test_hard_links() -> None:
    root = merge(
        tar(member("a", b"text"), hardlink("b", "a"), hardlink("./c", "/b")),
        tar(hardlink("d", "a"), member(".wh.a")),
        tar(member("b", b"other")),
    )
    assert paths(root) == ["/b", "/c", "/d"]
    c, d = lookup(root, b"c"), lookup(root, b"d")
    assert c is d
    assert c.nlink == 2
    assert (text(root, "c"), text(root, "b")) == (b"text", b"other")


def test_a_hard_link_to_a_symlink_and_to_itself() -> None:
    root = merge(tar(symlink("s", "nowhere"), hardlink("h", "s"), hardlink("h", "h")))
    assert lookup(root, b"h", follow=False).target == b"nowhere"


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (tar(hardlink("b", "a")), "does not exist"),
        (tar(member("d/"), hardlink("b", "d")), "directory"),
        (tar(hardlink("b", "/")), "does not exist"),
        (tar(member("a", b""), hardlink("b", "a/c")), "does not exist"),
        (tar(symlink("a", "b"), symlink("b", "a"), member("a/x")), "symlinks"),
        (tar(member(".wh.")), "no valid name"),
        (tar(member(".wh...")), "no valid name"),
        (tar(member(".wh..")), "no valid name"),
        (tar(member(".", type=tarfile.REGTYPE)), "root"),
        (tar(member("n" * 256)), "longer"),
        (tar(member("/".join("d" * 2500))), "longer"),
        (tar(symlink("s", "/".join("d" * 2500))), "longer"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_refused(layer: bytes, said: str) -> None:
    with pytest.raises(InvalidLayer, match=said):
        merge(layer)


def test_deep_directories() -> None:
    # Each layer goes deeper through a symlink, so the whole is deeper than a path of a layer.
    deep = "/".join("d" * 680)
    layers = [tar(member(f"{deep}/"), symlink("a", deep))]
    layers += [tar(member(f"a/{deep}/"), symlink("b", f"a/{deep}"))]
    layers += [tar(member(f"b/{deep}/"))]
    root = merge(*layers)
    assert len(paths(root)) == 3 * 680 + 2
    assert paths(merge(*layers, tar(member(".wh.d")))) == ["/a", "/b"]
    with pytest.raises(InvalidLayer, match="more than 2047 directories"):
        merge(*layers, tar(symlink("c", f"b/{deep}"), member(f"c/{deep}/")))


def test_inode_numbers_are_the_same_each_time() -> None:
    layers = [
        tar(member("a"), member("d/x"), hardlink("h", "a")),
        tar(member(".wh.a"), member("d/y")),
    ]
    first = {path: inode.ino for path, inode in merge(*layers).walk()}
    assert first == {path: inode.ino for path, inode in merge(*layers).walk()}
    assert len(set(first.values())) == len(first)


def test_extended_attributes_are_those_of_the_upper_layer() -> None:
    def directory(name: str) -> bytes:
        return tar(member("d/", pax={f"SCHILY.xattr.user.{name}": name}))

    assert lookup(merge(directory("one"), directory("two")), b"d").xattrs == {b"user.two": b"two"}


def test_lookup() -> None:
    root = merge(
        tar(member("d/f", b""), symlink("up", "../../d"), symlink("loop", "loop"), member("f", b""))
    )
    assert lookup(root, b"") is root
    assert lookup(root, b"../..") is root
    assert lookup(root, b"d/../up/f") is lookup(root, b"d/f")
    for path, number in (
        (b"x", errno.ENOENT),
        (b"f/x", errno.ENOTDIR),
        (b"loop", errno.ELOOP),
    ):
        with pytest.raises(OSError) as caught:  # noqa: PT011
            lookup(root, path)
        assert caught.value.errno == number


def test_content_size_counts_each_file_once() -> None:
    root = merge(tar(member("a", b"12345"), hardlink("b", "a"), member("c", b"1")))
    assert content_size(inode for _, inode in root.walk()) == 6


class _Bytes:
    """A stream in memory that has to be awaited where ``late``."""

    def __init__(self, data: bytes, *, late: bool) -> None:
        self._data = data
        self._late = late

    def read_now(self, offset: int, size: int) -> bytes | None:
        return None if self._late else self._data[offset : offset + size]

    async def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]


@pytest.mark.parametrize(
    ("segments", "whole"),
    [
        ([Segment(0, 2, 4)], b"aabb"),
        ([Segment(1, 2, 2), Segment(6, 4, 2)], b"\0aa\0\0\0bb\0\0"),
    ],
)
def test_content_in_a_stream(segments: list[Segment], whole: bytes) -> None:
    now = content_of(_Bytes(b"xxaabbyy", late=False), segments, len(whole))
    late = content_of(_Bytes(b"xxaabbyy", late=True), segments, len(whole))
    assert late.read_now(0, 100) is None
    for start in range(len(whole) + 2):
        for end in range(start, len(whole) + 2):
            assert now.read_now(start, end - start) == whole[start:end]
            assert run(late.read(start, end - start)) == whole[start:end]
