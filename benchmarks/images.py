"""What an image costs to open in Chromium: bytes before the prompt, time, memory.

    .venv/bin/python -m benchmarks.images [--large]

Debian with gcc (about 100 MB compressed), as ordinary gzip and as eStargz, from nginx at another
origin than the page's.  Visits: the first with an empty browser; a second one; and one where
blobs were evicted and only what is known of them is left.  ``--large`` also measures the memory
that an image of 1 GB needs, over that of the page with the smallest image.

Machines differ: compare within one run.
"""

from __future__ import annotations

import argparse
import random
import shutil
import tarfile
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from tests.e2e.browser import Page, chromium
from tests.fixtures import fixture
from tests.fixtures.store import Recipe, obtain
from tests.fixtures.tools import UMOCI, umoci_add
from tests.servers import served
from tests.servers.nginx import Nginx, nginx
from tools.build_site import build

from benchmarks.memory import largest_tab

ROOT = Path(__file__).resolve().parents[1]
SITE = ROOT / "dist" / "site"
PROMPT = ":/#"

_FORGET_BLOBS = """
const done = arguments[0];
(async () => {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle("browsermount");
  const handle = await folder.getFileHandle("catalog.json");
  const catalog = JSON.parse(await (await handle.getFile()).text());
  for (const name of Object.keys(catalog.objects)) {
    if (!name.endsWith(".blob")) continue;
    delete catalog.objects[name];
    await folder.removeEntry(name);
  }
  const writable = await handle.createWritable();
  await writable.write(JSON.stringify(catalog));
  await writable.close();
})().then(() => done(), (error) => done(String(error)));
"""


@dataclass
class Visit:
    """What one visit took until the prompt."""

    seconds: float
    bytes: int
    requests: int


def visit(page: Page, server: Nginx, url: str) -> Visit:
    page.driver.get("about:blank")
    time.sleep(1)  # until the last visit's requests are in the log
    before = len(server.answers)
    started = time.monotonic()
    page.open(url)
    page.wait_text(PROMPT, 300)
    seconds = time.monotonic() - started
    answers = server.answers[before:]
    return Visit(seconds, sum(size for _, _, size in answers), len(answers))


def forget_blobs(page: Page, site: str) -> None:
    page.driver.get("about:blank")
    time.sleep(1)  # until the last visit's worker has let its files go
    page.driver.get(f"{site}LICENSE.txt")
    error = page.driver.execute_async_script(_FORGET_BLOBS)
    assert error is None, error


def measure(site: str, server: Nginx, name: str) -> dict[str, Visit]:
    url = f"{site}?image={server.url}/{name}"
    with tempfile.TemporaryDirectory() as profile, chromium(profile) as page:
        visits = {"first": visit(page, server, url)}
        visits["second"] = visit(page, server, url)
        forget_blobs(page, site)
        visits["evicted"] = visit(page, server, url)
        return visits


def size_of(layout: Path) -> int:
    return sum(path.stat().st_size for path in layout.rglob("blobs/*/*"))


def print_visits(site: str, server: Nginx, folder: Path) -> None:
    print(
        f"{'image':10} {'visit':8} {'seconds':>8} {'requests':>9} {'fetched':>10} {'of image':>9}"
    )
    for name in ("original", "estargz"):
        size = size_of(folder / name)
        for kind, result in measure(site, server, name).items():
            share = 100 * result.bytes / size
            print(
                f"{name:10} {kind:8} {result.seconds:8.1f} {result.requests:9} "
                f"{result.bytes / 1e6:7.1f} MB {share:7.1f} %",
                flush=True,
            )


def _large_image(output: Path) -> None:
    """Make an image of 1 GB that runs: the gcc image's tree, and much that is hard to compress."""
    archive = output / "filling.tar"
    noise = random.Random(1)
    with tarfile.open(archive, "w") as tar:
        for number in range(900):
            info = tarfile.TarInfo(f"filling/{number}")
            half = noise.randbytes(1 << 18)
            content = half + half.hex().encode()  # the second part can be compressed to a half
            info.size = len(content)
            tar.addfile(info, BytesIO(content))
    gcc = fixture("gcc") / "original"
    layout = output / "layout"
    shutil.copytree(gcc, layout)
    umoci_add(f"{layout}:gcc", archive)
    archive.unlink()


def large_image() -> Path:
    recipe = Recipe("large", _large_image, (Path(__file__),), UMOCI, root=True)
    return obtain(recipe)


def memory_of(site: str, image: str, then: Callable[[Page], None] = lambda page: None) -> int:
    with tempfile.TemporaryDirectory() as profile, chromium(profile) as page:
        page.open(f"{site}{image}")
        page.wait_text("#", 600)
        then(page)
        return largest_tab().whole


def print_memory(site: str, server: Nginx) -> None:
    def fill(page: Page) -> None:
        end = time.monotonic() + 300
        while "all here" not in page.visible and time.monotonic() < end:
            time.sleep(1)

    base = memory_of(site, "")
    large = memory_of(site, f"?image={server.url}/layout", fill)
    print(f"page with the default image: {base >> 20} MiB", flush=True)
    print(f"page with 1 GB:              {large >> 20} MiB, {(large - base) >> 20} MiB more")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--large", action="store_true", help="measure the memory for 1 GB")
    options = parser.parse_args()
    build(SITE)
    with tempfile.TemporaryDirectory() as work, served(SITE) as site:
        folder = large_image() if options.large else fixture("gcc")
        with nginx(Path(work), folder) as server:
            if options.large:
                print_memory(site, server)
            else:
                print_visits(site, server, folder)


if __name__ == "__main__":
    main()
