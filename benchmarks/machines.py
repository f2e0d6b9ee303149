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
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import zstandard
from tests.e2e.browser import Page, chromium
from tests.servers import served
from tools.build_site import build

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
const look = () => {
  const text = document.querySelector("container-terminal")?.text ?? "";
  if (text.includes(PROMPT)) mark("prompt");
  else requestAnimationFrame(look);
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
      if (type === "output") {
        window.benchmark.text += decoder.decode(data, { stream: true });
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
    """

    times: dict[str, float]
    text: str


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

    def ours(self, *, prompt: str | None = None, seconds: float = 120) -> Seen:
        """Run the page, until the prompt shows, or without one to the container's end."""
        watch = _WATCH.replace("PROMPT", repr(prompt or "\0"))
        address = f"{self._url}?image={quote(self.image, safe='')}"
        return _run(address, watch, prompt, seconds)

    def bare(self, *, prompt: str | None = None, seconds: float = 120) -> Seen:
        """Run the bare machine, as far as `ours`."""
        address = f"{self._url}images/bare/index.html?prompt={quote(prompt or chr(0))}"
        return _run(address, "", prompt, seconds)


def _run(address: str, watch: str, prompt: str | None, seconds: float) -> Seen:
    until = "benchmark.times.prompt" if prompt else "benchmark.ended"
    with tempfile.TemporaryDirectory() as profile, chromium(profile) as page:
        if watch:
            page.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": watch})
        page.driver.set_script_timeout(seconds)
        page.driver.get(address)
        return _seen(page, until)


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
    return Seen(result["times"], result["text"])


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
