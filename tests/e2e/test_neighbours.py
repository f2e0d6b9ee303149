"""Containers of one browser in one network: in a page, and in its tabs."""

from __future__ import annotations

import base64
from collections.abc import Iterator

import pytest

from tests.e2e.browser import Page, until
from tests.e2e.test_page import run

# The owner of a page names networks by attributes; the last one opens the element.
JOIN = """
const element = document.querySelector("container-terminal");
const given = { "network": arguments[0], "network-name": "shop", "hostname": arguments[1] };
for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
element.setAttribute("image", "images/default/");
"""
BESIDE = """
const element = document.createElement("container-terminal");
const given = { "network-name": "shop", "hostname": "web", "image": "images/default/" };
for (const [name, value] of Object.entries(given)) element.setAttribute(name, value);
document.querySelector("main").append(element);
window.beside = element;
"""
# Gives a datagram back to who has sent it.
ECHO = (
    "#include <sys/socket.h>\n#include <netinet/in.h>\n"
    "int main() { int s = socket(AF_INET, SOCK_DGRAM, 0); char b[99]; socklen_t n = 16; "
    "struct sockaddr_in a = {AF_INET, htons(7000)}; bind(s, (void *)&a, n); "
    "int k = recvfrom(s, b, 99, 0, (void *)&a, &n); sendto(s, b, k, 0, (void *)&a, n); }"
)
SERVE = (
    f"echo {base64.b64encode(ECHO.encode()).decode()} | base64 -d > u.c; tcc -run u.c & "
    "mkdir w; head -c 300000 /dev/urandom > w/data; busybox httpd -p 8000 -h w; sha256sum w/data\r"
)


@pytest.fixture(autouse=True)
def one_tab(page: Page) -> Iterator[None]:
    """Close what a test has opened."""
    yield
    for handle in page.driver.window_handles[1:]:
        page.driver.switch_to.window(handle)
        page.driver.close()
    page.driver.switch_to.window(page.driver.window_handles[0])


def join(page: Page, site: str, name: str, network: str = "public") -> None:
    page.open(f"{site}?image=./nothing/")
    page.failed()
    page.script(JOIN, network, name)
    page.wait_state("running")
    page.wait_text(f"{name}:~#")
    page.wait_visible(f"In the network shop as {name}")


def beside(page: Page, text: str, seconds: float = 30) -> str:
    """Wait for a text in the page's other container."""

    def now() -> str:
        return "\n" + str(page.script("return window.beside.text"))

    until(lambda: text in now(), seconds, now)
    return now()


def test_containers_of_a_page_and_of_a_tab(page: Page, site: str) -> None:
    join(page, site, "db", "none")
    page.script(BESIDE)
    beside(page, "web:~#", 60)
    page.script("window.beside.terminal.input(arguments[0])", SERVE)
    digest = beside(page, "  w/data\n").split("  w/data\n")[0].rsplit("\n", 1)[1]
    get = "busybox wget -qO- web.shop:8000/data | sha256sum"
    text = run(page, f"for i in 1 2 3; do {get} & done; wait; busybox wget -O- web:8001/", 60)
    assert text.count(digest) == 3
    assert "Connection refused" in text
    # There is nothing else.
    assert "bad address" in run(page, "busybox wget -O- http://server.example/")
    asked = "exec 3<>/dev/udp/web/7000; echo datagram >&3; head -n 1 <&3"
    assert "\ndatagram\n" in run(page, asked)
    # A tab of the browser that ends while one is connected with it.
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    join(page, site, "api")
    run(page, "busybox httpd -p 9000")
    page.driver.switch_to.window(first)
    connected = "until busybox netstat -tn | grep -q ESTAB; do sleep 0.2; done; echo conn''ected"
    page.type(f"clear; ({connected}) & busybox nc api 9000; echo en''ded\r")
    page.wait_text("\nconnected")
    assert "\nended\n" not in page.text
    page.driver.switch_to.window(page.driver.window_handles[-1])
    page.driver.close()
    page.driver.switch_to.window(first)
    page.wait_text("\nended\n")
    assert "bad address" in run(page, "busybox wget -O- http://api:9000/")


def test_what_a_link_joins(page: Page, site: str) -> None:
    """Another network than that of the page's owner, and it is said."""
    page.open(f"{site}?network-name=a.b")
    page.failed()
    assert "a.b is no name that a network of containers can have" in page.visible
