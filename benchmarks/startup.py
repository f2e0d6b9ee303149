"""From navigation to the first prompt in Chromium, in stages.

    .venv/bin/python -m benchmarks.startup [--runs N]

Serves the built site from one origin and opens it with a fresh profile for each run, so that
nothing is cached.  Times are milliseconds since navigation; machines differ, so compare the
stages within one run.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from pathlib import Path

from tests.e2e.browser import chromium
from tests.servers import served
from tools.build_site import build

SITE = Path(__file__).resolve().parents[1] / "dist" / "site"

# Watches the page's own messages: what the workers say is when it happened.
_WATCH = """
const times = (window.benchmark = {});
const mark = (name) => { times[name] ??= performance.now(); };
const original = Object.getOwnPropertyDescriptor(Worker.prototype, "onmessage");
Object.defineProperty(Worker.prototype, "onmessage", {
  ...original,
  set(listener) {
    original.set.call(this, (event) => {
      const { type, stage, event: progress } = event.data;
      if (type === "stage" && !/loading|fetching/.test(stage)) mark(stage);
      if (type === "event" && progress.kind !== "layer") mark(`image ${progress.kind}`);
      if (type === "mounted") mark("image served");
      if (type === "output") mark("first output");
      listener.call(this, event);
    });
  },
});
"""


def measure(url: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as profile, chromium(profile) as page:
        page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _WATCH})
        page.driver.get(url)
        page.wait_text(":~#", 120)
        page.script("window.benchmark.prompt = performance.now()")
        times: dict[str, float] = page.script("return window.benchmark")
        return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    build(SITE)
    with served(SITE) as url:
        results = [measure(url) for _ in range(runs)]
    stages = {name: [result[name] for result in results] for name in results[0]}
    for name, times in sorted(stages.items(), key=lambda item: statistics.median(item[1])):
        print(f"{name:16} {statistics.median(times):7.0f}  ({min(times):.0f} to {max(times):.0f})")


if __name__ == "__main__":
    main()
