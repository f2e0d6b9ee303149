"""The first visit of images for both machines in Chromium: when the prompt shows, and memory.

    .venv/bin/python -m benchmarks.first_visit [--runs N]

Each visit is one with a fresh profile, and starts the image (``?warm=no``).  In turns: the default
image, which runs on v86; a small Debian for 386, on v86 too; the same for amd64, on the 64-bit
machine.  Both are packed as the default image is, with what a shell needs first in front, so that
the difference is the machine's.  And the latter as an ordinary image, of which all is fetched and
unpacked before anything of it can be read.

The table has medians: milliseconds since navigation, and megabytes of the tab when the prompt
shows.  Machines differ, so compare what stands in one table.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlencode

from tests.fixtures import fixture
from tests.servers import served
from tools.build_site import build

from benchmarks.machines import SITE, Seen, visit

DEFAULT = "default"
GZIP = "amd64, gzip"
LIBRARIES = {
    "386": "i386-linux-gnu/ld-linux.so.2",
    "amd64": "x86_64-linux-gnu/ld-linux-x86-64.so.2",
}
STAGES = ("ready", "image served", "started", "prompt")
LIMIT_MS = 300
"""How much later than the default image's prompt that of an amd64 image may show."""


def pack(architecture: str, out: Path) -> Path:
    """Write the small Debian of a platform as eStargz, with what its shell needs first in front."""
    loader = Path("lib") / LIBRARIES[architecture]
    first = ["bin/bash", str(loader), "etc/bash.bashrc"]
    first += [str(loader.parent / name) for name in ("libtinfo.so.6.4", "libc.so.6")]
    command = [sys.executable, "-m", "browsermount", "convert", "--quiet", "--no-cache"]
    command += ["--compression=estargz", "--level=9", "--name=latest"]
    command += [f"--prefetch={path}" for path in first]
    source = fixture("foreign") / architecture
    subprocess.run([*command, source, out], check=True, stdout=subprocess.DEVNULL)
    return out


def print_table(seen: dict[str, list[Seen]]) -> None:
    """Print the medians of all stages, with what they lie between for the last one."""

    def row(name: str, values: Sequence[Sequence[float]]) -> None:
        print(f"{name:<22}" + "".join(f"{statistics.median(each):>14.0f}" for each in values))

    print(f"{'':22}" + "".join(f"{name:>14}" for name in seen))
    for stage in STAGES:
        row(stage, [[run.times[stage] for run in runs] for runs in seen.values()])
    row("  fastest", [[min(run.times["prompt"] for run in runs)] for runs in seen.values()])
    after = [[run.times["prompt"] - run.times["started"] for run in runs] for runs in seen.values()]
    row("prompt after started", after)
    tabs = [[run.tab for run in runs if run.tab] for runs in seen.values()]
    row("memory of the tab", [[tab.whole / 1e6 for tab in each] for each in tabs])
    row("  the machine's", [[tab.machine / 1e6 for tab in each] for each in tabs])
    row("  beside it", [[tab.rest / 1e6 for tab in each] for each in tabs])
    # What was measured just before and after each other has had the same load beside it.
    for column in ("amd64", GZIP):
        differences = [
            ours.times["prompt"] - default.times["prompt"]
            for ours, default in zip(seen[column], seen[DEFAULT], strict=True)
        ]
        later = statistics.median(differences)
        missed = "" if later <= LIMIT_MS else "   missed"
        print(f"{column}: {later:.0f} ms after the default image (<= {LIMIT_MS}){missed}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    runs = parser.parse_args().runs
    build(SITE)
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        images = {
            architecture: pack(architecture, work / architecture) for architecture in LIBRARIES
        }
        images["gzip"] = fixture("foreign") / "amd64"
        with served(SITE, **images) as site:
            addresses = {DEFAULT: (f"{site}?warm=no", ":~#")}
            for layout, column in (("386", "386"), ("amd64", "amd64"), ("gzip", GZIP)):
                platform = "linux/386" if layout == "386" else "linux/amd64"
                image = f"{site}images/{layout}/"
                query = urlencode({"warm": "no", "platform": platform, "image": image})
                addresses[column] = (f"{site}?{query}", ":/#")
            seen: dict[str, list[Seen]] = {column: [] for column in addresses}
            for _ in range(runs):
                for column, (address, prompt) in addresses.items():
                    seen[column].append(visit(address, prompt))
    print_table(seen)


if __name__ == "__main__":
    main()
