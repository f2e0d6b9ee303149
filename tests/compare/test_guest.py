"""The guest's kernel shows what our Python API shows, entry by entry.

The tree that is compared is the 9P mount itself. What the container sees is an
overlay on it, which is compared too, except for what the starter puts there.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compare.guest import INSIDE, OVERLAY, read_in_guest
from tests.compare.readers import mount_layout, read_mount
from tests.compare.records import ROOT, Records, differences
from tests.fixtures import fixture
from tests.fixtures.tools import HERE

DEFAULT_IMAGE = Path(__file__).resolve().parents[2] / "web" / "images" / "default"


async def read_both(layout: Path, *, overlay: bool = False) -> tuple[Records, Records]:
    mounted = await mount_layout(layout)
    return await read_mount(mounted), await read_in_guest(mounted, overlay=overlay)


@pytest.mark.parametrize("name", ["features", "debian", "buildah", "default"])
def test_guest_sees_the_same_tree(name: str) -> None:
    layout = DEFAULT_IMAGE if name == "default" else fixture(name) / "layout"
    api, guest = asyncio.run(read_both(layout))
    assert len(guest) > (50 if name == "buildah" else 1000)
    assert not (text := differences(api, guest)), f"\n{text}"


def test_guest_sees_the_same_tree_through_the_overlay() -> None:
    api, guest = asyncio.run(read_both(fixture("features") / "layout", overlay=True))
    # The starter makes the places of the mounts that the test asks for, and fills /dev.
    for added in (INSIDE, OVERLAY):
        assert guest.pop(added[1:].encode()).type == "d"
    assert {b"dev/null", b"dev/tty"} <= guest.keys()
    guest = {path: record for path, record in guest.items() if not path.startswith(b"dev/")}
    for path in (ROOT, b"dev"):
        guest[path] = replace(guest[path], mtime_ns=api[path].mtime_ns)
    assert not (text := differences(api, guest)), f"\n{text}"


def test_comparison_sees_what_the_guest_sees() -> None:
    """A tree that is changed after it was read is found to be different in the guest."""

    async def read() -> tuple[Records, Records]:
        mounted = await mount_layout(fixture("configs") / "layout", "cmd-exec")
        api = await read_mount(mounted)
        etc = mounted.rootfs.children[b"etc"]
        etc.children[b"passwd"].mode = 0o4600
        etc.children[b"group"].mtime_ns += 1
        etc.children[b"group"].xattrs = {b"user.new": b"\0"}
        mounted.rootfs.children[b"home"].unlink(b"link")
        return api, await read_in_guest(mounted)

    api, guest = asyncio.run(read())
    assert differences(api, guest).splitlines() == [
        "etc/group: mtime_ns is 1700000000000000001, not 1700000000000000000",
        "etc/group: xattrs is {b'user.new': b'\\x00'}, not {}",
        "etc/passwd: mode is 0o4600, not 0o644",
        "home/link: is missing",
    ]


def test_probe_was_built_from_its_source() -> None:
    directory = HERE / "probe"
    sums = dict(line.split()[::-1] for line in (directory / "SHA256SUMS").read_text().splitlines())
    assert sums.keys() == {"probe", "probe.c", "Makefile"}
    for name, digest in sums.items():
        found = hashlib.sha256((directory / name).read_bytes()).hexdigest()
        assert found == digest, f"{name} has changed: run make in {directory}"
