"""From navigation to the first prompt in Chromium, in stages, beside the bare machine.

    .venv/bin/python -m benchmarks.startup [--runs N]

Serves the built site and opens it with a fresh profile for each run, so that nothing is cached;
in turns with the bare machine (see machines.py), which starts the same image. Times are
milliseconds since navigation; machines differ, so compare what stands in one run's table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machines import SITE, Seen, machines

PROMPT = ":~#"


def print_stages(name: str, runs: Sequence[Seen]) -> float:
    """Print a table and return the median time to the prompt."""
    stages = {stage: [run.times[stage] for run in runs] for stage in runs[0].times}
    print(name)
    for stage, times in sorted(stages.items(), key=lambda item: statistics.median(item[1])):
        median = statistics.median(times)
        print(f"  {stage:16} {median:7.0f}  ({min(times):.0f} to {max(times):.0f})")
    return statistics.median(stages["prompt"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    ours, bare = [], []
    with (
        tempfile.TemporaryDirectory() as work,
        machines(lambda _: SITE / "images" / "default", Path(work)) as both,
    ):
        for _ in range(runs):
            ours.append(both.ours(prompt=PROMPT))
            bare.append(both.bare(prompt=PROMPT))
    ratio = print_stages("browsermount", ours) / print_stages("bare machine", bare)
    print(f"ratio of the medians to the prompt: {ratio:.2f}")


if __name__ == "__main__":
    main()
