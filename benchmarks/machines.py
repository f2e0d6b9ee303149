"""The two machines that are compared, each in a fresh Chromium.

Ours is the page as it is. The bare one resumes the same kernel and init from a snapshot of its
own, and has the same tree in v86's in-memory file system: see bare/.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

import zstandard
from tests.e2e.browser import Page, chromium
from tests.servers import served
from tools.build_site import WEB, build

from benchmarks.memory import Tab, largest_tab
from benchmarks.packed import pack
from browsermount.fetch.native import HttpxFetcher
from browsermount.mount import mount

HERE = Path(__file__).resolve().parent
SITE = HERE.parent / "dist" / "site"

# Watches the page's own messages: what the workers say is when it happened.
_WATCH = """
const times = {};
window.benchmark = { times, text: "", ended: false };
const mark = (name) => { times[name] ??= performance.now(); };
const original = Object.getOwnPropertyDescriptor(Worker.prototype, "onmessage");
const decoder = new TextDecoder();
// What is looked for on the terminal, and typed when it is there: echo's argument is not its echo.
const steps = [
  ["prompt", PROMPT, "echo echo-$((6 * 7))\\r"],
  ["echo answered", "echo-42", "ls / && echo ls-$((6 * 7))\\r"],
  ["ls answered", "ls-42", ""],
];
const look = () => {
  const element = document.querySelector("container-terminal");
  const [name, text, typed] = steps[0];
  if ((element?.text ?? "").includes(text)) {
    mark(name);
    steps.shift();
    if (TYPES && typed) element.terminal.input(typed);
  }
  if (steps.length > 0 && (TYPES || !times.prompt)) requestAnimationFrame(look);
};
Object.defineProperty(Worker.prototype, "onmessage", {
  ...original,
  set(listener) {
    original.set.call(this, (event) => {
      const { type, stage, data, event: progress, start } = event.data;
      if (type === "stage" && !/loading|fetching/.test(stage))
        mark(start ? `runtime (${start})` : stage);
      if (type === "event" && progress.kind !== "layer") mark(`image ${progress.kind}`);
      if (type === "mounted") mark("image served");
      if (type === "output" || type === "warm") {
        window.benchmark.text += decoder.decode(data ?? event.data.shown, { stream: true });
        if (!times["first output"]) look();
        mark("first output");
      }
      if (type === "exit" || type === "error") window.benchmark.ended = true;
      listener.call(this, event);
    });
  },
});
"""


@dataclass(frozen=True)
class Seen:
    """What was seen of one run.

    Attributes:
        times: Milliseconds since navigation, by stage.
        text: What the container has printed.
        tab: The memory of the page then, where it was wanted.
    """

    times: dict[str, float]
    text: str
    tab: Tab | None = None


class Machines:
    """Opens the machines on one image.

    Attributes:
        image: The address of the image.
        bare_folder: What the bare machine is made of, with its snapshot and the packed tree.
        snapshot: The folder of our machine's snapshot.
    """

    def __init__(self, url: str, image: str, bare_folder: Path) -> None:
        self._url = url
        self.image = image
        self.bare_folder = bare_folder
        self.snapshot = SITE / "vm"

    def ours(
        self,
        *,
        prompt: str | None = None,
        seconds: float = 120,
        types: bool = False,
        own: bool = False,
        visits: int = 1,
    ) -> Seen:
        """Run the page, until the prompt shows, or without one to the container's end.

        Args:
            prompt: What the prompt has in it.
            seconds: How long that may take.
            types: Whether something is typed then, and its answers are waited for.
            own: Whether it is the image that the page runs where its address names none.
            visits: How often the page is visited; the last time is what is seen, and what can be
                kept of the container is kept before.
        """
        watch = _watch(prompt, types)
        image = "" if own else f"?image={quote(self.image, safe='')}"
        until = "benchmark.times['ls answered']" if types else _until(prompt)
        return _run(f"{self._url}{image}", watch, until, seconds, visits)

    def bare(self, *, prompt: str | None = None, seconds: float = 120) -> Seen:
        """Run the bare machine, as far as `ours`."""
        address = f"{self._url}images/bare/index.html?prompt={quote(prompt or chr(0))}"
        return _run(address, "", _until(prompt), seconds)


def visit(address: str, prompt: str, *, seconds: float = 120) -> Seen:
    """Open the page with a fresh profile, until the prompt shows."""
    return _run(address, _watch(prompt), _until(prompt), seconds, memory=True)


def _watch(prompt: str | None, types: bool = False) -> str:
    watch = _WATCH.replace("PROMPT", repr(prompt or "\0"))
    return watch.replace("TYPES", "true" if types else "false")


def _until(prompt: str | None) -> str:
    return "benchmark.times.prompt" if prompt else "benchmark.ended"


_KEPT = "JSON.parse(localStorage['browsermount-warm-states'] ?? '[]').length > 0"


def _run(
    address: str,
    watch: str,
    until: str,
    seconds: float,
    visits: int = 1,
    *,
    memory: bool = False,
) -> Seen:
    with tempfile.TemporaryDirectory() as profile, chromium(profile) as page:
        page.driver.set_script_timeout(seconds)
        for _ in range(visits - 1):
            page.driver.get(address)
            page.driver.execute_script("window.benchmark = {};")
            _seen(page, _KEPT)
            page.driver.get("about:blank")
        if watch:
            page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": watch})
        page.driver.get(address)
        seen = _seen(page, until)
        return replace(seen, tab=largest_tab()) if memory else seen


def _seen(page: Page, until: str) -> Seen:
    result = page.driver.execute_async_script(
        f"""
        const done = arguments[0];
        const look = () => {{
          const benchmark = window.benchmark;
          if ({until} || benchmark.ended) done(benchmark);
          else setTimeout(look, 50);
        }};
        look();
        """
    )
    return Seen(result.get("times", {}), result.get("text", ""))


@contextmanager
def machines(write_layout: Callable[[Path], Path], work: Path) -> Iterator[Machines]:
    """Build and serve what both machines need to run an image.

    Args:
        write_layout: Writes the image's layout into a folder that is missing, once the site is
            built, and returns where it is.
        work: An empty folder.
    """
    build(SITE)
    layout = write_layout(work / "layout")
    bare = work / "bare"
    shutil.copytree(HERE / "bare", bare)
    (bare / "web" / "vm").mkdir(parents=True)
    for path in (WEB / "assets.js", *(WEB / "vm").glob("*.js")):
        shutil.copyfile(path, bare / "web" / path.relative_to(WEB))
    subprocess.run(["node", HERE / "snapshot.mjs", bare], check=True)
    state = (bare / "snapshot.bin").read_bytes()
    (bare / "snapshot.zst").write_bytes(zstandard.ZstdCompressor(19).compress(state))
    with served(SITE, bare=bare, measured=layout) as url:
        image = f"{url}images/measured/"
        asyncio.run(_pack(image, bare))
        yield Machines(url, image, bare)


async def _pack(image: str, out: Path) -> None:
    async with HttpxFetcher() as fetcher:
        await pack(await mount(image, fetcher=fetcher), out)
