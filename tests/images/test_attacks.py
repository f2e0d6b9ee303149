"""Images made by somebody who means harm: refused, or harmless in the guest."""

from __future__ import annotations

import asyncio
import json

import pytest

from browsermount.errors import InvalidLayer
from browsermount.layers.entry import FileType
from browsermount.mount import Mount
from browsermount.ninep import wire
from tests.compare.readers import mount_layout, read_mount
from tests.compare.records import Records
from tests.core.client import Client
from tests.fixtures import fixture
from tests.fixtures.layout import REF_NAME

# What is in each tree, the root aside. None: refused as an invalid layer.
OUTCOMES: dict[str, set[bytes] | None] = {
    "path-up": {b"escaped-1", b"escaped-2", b"escaped-3", b"escaped-4"},
    "symlink-then-file": {
        b"out",
        b"etc",
        b"etc/passwd",
        b"up",
        b"escaped",
        b"chain-1",
        b"chain-2",
        b"chained",
    },
    "symlink-then-file-in-the-next-layer": {b"out", b"etc", b"etc/passwd"},
    "symlink-loop-in-a-path": None,
    "hard-link-outside": None,
    "hard-link-absolute": None,
    "hard-link-absent": None,
    "hard-link-to-itself": None,
    "hard-link-to-directory": None,
    "hard-link-through-symlink": None,
    "hard-link-to-symlink-then-file": {b"out", b"link"},
    "whiteout-of-dot": None,
    "whiteout-of-dot-dot": None,
    "whiteout-of-nothing": None,
    "whiteout-of-a-whiteout": {b"d", b"d/file"},
    "whiteout-through-symlink": {b"etc", b"out"},
    "whiteout-as-a-directory": set(),
    "opaque-root": {b"new"},
    "aufs-names": set(),
    "overlay-xattrs": {b"etc", b"d", b"whiteout"},
    "root-replaced": None,
    "root-is-a-symlink": None,
    "name-too-long": None,
    "path-too-long": None,
    "path-very-deep": {b"d/" * depth + b"d" for depth in range(2000)} | {b"d/" * 2000 + b"file"},
    "target-too-long": None,
    "target-empty": {b"link"},
    "xattr-name-empty": {b"f"},
    "xattr-name-too-long": {b"f"},
    "xattr-value-too-long": {b"f"},
    "setuid-devices": {b"mem", b"disk"},
    "device-number-huge": None,
    "device-number-negative": None,
    "size-negative": None,
    "size-huge": None,
    "size-past-the-end": None,
    "size-not-a-number": None,
    "owner-negative": None,
    "owner-too-large": None,
    "time-negative-huge": {b"file"},
    "time-huge": {b"file"},
    "type-unknown": None,
    "checksum-wrong": None,
    "pax-size-negative": None,
    "pax-length-zero": None,
    "pax-length-huge": None,
    "pax-no-newline": None,
    "pax-no-equals": None,
    "pax-path-with-nul": None,
    "pax-path-empty": {b"file"},
    "pax-mtime-nan": None,
    "pax-mtime-huge": None,
    "pax-without-a-file": set(),
    "pax-xattr-name-with-nul": None,
    "pax-64-MiB": None,
    "long-name-1-GiB": None,
    "sparse-out-of-order": None,
    "sparse-map-endless": None,
    "sparse-huge-hole": {b"file"},
    "empty": set(),
    "one-byte": None,
    "half-a-header": None,
    "gzip-header-with-endless-name": None,
    "gzip-reserved-flags": None,
    "gzip-garbage-after": None,
    "gzip-10000-members": {b"file"},
    "gzip-bomb-256-MiB": {b"zeros"},
    "zstd-huge-window": None,
}
HUGE = {"sparse-huge-hole"}


def mount_attack(name: str) -> Mount:
    # The image has a Cmd, so nothing but its layers can be at fault.
    return asyncio.run(mount_layout(fixture("attacks") / "layout", name))


def test_every_attack_is_expected() -> None:
    index = json.loads((fixture("attacks") / "layout" / "index.json").read_bytes())
    assert {item["annotations"][REF_NAME] for item in index["manifests"]} == OUTCOMES.keys()


@pytest.mark.parametrize("name", [name for name, tree in OUTCOMES.items() if tree is None])
def test_refused(name: str) -> None:
    with pytest.raises(InvalidLayer) as raised:
        mount_attack(name)
    assert len(raised.value.message) < 500


@pytest.mark.parametrize("name", [name for name, tree in OUTCOMES.items() if tree is not None])
def test_harmless(name: str) -> None:
    mounted = mount_attack(name)
    paths = {path[1:] for path, _ in mounted.rootfs.walk()} - {b""}
    assert paths == OUTCOMES[name]
    for path in paths:
        for part in path.split(b"/"):
            assert part not in (b"", b".", b"..")
            assert len(part) <= 255
            assert b"\0" not in part
    if name not in HUGE:
        tree = asyncio.run(read_mount(mounted))
        assert serve(mounted) == shape(tree)


def shape(tree: Records) -> dict[bytes, tuple[str, int, bytes]]:
    kinds = {"f": "REGULAR", "d": "DIRECTORY", "l": "SYMLINK", "c": "CHARACTER", "b": "BLOCK"}
    return {
        path: (kinds[record.type], record.size if record.type in "fl" else 0, record.target)
        for path, record in tree.items()
    }


def serve(mounted: Mount) -> dict[bytes, tuple[str, int, bytes]]:
    """Ask a 9P server for all that it tells of the tree; it must not say EIO anywhere."""
    client = Client(mounted.rootfs)
    found: dict[bytes, tuple[str, int, bytes]] = {}
    pending: list[tuple[bytes, int]] = [(b".", 0)]
    last = 1000
    while pending:
        path, fid = pending.pop()
        attributes = client.ask(wire.Tgetattr(fid, 0x7FF), wire.Rgetattr)
        kind = FileType(attributes.mode & 0o170000)
        target = b""
        if kind is FileType.SYMLINK:
            target = client.ask(wire.Treadlink(fid), wire.Rreadlink).target
        for name in [b"", *_xattr_names(client, fid)]:
            client.ask(wire.Txattrwalk(fid, 999, name), wire.Rxattrwalk)
            client.ask(wire.Tclunk(999), wire.Rclunk)
        size = attributes.size if kind in (FileType.REGULAR, FileType.SYMLINK) else 0
        found[path] = kind.name, size, target
        if kind is FileType.DIRECTORY:
            last += 1
            client.ask(wire.Twalk(fid, last, ()), wire.Rwalk)
            client.ask(wire.Tlopen(last, 0), wire.Rlopen)
            opened, offset = last, 0
            while data := client.ask(wire.Treaddir(opened, offset, 8192), wire.Rreaddir).data:
                for entry in wire.decode_entries(data):
                    offset = entry.offset
                    if entry.name not in (b".", b".."):
                        last += 1
                        client.ask(wire.Twalk(fid, last, (entry.name,)), wire.Rwalk)
                        below = entry.name if path == b"." else path + b"/" + entry.name
                        pending.append((below, last))
    return found


def _xattr_names(client: Client, fid: int) -> list[bytes]:
    size = client.ask(wire.Txattrwalk(fid, 998, b""), wire.Rxattrwalk).size
    data = client.ask(wire.Tread(998, 0, size), wire.Rread).data
    client.ask(wire.Tclunk(998), wire.Rclunk)
    assert len(data) == size
    return data.split(b"\0")[:-1]


def test_reading_in_a_huge_hole() -> None:
    client = Client(mount_attack("sparse-huge-hole").rootfs)
    fid = client.open(b"file")
    size = client.ask(wire.Tgetattr(fid, 0x7FF), wire.Rgetattr).size
    assert size == 4_611_686_018_427_387_000
    assert client.ask(wire.Tread(fid, size - 5, 100), wire.Rread).data == bytes(5)
    assert client.ask(wire.Tread(fid, 2**64 - 1, 100), wire.Rread).data == b""


def test_times_beyond_reach_are_clamped() -> None:
    for name, seconds in (("time-huge", 2**63 - 1), ("time-negative-huge", 2**63)):
        client = Client(mount_attack(name).rootfs)
        attributes = client.ask(wire.Tgetattr(client.walk(b"file"), 0x7FF), wire.Rgetattr)
        assert attributes.mtime_sec == seconds
