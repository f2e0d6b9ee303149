"""From navigation to the first prompt in Chromium, in stages, beside the bare machine.

    .venv/bin/python -m benchmarks.startup [--runs N]

Serves the built site and opens it with a fresh profile for each run, so that nothing is cached;
in turns with the bare machine (see machines.py), which starts the same image. Beside the start
there are those from a state at the prompt: the site's, and what the browser has kept after a first
visit. Something is typed at each prompt. Times are milliseconds since navigation; machines differ,
so compare what stands in one run's table.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.machines import SITE, Seen, machines

PROMPT = ":~#"
HOW: dict[str, dict[str, bool | int]] = {
    "started": {},
    "warm from the site": {"own": True},
    "warm from storage": {"visits": 2},
}
STAGES = ("prompt", "echo answered", "ls answered")


def print_stages(name: str, runs: Sequence[Seen]) -> dict[str, float]:
    """Print a table and return the median times."""
    stages = {stage: [run.times[stage] for run in runs] for stage in runs[0].times}
    print(name)
    for stage, times in sorted(stages.items(), key=lambda item: statistics.median(item[1])):
        median = statistics.median(times)
        print(f"  {stage:16} {median:7.0f}  ({min(times):.0f} to {max(times):.0f})")
    return {stage: statistics.median(times) for stage, times in stages.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    ours: dict[str, list[Seen]] = {name: [] for name in HOW}
    bare = []
    with (
        tempfile.TemporaryDirectory() as work,
        machines(lambda _: SITE / "images" / "default", Path(work)) as both,
    ):
        for _ in range(runs):
            for name, how in HOW.items():
                ours[name].append(both.ours(prompt=PROMPT, types=True, **how))  # type: ignore[arg-type]
            bare.append(both.bare(prompt=PROMPT))
    medians = {name: print_stages(f"browsermount, {name}", seen) for name, seen in ours.items()}
    reference = print_stages("bare machine", bare)["prompt"]
    print("in the time that the bare machine takes to its prompt:")
    for name, median in medians.items():
        ratios = ", ".join(f"{stage} {median[stage] / reference:.2f}" for stage in STAGES)
        print(f"  {name}: {ratios}")


if __name__ == "__main__":
    main()
