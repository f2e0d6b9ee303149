"""Layouts for several platforms, of several images, of other media types, and broken ones."""

from __future__ import annotations

import asyncio

import pytest

from browsermount.errors import (
    BrowsermountError,
    DigestMismatch,
    ImageNotFound,
    InvalidImage,
    InvalidLayer,
    NoMatchingPlatform,
    SizeMismatch,
)
from browsermount.mount import read_file
from tests.compare.readers import mount_layout
from tests.fixtures import fixture


def which(fixture_name: str, layout: str, tag: str | None = None) -> str:
    """Mount an image and say what is in its /which."""

    async def read() -> bytes | None:
        mounted = await mount_layout(fixture(fixture_name) / layout, tag)
        return await read_file(mounted.rootfs, b"which")

    content = asyncio.run(read())
    assert content is not None
    return content.decode().strip()


@pytest.mark.parametrize(
    ("layout", "tag", "image"),
    [
        ("two-platforms", None, "amd64"),
        ("nested", None, "386"),
        ("no-platform", None, "386"),
        ("several-refs", "v1", "v1"),
        ("several-refs", "1.0-rc.1", "1.0-rc.1"),
        ("several-refs", "example.org/library/name:tag", "example.org/library/name:tag"),
        ("several-refs", "latest", "latest"),
        ("docker", None, "docker"),
        ("docker-list", None, "amd64"),
    ],
)
def test_the_right_image_is_found(layout: str, tag: str | None, image: str) -> None:
    assert which("platforms", layout, tag) == image


@pytest.mark.parametrize("layout", ["not-for-us", "no-platform-not-for-us"])
def test_no_platform_that_runs(layout: str) -> None:
    with pytest.raises(NoMatchingPlatform) as raised:
        which("platforms", layout)
    assert "linux/s390x" in raised.value.message
    assert "linux/386" in raised.value.message


def test_unknown_name() -> None:
    with pytest.raises(ImageNotFound) as raised:
        which("platforms", "several-refs", "nope")
    assert "latest" in (raised.value.hint or "")


BROKEN: dict[str, type[BrowsermountError]] = {
    **{
        f"{part}-{damage}": error
        for part in ("manifest", "config", "layer")
        for damage, error in (
            ("changed", DigestMismatch),
            ("truncated", SizeMismatch),
            ("longer", SizeMismatch),
            ("html", SizeMismatch),
            ("missing", ImageNotFound),
        )
    },
    "index-not-json": InvalidImage,
    "index-html": InvalidImage,
    "index-empty-file": InvalidImage,
    "index-not-an-object": InvalidImage,
    "index-without-manifests": InvalidImage,
    "index-empty": ImageNotFound,
    "index-manifests-not-a-list": InvalidImage,
    "index-descriptor-not-an-object": InvalidImage,
    "index-not-utf-8": InvalidImage,
    "index-deeply-nested": InvalidImage,
    "index-missing": ImageNotFound,
    "digest-not-hex": InvalidImage,
    "digest-short": InvalidImage,
    "digest-path": InvalidImage,
    "digest-unknown-algorithm": InvalidImage,
    "size-negative": InvalidImage,
    "size-text": InvalidImage,
    "size-huge": InvalidImage,
    "media-type-unknown": ImageNotFound,
    "schema-1": ImageNotFound,
    "layer-not-tar": InvalidLayer,
    "layer-gzip-cut": InvalidLayer,
    "layer-gzip-checksum": InvalidLayer,
}


# Verified bytes that make a tree: what a layer is called and what the config counts is let pass.
TOLERATED = ("layer-media-type-unknown", "layers-fewer-than-diff-ids")


def test_every_broken_layout_is_expected() -> None:
    names = {path.name for path in fixture("broken").iterdir()}
    assert names == BROKEN.keys() | set(TOLERATED)


@pytest.mark.parametrize("layout", TOLERATED)
def test_harmless_faults_are_tolerated(layout: str) -> None:
    assert which("broken", layout) == "upper"


@pytest.mark.parametrize("layout", BROKEN)
def test_broken_layouts_are_refused(layout: str) -> None:
    with pytest.raises(BROKEN[layout]) as raised:
        which("broken", layout)
    assert type(raised.value) is BROKEN[layout]
    assert raised.value.message
