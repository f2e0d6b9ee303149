"""Stopping and restarting a container that does not want to, or whose helpers are busy."""

from __future__ import annotations

import time

import pytest

from tests.e2e.browser import Page

BUTTON = """
const button = [...document.querySelectorAll("container-terminal button")]
  .find((button) => button.textContent === arguments[0] && button.offsetParent);
if (!button) throw new Error("there is none");
button.click();
"""

# From now on a worker of this page does not hear of another machine, as if it was busy for ever.
DEAF = """
const { postMessage } = Worker.prototype;
Worker.prototype.postMessage = function (message, ...more) {
  if (message.type !== "attach") postMessage.call(this, message, ...more);
};
"""


@pytest.fixture
def shell(page: Page, site: str) -> Page:
    page.open(site)
    page.wait_text("browsermount:~#", 60)
    return page


def stopped(page: Page) -> None:
    started = time.monotonic()
    page.script(BUTTON, "Stop")
    page.wait_state("exited", 5)
    assert "The container was stopped." in page.visible
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    "program",
    [
        ":(){ :|:& };:",
        "trap '' INT TERM HUP QUIT TSTP; while :; do :; done",
        "yes",
        "cat /dev/zero",
        "yes $'\\e[999S\\e[6n' | tr -d '\\n'",
    ],
    ids=["fork bomb", "ignores signals", "output", "zeros", "dear output"],
)
def test_whatever_a_container_does_it_is_stopped_and_restarted(shell: Page, program: str) -> None:
    shell.type(f"{program}\r")
    time.sleep(3)
    stopped(shell)
    shell.script(BUTTON, "Restart")
    shell.wait_text("browsermount:~#", 60)
    # Nothing of the last one is left, and keys are for the new one.
    shell.type("clear; echo al''ive $((6*7))\r")
    assert "yes" not in shell.wait_text("\nalive 42")
    shell.type("exit 3\r")
    shell.wait_state("exited")
    assert "exit code 3." in shell.visible


def test_a_container_that_runs_is_restarted(shell: Page) -> None:
    shell.type("echo left > /root/behind; yes\r")
    time.sleep(1)
    shell.script(BUTTON, "Restart")
    shell.wait_text("browsermount:~#", 60)
    shell.type("clear; cat behind\r")
    shell.wait_text("No such file")


def test_a_worker_that_does_not_answer_is_replaced(shell: Page) -> None:
    shell.script(DEAF)
    stopped(shell)
    shell.script(BUTTON, "Restart")
    shell.wait_text("browsermount:~#", 60)
    shell.type("exit 4\r")
    shell.wait_state("exited")


def test_a_start_is_stopped(page: Page, site: str) -> None:
    page.open("about:blank")
    page.driver.get(f"{site}?image=images/default/")
    page.script("document.querySelector('container-terminal').open()")
    page.script(BUTTON, "Stop")
    assert page.state == "failed"
    assert "The start was stopped." in page.visible
    page.script(BUTTON, "Try again")
    page.wait_text("browsermount:~#", 60)


def test_events_of_a_stop(shell: Page) -> None:
    shell.script(
        "window.seen = []; for (const name of ['started', 'exit', 'failure']) "
        "document.addEventListener(name, (e) => window.seen.push([name, e.detail]));"
    )
    stopped(shell)
    assert shell.script("return window.seen") == [["exit", {"code": 137, "signal": 9}]]
    shell.script("document.querySelector('container-terminal').stop()")
    assert len(shell.script("return window.seen")) == 1
