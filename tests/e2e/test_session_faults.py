"""A browser that is killed while it saves a session, and a disk that has no room for one.

In the ordinary run it is killed once. ``BROWSERMOUNT_SOAK_SECONDS`` says for how long it is killed
at random moments; then a disk is filled, too, where this user may mount one.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.browser import Page, chromium
from tests.e2e.test_sessions import PROMPT, wait_saved, wait_unkept

SECONDS = float(os.environ.get("BROWSERMOUNT_SOAK_SECONDS") or 0)
SEED = int(os.environ.get("BROWSERMOUNT_SOAK_SEED") or time.time_ns())
DISK_MIB = 400

soak = pytest.mark.skipif(not SECONDS, reason="BROWSERMOUNT_SOAK_SECONDS is not set")

# As often as it can be: what is typed has to be saved, and who hides a page has it saved at once.
_SAVE_ALL_THE_TIME = """
window.saves = 0;
Object.defineProperty(document, "visibilityState", { get: () => "hidden" });
const { terminal } = document.querySelector("container-terminal");
const again = () => {
  terminal.input("\\r");
  setTimeout(() => document.dispatchEvent(new Event("visibilitychange")), 50);
};
addEventListener("saved", () => {
  window.saves += 1;
  again();
});
again();
"""


def kill(page: Page) -> None:
    """End the browser as the kernel does when it has no memory left."""
    process = page.driver.capabilities["goog:processID"]
    os.kill(process, signal.SIGKILL)
    end = time.monotonic() + 10
    while Path(f"/proc/{process}/cmdline").exists():
        if Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
            return
        assert time.monotonic() < end
        time.sleep(0.02)


def at_prompt(page: Page, url: str) -> None:
    page.open(url)
    page.wait_state("running", 90)
    page.wait_text(PROMPT, 60)


def value(page: Page) -> int:
    """Return what the shell, or a file, was given."""
    # What is asked is on the terminal of a session that goes on.
    mark = time.monotonic_ns()
    page.type(f'\rclear; echo "{mark}:$X$(cat /root/x 2>/dev/null)<"\r')
    text = page.wait_text(f"\n{mark}:")
    return int(text.rpartition(f"\n{mark}:")[2].partition("<")[0] or 0)


def give(page: Page, number: int, persist: str) -> None:
    command = f"X={number}" if persist == "machine" else f"echo {number} > /root/x"
    page.type(f"\r{command}; echo given''-{number}\r")
    page.wait_text(f"given-{number}")


class Kept:
    """A session in a browser that is killed.

    Attributes:
        least: What is in its last good state at least.
        given: What it was given last.
    """

    def __init__(self, profile: Path, url: str, persist: str) -> None:
        self.profile = profile
        self.url = url
        self.persist = persist
        self.least = self.given = 0
        self._moments = random.Random(SEED)

    def check(self, page: Page) -> None:
        """Open it and see that the last good state is there."""
        at_prompt(page, self.url)
        assert "damaged" not in page.visible or self.least == 0, SEED
        found = value(page)
        assert self.least <= found <= self.given, f"{found}, {self.least}, {self.given}: {SEED}"

    def kill_while_it_saves(self) -> None:
        """Kill the browser while it saves what it was given."""
        with chromium(str(self.profile)) as page:
            self.check(page)
            self.given += 1
            give(page, self.given, self.persist)
            page.script(_SAVE_ALL_THE_TIME)
            # While it saves for the first time, or a later one.
            end = time.monotonic() + (60 if self.least == 0 or self._moments.random() < 0.5 else 0)
            while page.script("return window.saves") == 0 and time.monotonic() < end:
                time.sleep(0.02)
            time.sleep(self._moments.uniform(0, 1))
            if page.script("return window.saves") > 0:
                self.least = self.given
            kill(page)


def test_a_browser_that_is_killed(site: str, tmp_path: Path) -> None:
    kept = Kept(tmp_path, f"{site}?session=mine", "machine")
    end = time.monotonic() + SECONDS
    kept.kill_while_it_saves()
    assert kept.least == 1
    while time.monotonic() < end:
        kept.kill_while_it_saves()
    with chromium(str(tmp_path)) as page:
        kept.check(page)


@soak
def test_a_browser_that_is_killed_and_keeps_files(site: str, tmp_path: Path) -> None:
    kept = Kept(tmp_path, f"{site}?session=mine&persist=files", "files")
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        kept.kill_while_it_saves()
    with chromium(str(tmp_path)) as page:
        kept.check(page)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small disk."""
    where = tmp_path / "disk"
    where.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "disk", str(where)]
    if shutil.which("mount") is None or subprocess.run(mount, check=False).returncode:
        pytest.skip("this user may mount nothing")
    try:
        yield where
    finally:
        subprocess.run(["umount", "--lazy", str(where)], check=True)


@soak
def test_a_disk_that_is_full(site: str, disk: Path) -> None:
    url = f"{site}?session=mine"
    with chromium(str(disk / "profile")) as page:
        at_prompt(page, url)
        give(page, 1, "machine")
        wait_saved(page)
        with (disk / "more").open("wb") as more:
            left = shutil.disk_usage(disk).free - (4 << 20)
            os.posix_fallocate(more.fileno(), 0, left)
        give(page, 2, "machine")
        wait_unkept(page)
        kill(page)
    (disk / "more").unlink()
    with chromium(str(disk / "profile")) as page:
        at_prompt(page, url)
        assert value(page) == 1
