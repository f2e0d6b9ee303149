"""``browsermount run IMAGE true`` in stages, each beside the whole command.

    .venv/bin/python -m benchmarks.cli [--image IMAGE] [--runs N]

The first run of an image fills a cache of its own, the others find what they need there. Times
are milliseconds since the command's start; what the machine and the image do at the same time
overlaps. Machines differ, so compare what stands in one run's table.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from browsermount.cli.images import Opening, mounted
from browsermount.cli.machine import Machine
from browsermount.runtime.spec import ProcessOptions

ROOT = Path(__file__).resolve().parents[1]
COMMAND = (sys.executable, "-m", "browsermount", "run")

STAGES = {
    "resumed": "machine is resumed",
    "booting": "machine boots",
    "ready": "machine is ready",
    "mounted": "guest has mounted it",
    "started": "true is started",
    "exit": "true has ended",
}


def whole(image: str) -> float:
    """Return how long the command takes, in milliseconds."""
    start = time.perf_counter()
    subprocess.run([*COMMAND, image, "true"], check=True, stdin=subprocess.DEVNULL)
    return (time.perf_counter() - start) * 1000


def imports() -> float:
    """Return how long Python takes until the command's code is there."""
    start = time.perf_counter()
    code = "import browsermount.cli.run, browsermount.local, browsermount.cli.cache"
    subprocess.run([sys.executable, "-c", code], check=True)
    return (time.perf_counter() - start) * 1000


async def stages(image: str) -> dict[str, float]:
    """Return when each stage of a run was reached."""
    times: dict[str, float] = {}
    start = time.perf_counter()

    def reached(stage: str) -> None:
        times.setdefault(stage, (time.perf_counter() - start) * 1000)

    async def follow(machine: Machine) -> None:
        async for message in machine.messages():
            reached(STAGES.get(message.get("stage", message["type"]), "other"))

    machine = await Machine.create()
    reached("node is started")
    following = asyncio.create_task(follow(machine))
    options = ProcessOptions(args=("true",), terminal=False)
    async with mounted(image, Opening(quiet=True), options=options) as mount:
        reached("image is mounted")
        await machine.start(mount, takes_input=False, size=None)
        await following
        await machine.close()
        reached("all is closed")
    return times


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--image", default=str(ROOT / "web" / "images" / "default"))
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as cache:
        os.environ["BROWSERMOUNT_CACHE"] = cache
        whole(options.image)  # a snapshot may have to be made
        for name, count in (("first run of the image", 1), ("with a cache", options.runs)):
            if count == 1:
                subprocess.run([*COMMAND[:-1], "cache", "prune"], check=True, capture_output=True)
            rows = [asyncio.run(stages(options.image)) for _ in range(count)]
            print(name)
            for stage in rows[0]:
                print_row(stage, [row[stage] for row in rows])
        print("the command")
        print_row("python and imports", [imports() for _ in range(options.runs)])
        print_row("the whole", [whole(options.image) for _ in range(options.runs)])


def print_row(name: str, times: list[float]) -> None:
    """Print the median of some times and how far they are apart."""
    print(f"  {name:24} {statistics.median(times):7.0f}  ({min(times):.0f} to {max(times):.0f})")


if __name__ == "__main__":
    main()
