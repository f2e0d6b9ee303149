"""What ``run --commit`` writes is what the container saw, entry by entry, for other tools, too."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.compare.known import FEATURES
from tests.compare.readers import mount_layout, read_mount, unpack_with_umoci
from tests.compare.records import Known, Records, differences, parse_probe
from tests.fixtures import fixture

TIMEOUT = 180
DIRECTORIES = ("new", "moved", "xattrs", "linked", "modes", "opaque", "hand", "types")
"""What the container changes, and looks at in the end; the features fixture has all but two."""

CHANGES = r"""
set -e
b=/bin/busybox
long=$($b printf 'longer than a header%.0s' 1 2 3 4 5 6 7 8)
# A directory that is new, with all that can be in one.
$b mkdir -p /new/deep/er /new/"$long"
echo text > /new/file; $b chmod 4711 /new/file; $b ln /new/file /new/deep/hard
$b ln -s /no/where /new/link; $b ln -s "$long/$long/$long" /new/long-link
$b mkfifo -m 640 /new/pipe
$b mknod /new/null c 1 3; $b mknod /new/disk b 259 70000
$b dd if=/dev/urandom "of=/new/$long/$long" bs=1000 count=123 2>/dev/null
: > /new/empty; : > "/new/a
b"; : > /new/$($b printf '\377\001')
$b chown 70000:3000000 /new/deep; $b touch -d '1960-02-03 04:05:06' /new/empty
echo twice > /new/.wh.left; echo alone > /new/deep/.wh..wh..opq
# Directories of the image: emptied and made anew, one file less, one renamed, one of which only
# the owner changed, and files with names elsewhere.
$b rm -r /opaque; $b mkdir /opaque; echo only > /opaque/this
for name in /hand/*; do $b rm -r "$name"; break; done
$b mv /replaced /moved; echo more > /moved/more; $b mkdir /replaced; echo other > /replaced/other
$b chown -R 5:6 /modes
for name in /linked/*; do echo changed >> $name; break; done
for name in /xattrs/*; do $b chmod 700 "$name"; break; done
for name in /types/*; do $b rm -rf "$name"; $b mkdir "$name"; : > "$name/now"; break; done
$b rm /new/.wh.left /new/deep/.wh..wh..opq
for directory in DIRECTORIES; do echo "@ $directory"; /probe /$directory; done
"""


KNOWN = {
    "xattrs": (Known(b"trusted", "xattrs", "only who has CAP_SYS_ADMIN sees these attributes"),),
    "linked": (
        Known(
            b"from-a-later-layer",
            "nlink",
            "overlayfs goes on to count the name that has become a file of its own",
        ),
    ),
}
KNOWN_OF_UMOCI = {
    **KNOWN,
    "xattrs": (
        *KNOWN["xattrs"],
        Known(b"empty", "xattrs", "umoci drops attributes without a value, see known.py"),
    ),
    # Of what the container has left as it was.
    "hand": tuple(
        replace(known, path=known.path.removeprefix(b"hand/"))
        for known in FEATURES
        if known.path.startswith(b"hand/")
    ),
}


def check(seen: dict[str, Records], found: Records, known: dict[str, tuple[Known, ...]]) -> None:
    """Compare what the container saw with what was found in the image."""
    divided = by_directory(found)
    for name in DIRECTORIES:
        text = differences(seen[name], divided[name], known.get(name, ()))
        assert not text, f"in {name}:\n{text}"


def by_directory(records: Records) -> dict[str, Records]:
    found: dict[str, Records] = {name: {} for name in DIRECTORIES}
    for path, record in records.items():
        top, _, rest = path.partition(b"/")
        if (name := top.decode("latin1")) in found:
            # The container looked at one directory at a time.
            inside = [other for other in record.names if other.startswith(top + b"/")]
            names = tuple(other.removeprefix(top + b"/") for other in inside)
            names = names if len(names) > 1 else ()
            found[name][rest or b"."] = replace(record, names=names)
    return found


@pytest.fixture(scope="module")
def committed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Records]]:
    """The layout, and what the container saw."""
    layout = tmp_path_factory.mktemp("commit") / "layout"
    script = CHANGES.replace("DIRECTORIES", " ".join(DIRECTORIES))
    command = [sys.executable, "-m", "browsermount", "run", "--commit", f"{layout}:mine"]
    command += [str(fixture("features") / "layout"), "/bin/busybox", "sh", "-c", script]
    done = subprocess.run(command, capture_output=True, timeout=TIMEOUT, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert done.stderr == b""
    parts = done.stdout.split(b"@ ")[1:]
    seen = {
        part.split(b"\n", 1)[0].decode(): parse_probe(part.split(b"\n", 1)[1]) for part in parts
    }
    assert tuple(seen) == DIRECTORIES
    return layout, seen


async def read(layout: Path) -> Records:
    mount = await mount_layout(layout, "mine")
    return await read_mount(mount)


def test_we_read_what_the_container_saw(
    committed: tuple[Path, dict[str, Records]],
) -> None:
    layout, seen = committed
    assert len(seen["new"]) == 15
    check(seen, asyncio.run(read(layout)), KNOWN)


def test_umoci_unpacks_what_the_container_saw(
    committed: tuple[Path, dict[str, Records]],
) -> None:
    layout, seen = committed
    check(seen, unpack_with_umoci(layout, "mine"), KNOWN_OF_UMOCI)


def test_skopeo_reads_and_copies_it(
    committed: tuple[Path, dict[str, Records]], tmp_path: Path
) -> None:
    layout, _ = committed
    source = f"oci:{layout}:mine"
    subprocess.run(["skopeo", "copy", "--quiet", source, f"dir:{tmp_path / 'copy'}"], check=True)
    shown = subprocess.run(
        ["skopeo", "inspect", "--config", source], capture_output=True, check=True
    ).stdout
    config = json.loads(shown)
    manifest = json.loads((tmp_path / "copy" / "manifest.json").read_text())
    layers = len(manifest["layers"])
    assert len(config["rootfs"]["diff_ids"]) == layers
    assert config["history"][-1]["created_by"] == "browsermount run --commit"
    assert config["created"] == config["history"][-1]["created"]
