"""Attacks by a directory that somebody else has prepared for a pull."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from browsermount.cli.layouts import LayoutWriter, open_new
from browsermount.errors import InvalidImage


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    path = tmp_path / "precious"
    path.write_bytes(b"mine")
    return path


@pytest.mark.parametrize("link", [os.symlink, os.link])
def test_a_link_in_place_of_a_partial_blob(tmp_path: Path, precious: Path, link: object) -> None:
    layout = tmp_path / "layout"
    (layout / ".partial").mkdir(parents=True)
    (layout / "blobs").mkdir()
    assert callable(link)
    link(precious, layout / ".partial" / "abc")
    path = LayoutWriter(layout).temporary("abc")
    with open_new(path) as file:
        file.write(b"theirs")
    assert precious.read_bytes() == b"mine"
    assert path.read_bytes() == b"theirs"


@pytest.mark.parametrize("name", ["blobs", "blobs/sha256", ".partial"])
def test_a_link_in_place_of_a_directory(tmp_path: Path, name: str) -> None:
    layout, outside = tmp_path / "layout", tmp_path / "outside"
    outside.mkdir()
    (layout / name).parent.mkdir(parents=True, exist_ok=True)
    (layout / "blobs").mkdir() if name == ".partial" else None
    (layout / name).symlink_to(outside)
    with pytest.raises(InvalidImage, match="symbolic link"):
        LayoutWriter(layout).temporary("abc")
    assert not list(outside.iterdir())


def test_links_in_place_of_blobs_and_documents(tmp_path: Path, precious: Path) -> None:
    layout = tmp_path / "layout"
    writer = LayoutWriter(layout)
    digest = writer.add(b"{}")
    for path in (writer.path(digest), layout / "oci-layout"):
        path.unlink(missing_ok=True)
        path.symlink_to(precious)
    writer.add(b"{}")
    writer.finish([{"digest": str(digest), "size": 2}], "latest")
    assert precious.read_bytes() == b"mine"
    assert not writer.path(digest).is_symlink()
    assert not (layout / "oci-layout").is_symlink()


def test_nothing_is_appended_through_a_link(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "link").symlink_to(precious)
    with pytest.raises(OSError, match="symbolic links"):
        open_new(tmp_path / "link", append=True)
    assert precious.read_bytes() == b"mine"
