"""Reads a tree inside the guest, through its kernel's 9P client."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from browsermount.mount import Mount
from browsermount.ninep.server import Server
from browsermount.sockets import serve
from tests.compare.readers import work_directory
from tests.compare.records import Records, parse_probe
from tests.fixtures.tools import HERE

RUNNER = Path(__file__).with_name("guest.mjs")
# Where the guest's init has the 9P tree; see tools/vm/init/storage.c.
GUEST_TREE = "/run/tree"
INSIDE = "/.9p"
OVERLAY = "/.overlay"
"""The container's root file system without what is mounted on it."""

CAPABILITIES = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_SYS_ADMIN",
]


async def read_in_guest(mounted: Mount, *, overlay: bool = False) -> Records:
    """Run the probe in the guest.

    Args:
        mounted: What the guest is served. Beside the image, the guest gets the probe and a
            config.json that shows the whole 9P tree to it; the rootfs is left as it is.
        overlay: Read the container's root file system, which is an overlay on the 9P tree,
            instead of the tree itself.
    """
    _add_probe(mounted, OVERLAY if overlay else f"{INSIDE}/rootfs")
    output, errors, code = await run_in_guest(mounted)
    assert code == 0, f"exit code {code}: {errors.decode(errors='replace')[-2000:]}"
    return parse_probe(output)


def change_spec(mounted: Mount, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the config.json that the guest is going to be given."""
    config = mounted.tree.root.children[b"config"]
    content = config.children[b"config.json"].content
    spec = json.loads(content.read_now(0, content.size) or b"")
    change(spec)
    config.unlink(b"config.json")
    config.link(b"config.json", mounted.tree.new_file(json.dumps(spec).encode()))


def _add_probe(mounted: Mount, directory: str) -> None:
    probe = (HERE / "probe" / "probe").read_bytes()
    mounted.tree.root.link(b"probe", mounted.tree.new_file(probe, mode=0o755))
    change_spec(mounted, partial(_run_probe, directory))


def _run_probe(directory: str, spec: dict[str, Any]) -> None:
    process = spec["process"]
    process["args"] = [f"{INSIDE}/probe", directory]
    process["terminal"] = False
    process["cwd"] = "/"
    process["user"] = {"uid": 0, "gid": 0}
    process["capabilities"] = dict.fromkeys(
        ("bounding", "effective", "inheritable", "permitted"), CAPABILITIES
    )
    spec["mounts"] = [
        {"destination": INSIDE, "type": "bind", "source": GUEST_TREE, "options": ["bind", "ro"]},
        {"destination": OVERLAY, "type": "bind", "source": "rootfs", "options": ["bind", "ro"]},
    ]
    for part in ("maskedPaths", "readonlyPaths"):
        spec["linux"].pop(part, None)


async def run_in_guest(mounted: Mount) -> tuple[bytes, bytes, int]:
    """Run the container without a terminal; return its output, errors and exit code."""
    node = shutil.which("node")
    assert node, "node is missing: apt-get install nodejs"
    with work_directory() as work:
        path = work / "9p"
        server = await asyncio.start_unix_server(
            lambda reader, writer: serve(Server(mounted.tree.root), reader, writer), path
        )
        async with server:
            process = await asyncio.create_subprocess_exec(
                node,
                RUNNER,
                path,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                output, errors = await asyncio.wait_for(process.communicate(), 600)
            finally:
                if process.returncode is None:
                    process.kill()
        assert process.returncode is not None
        return output, errors, process.returncode
