"""A Linux machine that is a program for WASI (tests/wasi/linux), and its network in the page.

    BROWSERMOUNT_LARGE=1 .venv/bin/python -m pytest tests/e2e/test_foreign_linux.py

That such a kernel mounts by TCP what it finds there, tests/vm/test_gateway.py shows.
"""

from __future__ import annotations

import os

import pytest

from tests.e2e.browser import Page
from tests.e2e.test_foreign_machine import WITHOUT_SUSPENDING, press
from tests.fixtures import fixture
from tests.servers import served

pytestmark = pytest.mark.skipif(
    not os.environ.get("BROWSERMOUNT_LARGE"), reason="takes minutes: BROWSERMOUNT_LARGE=1"
)


@pytest.mark.parametrize("suspends", [True, False], ids=["suspended", "service-worker"])
def test_a_shell(fresh: Page, site: str, images: str, *, suspends: bool) -> None:
    if not suspends:
        fresh.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", WITHOUT_SUSPENDING)
    with served(fixture("wasi-linux")) as machines:
        fresh.open(f"{site}?image={images}debian/layout/&vm={machines}linux.wasm")
        press(fresh, "Run it")
        fresh.wait_state("running", 120)
        fresh.wait_text("192.168.127.3/24", 240)
        fresh.wait_text('"path": "/run/rootfs"', 60)
        fresh.type("echo $((6*7)); tty; ping -c 1 192.168.127.1 | grep -c ttl=\r")
        fresh.wait_text("\n42\n/dev/hvc0\n1\n", 60)
        fresh.type("exit\r")
        fresh.wait_state("exited", 60)
        assert "exit code 0" in fresh.visible
