"""Firefox by WebDriver BiDi, which it speaks itself: https://w3c.github.io/webdriver-bidi/."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import websocket

_LISTENING = re.compile(r"WebDriver BiDi listening on (ws://\S+)")
_START_SECONDS = 60
_PREFERENCES = {
    # No connections of its own, and no pages beside ours.
    "app.normandy.enabled": False,
    "app.update.disabledForTesting": True,
    "browser.safebrowsing.downloads.remote.enabled": False,
    "browser.safebrowsing.malware.enabled": False,
    "browser.safebrowsing.phishing.enabled": False,
    "browser.shell.checkDefaultBrowser": False,
    "datareporting.policy.dataSubmissionEnabled": False,
    "extensions.update.enabled": False,
    "network.captive-portal-service.enabled": False,
    "network.connectivity-service.enabled": False,
    "services.settings.server": "data:,",
    "toolkit.telemetry.reportingpolicy.firstRun": False,
}


class Firefox:
    """What the tests use of Selenium's drivers, for a Firefox that runs.

    Args:
        url: Where it listens.
    """

    def __init__(self, url: str) -> None:
        # It takes no connection that says it comes from a page.
        self._socket = websocket.create_connection(
            f"{url}/session", timeout=120, suppress_origin=True
        )
        self._ids = itertools.count(1)
        self._call("session.new", capabilities={})
        self._context = self._call("browsingContext.getTree")["contexts"][0]["context"]

    def get(self, url: str) -> None:
        """Open a page and wait until it is loaded."""
        self._call("browsingContext.navigate", context=self._context, url=url, wait="complete")

    def execute_script(self, script: str, *arguments: object) -> Any:
        """Run the body of a function in the page and return its result, as JSON has it."""
        values = [_value(argument) for argument in arguments]
        answer = self._call(
            "script.callFunction",
            functionDeclaration="async (...given) => "
            f"JSON.stringify(await (function () {{{script}}}).apply(undefined, given))",
            arguments=values,
            awaitPromise=True,
            # As if a person had just done something: a page may open tabs then.
            userActivation=True,
            target={"context": self._context},
        )
        if answer["type"] != "success":
            raise AssertionError(answer["exceptionDetails"]["text"])
        return json.loads(answer["result"].get("value", "null"))

    @property
    def current_window_handle(self) -> str:
        """The tab in which scripts run."""
        return str(self._context)

    @property
    def window_handles(self) -> list[str]:
        """All tabs."""
        return [it["context"] for it in self._call("browsingContext.getTree")["contexts"]]

    @property
    def switch_to(self) -> Firefox:
        """What has :meth:`window`."""
        return self

    def window(self, handle: str) -> None:
        """Go to a tab."""
        self._context = handle

    def close(self) -> None:
        """Close the tab; one has to go to another one then."""
        self._call("browsingContext.close", context=self._context)

    def set_window_size(self, width: int, height: int) -> None:
        """Give the page this size in CSS pixels."""
        viewport = {"width": width, "height": height}
        self._call("browsingContext.setViewport", context=self._context, viewport=viewport)

    def quit(self) -> None:
        """End the browser."""
        self._call("browser.close")
        self._socket.close()

    def _call(self, method: str, **parameters: Any) -> Any:
        number = next(self._ids)
        self._socket.send(json.dumps({"id": number, "method": method, "params": parameters}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") != number:
                continue  # an event
            if answer["type"] == "error":
                raise AssertionError(f"{method}: {answer['error']}: {answer['message']}")
            return answer["result"]


def _value(argument: object) -> dict[str, Any]:
    if isinstance(argument, str):
        return {"type": "string", "value": argument}
    assert isinstance(argument, int | float)
    return {"type": "number", "value": argument}


@contextmanager
def firefox(profile: Path) -> Iterator[Firefox]:
    """Start Firefox with a fresh profile in an empty folder."""
    lines = (f"user_pref({json.dumps(k)}, {json.dumps(v)});\n" for k, v in _PREFERENCES.items())
    (profile / "user.js").write_text("".join(lines))
    command = ["firefox-esr", "--headless", "--no-remote", "--profile", str(profile)]
    log = profile / "log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [*command, "--remote-debugging-port", "0"], stdout=output, stderr=output
        ) as process,
    ):
        try:
            driver = Firefox(_address(log, process))
            try:
                yield driver
            finally:
                driver.quit()
                process.wait(30)
        finally:
            process.kill()


def _address(log: Path, process: subprocess.Popen[bytes]) -> str:
    end = time.monotonic() + _START_SECONDS
    while (found := _LISTENING.search(log.read_text(errors="replace"))) is None:
        assert process.poll() is None, log.read_text(errors="replace")
        assert time.monotonic() < end, log.read_text(errors="replace")
        time.sleep(0.1)
    return found[1]
