"""Layers that are merged into one: over an image, they give the same tree."""

from __future__ import annotations

import io
import random
import tarfile

import pytest

from browsermount.commit.delta import Copy, NotMerged, merged
from browsermount.errors import InvalidLayer
from browsermount.oci.given import layer_of
from browsermount.rootfs.inode import Inode

from .images import hardlink, member, symlink, tar
from .loop import run
from .random_layers import FORMATS, random_layer
from .test_rootfs import merge, paths, text

LONG = "a name that is longer than a header has room for " * 4
IMAGE = tar(
    member("d/"),
    member("d/image", b"image"),
    member("d/sub/"),
    member("d/sub/deep", b"deep"),
    member("f", b"f"),
    symlink("l", "d"),
)


def one(*layers: bytes) -> bytes:
    """Return the layer that stands for several."""
    pieces = run(merged([layer_of(layer) for layer in layers]))
    return b"".join(
        layers[piece.layer][piece.offset : piece.offset + piece.size]
        if isinstance(piece, Copy)
        else piece
        for piece in pieces
    )


def facts(root: Inode) -> dict[bytes, object]:
    """Return all that can be seen of a tree."""
    names: dict[int, list[bytes]] = {}
    for path, inode in root.walk():
        names.setdefault(inode.ino, []).append(path)
    return {
        path: (
            inode.type,
            inode.mode,
            (inode.uid, inode.gid, inode.mtime_ns, inode.rdev),
            inode.xattrs,
            inode.target,
            run(inode.content.read(0, inode.size)) if inode.size else b"",
            sorted(names[inode.ino]),
        )
        for path, inode in root.walk()
    }


def check(*layers: bytes, images: tuple[bytes, ...] = (IMAGE, tar())) -> bytes:
    layer = one(*layers)
    for image in images:
        assert facts(merge(image, layer)) == facts(merge(image, *layers))
    return layer


def names(layer: bytes) -> list[str]:
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        return archive.getnames()


def test_what_hides_the_image_stays_and_what_is_hidden_goes() -> None:
    first = tar(member("d/"), member("d/new", b"1"), member("d/.wh.image", b""), member("g", b"g"))
    second = tar(
        member("d/", mode=0o700), member("d/.wh.new", b""), member("f", b"2"), member(".wh.g", b"")
    )
    layer = check(first, second)
    assert names(layer) == ["d", "d/.wh.new", "d/.wh.image", ".wh.g", "f"]
    assert paths(merge(IMAGE, layer)) == ["/d", "/d/sub", "/d/sub/deep", "/f", "/l"]


@pytest.mark.parametrize(
    "first",
    [
        [member(".wh.d", b"")],
        [member("d", b"a file")],
        [symlink("d", "f")],
        [member("d/"), member("d/.wh..wh..opq", b""), member("d/mine", b"")],
    ],
    ids=["whiteout", "file", "symlink", "opaque"],
)
@pytest.mark.parametrize(
    "second",
    [
        [member("d/"), member("d/other", b"")],
        [member("d/"), member("d/.wh..wh..opq", b""), member("d/sub/"), member("d/sub/x", b"")],
        [member("d", b"file again")],
        [member(".wh.d", b"")],
        [member("d/"), member("d/.wh.mine", b"")],
    ],
    ids=["directory", "opaque", "file", "whiteout", "inside"],
)
def test_a_directory_is_made_anew(first: list[object], second: list[object]) -> None:
    check(tar(*first), tar(*second))  # type: ignore[arg-type]


@pytest.mark.parametrize("hides", ["d/.wh..wh..opq", ".wh.d", "d/.wh.sub"])
def test_a_layer_hides_what_is_below_its_own_directories(hides: str) -> None:
    first = tar(member("d/"), member("d/sub/"), member("d/sub/old", b""), member("d/old", b""))
    second = tar(member("d/"), member("d/sub/"), member("d/sub/new", b""), member(hides, b""))
    layer = check(first, second)
    assert "d/sub/old" not in names(layer)


def test_nothing_need_be_hidden_in_what_is_hidden_whole() -> None:
    first = tar(member(".wh.d", b""), member("e/"), member("e/.wh..wh..opq", b""))
    second = tar(member("d/"), member("d/.wh.x", b""), member("d/s/"), member("d/s/.wh.y", b""))
    layer = check(first, second, tar(member("e/"), member("e/.wh.x", b"")))
    assert names(layer) == ["d", "d/.wh..wh..opq", "d/s", "e", "e/.wh..wh..opq"]


@pytest.mark.parametrize(
    ("format", "long"), [(format, "") for format in FORMATS] + [(FORMATS[2], f"{LONG}/")]
)
def test_a_file_whose_first_name_is_gone(format: int, long: str) -> None:
    parents = [member(long)] if long else []
    pax = {"SCHILY.xattr.user.a": "value", "mtime": "-5.25"} if format == FORMATS[2] else {}
    file = member(f"{long}first", b"content" * 1000, uid=3, mode=0o4755, pax=pax)
    links = [hardlink(f"{long}{name}", f"{long}first") for name in ("second", "third")]
    first = tar(*parents, file, *links, format=format)
    for second in (
        [member(f"{long}.wh.first", b"")],
        [member(f"{long}first", b"other")],
        [member(f"{long}first/"), member(f"{long}first/{'b' * 120}", b"")],
    ):
        layer = check(first, tar(*parents, *second))
        inode = merge(layer)
        assert text(inode, f"{long}third") == b"content" * 1000
        # Whoever unpacks it may give the file what its last name says.
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            for name in ("second", "third"):
                info = archive.getmember(f"{long}{name}")
                assert (info.uid, info.mode) == (3, 0o4755)


def test_a_symlink_with_two_names() -> None:
    target = "../" * 50 + "x"
    for format in FORMATS[1:]:
        first = tar(symlink("a", target), hardlink("b", "a"), hardlink("c", "a"), format=format)
        check(first, tar(member(".wh.a", b"")))


def test_a_later_layer_gives_a_file_another_name() -> None:
    first = tar(member("a", b"a"), member("z", b"z"))
    second = tar(hardlink("b", "a"), member(".wh.a", b""))
    check(first, second, tar(member("a", b"new")))


def test_contents_are_not_read() -> None:
    content = random.Random(1).randbytes(3 << 20)
    layers = (tar(member("a", content)), tar(member("b", content)), tar(member(".wh.a", b"")))
    pieces = run(merged([layer_of(layer) for layer in layers]))
    sizes = [piece.size for piece in pieces if isinstance(piece, Copy)]
    assert sizes == [512 + len(content)]
    assert sum(len(piece) for piece in pieces if not isinstance(piece, Copy)) < 3000
    check(*layers)


@pytest.mark.parametrize(
    "layers",
    [
        [tar(member("l/x", b"through a link of the image"))],
        [tar(symlink("s", "d")), tar(member("s/x", b""))],
        [tar(hardlink("h", "f"))],
        [tar(member("a", b"")), tar(member(".wh.a", b"")), tar(hardlink("b", "a"))],
        [tar(member(".wh..wh.plnk", b""))],
        [tar(member(".wh.", b""))],
        [tar(member(".", b"", type=tarfile.SYMTYPE, linkname="f"))],
        [b"no archive" * 100],
        [tar(member("a", b"x" * 600))[:900]],
    ],
)
def test_what_only_the_image_tells(layers: list[bytes]) -> None:
    with pytest.raises(NotMerged):
        one(*layers)


def test_they_may_not_take_all_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("browsermount.limits.MAX_METADATA", 1000)
    with pytest.raises(NotMerged, match="too many"):
        one(*(tar(member(str(number), b"")) for number in range(9)))


def test_random_layers_give_the_same_tree() -> None:
    done = 0
    for seed in range(60):
        source = random.Random(seed)
        image = [tar(*random_layer(source, number)) for number in range(2)]
        layers = [
            tar(*random_layer(source, 9 + number, with_parents=1), format=source.choice(FORMATS))
            for number in range(source.randint(2, 4))
        ]
        try:
            expected = facts(merge(*image, *layers))
        except InvalidLayer:
            continue
        try:
            layer = one(*layers)
        except NotMerged:
            continue
        assert facts(merge(*image, layer)) == expected, seed
        # And so does the merged one merged again.
        assert facts(merge(*image, one(one(*layers[:-1]), layers[-1]))) == expected, seed
        done += 1
    assert done > 20
