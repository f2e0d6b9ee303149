"""The container's network by a relay of somebody else's making, in the page."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.browser import Page
from tests.e2e.test_page import run
from tests.servers.program import Program, free_port
from tests.servers.recording import Recorded, answering
from tests.servers.web import DIGEST, answer

SERVER = Path(__file__).resolve().parents[1] / "servers" / "wisp.mjs"


@pytest.fixture(scope="module")
def web() -> Iterator[Recorded]:
    """A web server of this machine's."""
    with answering(answer) as server:
        yield server


@pytest.fixture
def relay(tmp_path: Path) -> Iterator[Program]:
    port = free_port()
    program = Program(["node", str(SERVER), str(port)], port, tmp_path / "log")
    program.start()
    try:
        yield program
    finally:
        program.kill()


def opened(page: Page, site: str, **attributes: str) -> None:
    page.open(site)
    page.script(
        "const element = document.querySelector('container-terminal');"
        "for (const [name, value] of Object.entries(arguments[0]))"
        "  element.setAttribute(name, value);"
        "element.open();",
        attributes,
    )
    page.wait_state("running")
    page.wait_text("browsermount:~#")


def echo(server: socket.socket) -> None:
    data, client = server.recvfrom(2000)
    server.sendto(data[::-1], client)


def test_a_relay_connects_the_container(
    page: Page, site: str, relay: Program, web: Recorded
) -> None:
    opened(page, site, network="relay", relay=f"ws://{relay.host}/")
    get = f"busybox wget -qO- http://server.example:{web.port}/data | sha256sum"
    assert run(page, f"for i in 1 2; do {get} & done; wait", 60).count(DIGEST) == 2
    # Up: the server answers with the digest of what it has got.
    script = "head -c 1000000 /dev/zero > /tmp/up; sha256sum < /tmp/up; "
    post = "(printf 'POST / HTTP/1.0\\r\\nContent-Length: 1000000\\r\\n\\r\\n'; cat /tmp/up)"
    text = run(page, f"{script}{post} | busybox nc server.example {web.port} | tail -n 1", 60)
    digests = [line for line in text.split() if len(line) == 64]
    assert len(digests) == 2, text
    assert digests[0] == digests[1]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        threading.Thread(target=echo, args=(server,), daemon=True).start()
        port = server.getsockname()[1]
        ask = f"exec 3<>/dev/udp/time.example/{port}; printf gnip >&3; head -c 4 <&3; exec 3>&-"
        assert "ping" in run(page, f'bash -c "{ask}"; echo')
    # Nothing of that is the browser's.
    assert {request.headers.get("origin") for request in web.requests} == {None}

    run(page, f"busybox wget -qO- http://blocked.example:{web.port}/")
    assert "does not let the container reach blocked.example" in page.visible
    assert "refused" in run(page, f"busybox wget -qO- http://10.0.0.1:{web.port}/")
    assert "may not reach 10.0.0.1" in page.visible

    relay.kill()
    assert "refused" in run(page, f"busybox wget -qO- http://server.example:{web.port}/")
    assert "cannot be reached" in page.visible
    relay.start()
    run(page, "sleep 1.2")
    assert "hello" in run(page, f"busybox wget -qO- http://server.example:{web.port}/")
    assert "cannot be reached" not in page.visible


def test_a_relay_that_a_link_names(page: Page, site: str) -> None:
    page.open(f"{site}?relay=ws://localhost:1/")
    with pytest.raises(AssertionError, match="A link may name relays at wss:// only"):
        page.wait_state("running")
    page.open(f"{site}?relay=wss://relay.invalid/")
    page.wait_state("running")
    assert "connects the container by: wss://relay.invalid/" in page.visible
