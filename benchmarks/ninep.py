"""Reading through 9P in the guest: our server beside v86's own file system.

    .venv/bin/python -m benchmarks.ninep [--runs N]

Measures, each time in a fresh machine, `find` over 5,000 files whose sizes it has to ask for, and
`cat` of a file of 64 MiB; in Chromium (the server in Pyodide) and in Node (the server in CPython,
at a Unix socket). Milliseconds on the guest's clock; compare what stands in one table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import statistics
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.compare.guest import RUNNER
from tests.fixtures.layout import Layout, gzip_layer, member, read_layers, tar_of

from benchmarks.machines import HERE, SITE, Machines, machines
from browsermount.fetch.native import HttpxFetcher
from browsermount.mount import Mount, mount
from browsermount.sockets import serve

FILES = 5000
BIG = 64 << 20
_FIND = "find"
_CAT = "cat"

_SCRIPT = f"""
now() {{ echo "${{EPOCHREALTIME/./}}"; }}
measure() {{
  local name=$1 start end; shift; start=$(now); "$@" > /dev/null; end=$(now)
  echo "RESULT $name $((end - start))"
}}
measure {_FIND} find /data/many -size +3
measure {_CAT} cat /data/big
"""

Measured = dict[str, float]


def write_layout(path: Path) -> Path:
    """Write an image: the default one with the files to be read and the script that reads."""
    numbers = random.Random(0)
    members = [member("data", type=b"5"), member("data/many", type=b"5")]
    for directory in range(50):
        members.append(member(f"data/many/{directory}", type=b"5"))
        for file in range(FILES // 50):
            members.append(member(f"data/many/{directory}/{file}", numbers.randbytes(1000)))
    members.append(member("data/big", numbers.randbytes(BIG)))
    layout = Layout(path)
    layers = [*read_layers(SITE / "images" / "default"), gzip_layer(tar_of(members))]
    config = {"Cmd": ["/bin/bash", "-c", _SCRIPT], "Env": ["PATH=/bin:/usr/bin"]}
    layout.finish([layout.image(layers, config=config)])
    return path


def results(output: str) -> Measured:
    """Find the times, in milliseconds, in what the script printed."""
    found = re.findall(r"RESULT (\w+) (\d+)", output)
    if {name for name, _ in found} != {_FIND, _CAT}:
        raise SystemExit(f"the script did not come to its end:\n{output}")
    return {name: int(microseconds) / 1000 for name, microseconds in found}


def in_node(both: Machines) -> Measured:
    """Read through the server in CPython, with the machine in Node."""

    async def run() -> bytes:
        async with HttpxFetcher() as fetcher:
            mounted = await mount(both.image, fetcher=fetcher)
        with tempfile.TemporaryDirectory() as work:
            return await _serve_and_run(mounted, Path(work) / "9p", both.snapshot)

    return results(asyncio.run(run()).decode())


async def _serve_and_run(mounted: Mount, path: Path, snapshot: Path) -> bytes:
    server = await asyncio.start_unix_server(
        lambda reader, writer: serve(mounted.session(), reader, writer), path
    )
    async with server:
        command = ["node", RUNNER, "--p9", f"unix:{path}", "--snapshot", snapshot]
        process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE
        )
        output, _ = await process.communicate()
        return output


def bare_in_node(both: Machines) -> Measured:
    """Read through v86's own file system, with the machine in Node."""
    command = ["node", HERE / "bare.mjs", both.bare_folder]
    return results(subprocess.run(command, check=True, capture_output=True).stdout.decode())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print all numbers")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work, machines(write_layout, Path(work)) as both:
        ways: dict[str, tuple[Callable[[], Measured], Callable[[], Measured]]] = {
            "Chromium": (
                lambda: results(both.ours().text),
                lambda: results(both.bare().text),
            ),
            "Node": (lambda: in_node(both), lambda: bare_in_node(both)),
        }
        runs = {
            where: [(ours(), bare()) for _ in range(options.runs)]
            for where, (ours, bare) in ways.items()
        }
    if options.json:
        print(json.dumps(runs))
    for where, pairs in runs.items():
        for name in (_FIND, _CAT):
            ours, bare = (statistics.median(pair[side][name] for pair in pairs) for side in (0, 1))
            print(
                f"{where:9} {name:5} browsermount {ours:7.0f} ms   v86's own {bare:7.0f} ms   "
                f"ratio {ours / bare:.2f}"
            )


if __name__ == "__main__":
    main()
