"""A person at a page, for tests: headless Chromium and what can be seen in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

# What headless Chromium needs to run as root, without a screen, and without asking the network.
FLAGS = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
]
_ELEMENT = "document.querySelector('container-terminal')"

_FORGET = """
const done = arguments[0];
navigator.storage.getDirectory()
  .then((root) => root.removeEntry("browsermount", { recursive: true }))
  .then(() => done(), (error) => done(error.name));
"""


_Found = TypeVar("_Found")


def until(
    condition: Callable[[], _Found], seconds: float = 30, seen: Callable[[], object] = lambda: ""
) -> _Found:
    """Wait until a condition holds, and return what it gave.

    Args:
        condition: Asked again and again; it holds when what it gives is true.
        seconds: How long to wait at most.
        seen: What is told where it does not hold by then.
    """
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end, seen()
        time.sleep(0.05)
    return found


class Page:
    """The page with the terminal, in a browser that one of Selenium's drivers or the like moves."""

    def __init__(self, driver: Any) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        # From a blank page, so that a fragment alone makes a navigation too.
        self.driver.get("about:blank")
        self.driver.get(url)

    def forget(self, site: str) -> None:
        """Remove what the site has kept in this browser."""
        self.driver.get("about:blank")  # ends the workers of the page before
        self.driver.get(f"{site}LICENSE.txt")  # of the same origin, and with nothing open

        def error() -> str | None:
            return self.driver.execute_async_script(_FORGET)

        # The workers of the page before may still have files open for a moment.
        until(lambda: error() in (None, "NotFoundError"), 10, error)

    def script(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    @property
    def state(self) -> str:
        return str(self.script(f"return {_ELEMENT}?.dataset.state"))

    @property
    def text(self) -> str:
        """What stands on the terminal; each line, the first too, comes behind a line feed."""
        return "\n" + str(self.script(f"return {_ELEMENT}?.text ?? ''"))

    @property
    def visible(self) -> str:
        """What stands on the page beside the terminal."""
        return str(self.script(f"return {_ELEMENT}.innerText"))

    def type(self, text: str) -> None:
        self.script(f"{_ELEMENT}.terminal.input(arguments[0])", text)

    def paste(self, text: str) -> None:
        self.script(f"{_ELEMENT}.terminal.paste(arguments[0])", text)

    def wait_state(self, state: str, seconds: float = 60) -> None:
        def reached() -> bool:
            now = self.state
            assert now == state or now != "failed", self.visible
            return now == state

        until(reached, seconds, lambda: f"{self.state}: {self.visible}\n{self.text[-2000:]}")

    def wait_text(self, text: str, seconds: float = 30) -> str:
        def shown() -> str:
            now = self.text
            if text in now:
                return now
            assert self.state != "failed", self.visible
            return ""

        return until(
            shown, seconds, lambda: f"no {text!r} in:\n{self.text[-3000:]}\n{self.visible}"
        )

    def wait_visible(self, text: str, seconds: float = 60) -> None:
        """Wait until a text stands on the page beside the terminal."""
        self.wait(lambda: text in self.visible, seconds)

    def wait(self, condition: Callable[[], object], seconds: float = 60) -> None:
        """Wait until a condition holds; else what stands beside the terminal is told."""
        until(condition, seconds, lambda: self.visible)

    def failed(self, seconds: float = 60) -> str:
        """Wait until the page cannot run its image, and return what it says."""
        until(lambda: self.state == "failed", seconds, lambda: f"{self.state}: {self.visible}")
        return self.visible

    def failure(self, url: str, seconds: float = 60) -> str:
        """Open a page that cannot run its image, and return what it says."""
        self.open(url)
        return self.failed(seconds)


@contextmanager
def chromium(profile: str) -> Iterator[Page]:
    """Start a browser with a fresh profile in an empty folder."""
    options = Options()
    options.binary_location = "/usr/bin/chromium"
    for flag in (*FLAGS, "--window-size=1280,800", f"--user-data-dir={profile}"):
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield Page(driver)
    finally:
        driver.quit()
