"""A person at a page, for tests: headless Chromium and what can be seen in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

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
        end = time.monotonic() + 10
        # The workers of the page before may still have files open for a moment.
        while (error := self.driver.execute_async_script(_FORGET)) == "NoModificationAllowedError":
            assert time.monotonic() < end, error
            time.sleep(0.1)
        assert error in (None, "NotFoundError"), error

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
        end = time.monotonic() + seconds
        while (now := self.state) != state:
            assert now != "failed", self.visible
            assert time.monotonic() < end, f"{now}: {self.visible}\n{self.text[-2000:]}"
            time.sleep(0.05)

    def wait_text(self, text: str, seconds: float = 30) -> str:
        end = time.monotonic() + seconds
        while text not in (now := self.text):
            assert self.state != "failed", self.visible
            assert time.monotonic() < end, f"no {text!r} in:\n{now[-3000:]}\n{self.visible}"
            time.sleep(0.05)
        return now

    def failure(self, url: str, seconds: float = 60) -> str:
        """Open a page that cannot run its image, and return what it says."""
        self.open(url)
        end = time.monotonic() + seconds
        while self.state != "failed":
            assert time.monotonic() < end, f"{self.state}: {self.visible}"
            time.sleep(0.05)
        return self.visible


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
