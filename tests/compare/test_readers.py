"""What we make of an image is what other programs make of it, entry by entry."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compare.known import DEFAULT, FEATURES
from tests.compare.readers import (
    mount_layout,
    read_directory,
    read_mount,
    unpack_with_tar,
    unpack_with_umoci,
    work_directory,
)
from tests.compare.records import Known, Record, Records, differences, parse_probe, show
from tests.fixtures import fixture
from tests.fixtures.layout import plain_layers, read_layers
from tests.fixtures.tools import HERE

DEFAULT_IMAGE = Path(__file__).resolve().parents[2] / "web" / "images" / "default"


def ours(layout: Path, tag: str | None = None) -> Records:
    async def read() -> Records:
        return await read_mount(await mount_layout(layout, tag))

    return asyncio.run(read())


@pytest.mark.parametrize(
    ("name", "tag", "known"),
    [
        ("features", "features", FEATURES),
        ("debian", "latest", ()),
        ("buildah", "buildah", ()),
        ("default", "latest", DEFAULT),
    ],
)
def test_same_tree_as_umoci(name: str, tag: str, known: Sequence[Known]) -> None:
    layout = DEFAULT_IMAGE if name == "default" else fixture(name) / "layout"
    expected = unpack_with_umoci(layout, tag)
    assert len(expected) > (50 if name == "buildah" else 1000)
    assert not (text := differences(expected, ours(layout, tag), known)), f"\n{text}"


def test_zstd_layers_make_the_same_tree_as_gzip_layers() -> None:
    features = fixture("features")
    text = differences(ours(features / "layout"), ours(features / "layout-zstd"))
    assert not text, f"\n{text}"


def test_same_tree_as_gnu_tar() -> None:
    """What umoci cannot read; see the fixture."""
    layout = fixture("features-tar") / "layout"
    expected = unpack_with_tar(plain_layers(layout))
    assert len(expected) > 10
    assert not (text := differences(expected, ours(layout))), f"\n{text}"


def test_features_hold_what_they_are_meant_to_hold() -> None:
    """Without this the comparisons could pass because a feature is in neither tree."""
    tree = ours(fixture("features") / "layout")
    kinds = {record.type for record in tree.values()}
    assert kinds == set("fdlcbp")
    assert {b"user.binary", b"security.capability", b"trusted.fixture", b"user.empty"} <= {
        name for record in tree.values() for name in record.xattrs
    }
    assert {0o4755, 0o2755, 0o1777, 0o7777, 0} <= {record.mode for record in tree.values()}
    assert {3_000_000, 2**32 - 2} <= {record.uid for record in tree.values()}
    assert any(record.mtime_ns < 0 for record in tree.values())
    assert any(record.mtime_ns % 1_000_000_000 for record in tree.values())
    assert any(record.mtime_ns > 2**32 * 1_000_000_000 for record in tree.values())
    assert any(record.size > 10_000_000 for record in tree.values())
    assert any(max(path) > 0x7F for path in tree)
    assert any(len(path) > 400 for path in tree)
    assert sum(path.startswith(b"many/") for path in tree) == 2999


@pytest.mark.parametrize(
    "gone",
    [
        "gone/file",
        "gone/directory",
        "gone/directory/sub/b",
        "gone/empty-later/only",
        "opaque/umoci/a",
        "opaque/umoci/sub/b",
        "opaque/hand/a",
        "opaque/hand/sub/b",
        "linked/first",
        "hand/removed-and-made-again/old",
        "hand/no-mode",
        "hand/replaced-in-one-layer/inside",
        "no-such-directory",
        "replaced/directory-by-file/inside",
    ],
)
def test_what_layers_removed_is_gone(gone: str) -> None:
    assert gone.encode() not in ours(fixture("features") / "layout")


def test_what_buildah_has_changed_layer_by_layer() -> None:
    layout = fixture("buildah") / "layout"
    layers = read_layers(layout, "buildah")
    assert len(layers) == 4
    assert any(b".wh." in layer for layer in plain_layers(layout, "buildah"))
    tree = ours(layout, "buildah")
    assert tree[b"srv/data/deep"].type == "f"
    assert b"srv/data/deep/er" not in tree
    assert tree[b"usr/share/copied/replaced"].type == "d"
    assert tree[b"usr/share/copied/kept"].mode == 0o600
    assert {b"srv/whole/new"} == {path for path in tree if path.startswith(b"srv/whole/")}
    assert tree[b"srv/data/linked"].nlink == 1  # its other name was removed, and made again
    assert tree[b"srv/owned"].uid == 1234
    assert tree[b"srv/setuid"].mode == 0o4755


def test_hard_links_across_layers() -> None:
    tree = ours(fixture("features") / "layout")
    assert tree[b"linked/base"].names == (b"linked/base", b"linked/from-a-later-layer")
    # The first name was removed by a layer between the two that made the others.
    assert tree[b"linked/third"].names == (b"linked/second", b"linked/third")
    assert tree[b"linked/third"].nlink == 2
    assert tree[b"linked/whole"].nlink == tree[b"linked/whole-again"].nlink == 1
    assert tree[b"linked/whole"].checksum != tree[b"linked/whole-again"].checksum
    assert tree[b"linked/link-relative-3"].nlink == 3


class TestTheComparison:
    """It must be able to fail, and to read what it is given."""

    @staticmethod
    def tree(**changes: object) -> Records:
        record = Record("f", 0o644, 0, 0, 1, 5, 1, checksum="d", xattrs={b"user.a": b"b"})
        return {b"a": record, b"b": replace(record, **changes)}  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        "changes",
        [
            {"type": "l"},
            {"mode": 0o4644},
            {"uid": 1},
            {"gid": 1},
            {"size": 2},
            {"mtime_ns": 6},
            {"nlink": 2},
            {"rdev": (1, 2)},
            {"target": b"t"},
            {"checksum": "e"},
            {"xattrs": {b"user.a": b"c"}},
            {"xattrs": {}},
            {"names": (b"a", b"b")},
        ],
    )
    def test_sees_each_field(self, changes: dict[str, object]) -> None:
        assert not differences(self.tree(), self.tree())
        text = differences(self.tree(), self.tree(**changes))
        assert text.startswith(f"b: {next(iter(changes))} is ")

    def test_sees_names_that_only_one_side_has(self) -> None:
        one, two = self.tree(), self.tree()
        del two[b"a"]
        assert differences(one, two) == "a: is missing"
        assert differences(two, one).startswith("a: should not be there")

    def test_known_differences_must_exist(self) -> None:
        known = [Known(b"b", "uid", "reason")]
        assert not differences(self.tree(), self.tree(uid=1), known)
        assert "no longer differs" in differences(self.tree(), self.tree(), known)

    def test_probe_and_directory_reader_agree(self) -> None:
        """The two readers have nothing in common, so they check each other."""
        features = fixture("features") / "layout"
        with work_directory() as work:
            command = ["umoci", "raw", "unpack", "--image", f"{features}:features"]
            command.append(str(work / "root"))
            subprocess.run(command, capture_output=True, check=True)
            command = [str(HERE / "probe" / "probe"), str(work / "root")]
            printed = subprocess.run(command, capture_output=True, check=True).stdout
            text = differences(read_directory(work / "root"), parse_probe(printed))
        assert not text, f"\n{text}"

    def test_paths_are_shown_readably(self) -> None:
        assert show(b"a b/\xff\n") == "a b/%FF%0A"
