"""The container's network in the page: requests that the browser sends."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.browser import Page
from tests.e2e.test_page import run
from tests.servers import served
from tests.servers.recording import Answer, Recorded, Request, answering
from tests.servers.web import DATA, DIGEST, answer

SITE = Path(__file__).resolve().parents[2] / "dist" / "site"
HERE = "host.containers.internal"
VIA = "/via?https%3A%2F%2Ffiles.example%2Fpart"


@pytest.fixture(scope="module")
def web() -> Iterator[Recorded]:
    """A web server of this machine's, and a proxy."""
    part = DATA[:500_000]

    def both(request: Request) -> Answer:
        return Answer(body=part) if request.path == VIA else answer(request)

    with answering(both) as server:
        yield server


@pytest.fixture(scope="module")
def port(web: Recorded) -> int:
    return web.port


def opened(page: Page, site: str, network: str = "") -> None:
    page.open(site)
    if network:
        page.script(
            "const element = document.querySelector('container-terminal');"
            "element.setAttribute('network', arguments[0]); element.open();",
            network,
        )
    page.wait_state("running")
    page.wait_text("browsermount:~#")


def test_requests_of_the_container_are_the_browsers(page: Page, site: str, web: Recorded) -> None:
    opened(page, site, "all")
    url = f"http://{HERE}:{web.port}"
    web.requests.clear()
    assert "hello" in run(page, f"busybox wget -qO- {url}/")
    assert DIGEST in run(page, f"busybox wget -qO- {url}/data | sha256sum", 60)
    body = hashlib.sha256(b"a=b").hexdigest()
    assert body in run(page, f"busybox wget -qO- --post-data a=b {url}/form")
    assert [(it.method, it.path) for it in web.requests] == [
        ("GET", "/"),
        ("GET", "/data"),
        ("POST", "/form"),
    ]
    for request in web.requests:
        assert request.headers["host"] == web.host
        assert not {"cookie", "referer"} & set(request.headers)


def test_several_at_once(page: Page, site: str, port: int) -> None:
    get = f"busybox wget -qO- http://{HERE}:{port}/data | sha256sum"
    text = run(page, f"for i in 1 2 3 4; do {get} & done; wait", 120)
    assert text.count(DIGEST) == 4


def test_a_server_that_does_not_allow_pages(page: Page, site: str, port: int) -> None:
    text = run(page, f"busybox wget -O- http://{HERE}:{port}/closed")
    assert "502 Bad Gateway" in text
    assert "Access-Control-Allow-Origin" in page.visible


def test_after_a_restart_it_is_there_again(page: Page, site: str, port: int) -> None:
    page.type("exit\r")
    page.wait_state("exited")
    page.script("document.querySelector('container-terminal').restart()")
    page.wait_state("running")
    page.wait_text("browsermount:~#")
    assert "hello" in run(page, f"busybox wget -qO- http://{HERE}:{port}/")


@pytest.mark.parametrize("asked", ["", "?network=all&network-proxy=http://127.0.0.1:{}/{{url}}"])
def test_nothing_nearby_can_be_reached_whatever_a_link_asks_for(
    page: Page, site: str, web: Recorded, asked: str
) -> None:
    port = web.port
    opened(page, site + asked.format(port))
    web.requests.clear()
    assert "bad address" in run(page, f"busybox wget -qO- http://{HERE}:{port}/")
    text = run(page, f"busybox wget -qO- http://192.168.127.254:{port}/")
    assert "refused" in text
    assert "refused" in run(page, f"busybox wget -qO- http://10.0.0.1:{port}/")
    assert "may not reach 10.0.0.1" in page.visible
    if asked:
        assert f"requests go through: http://127.0.0.1:{port}/{{url}}" in page.visible
        assert "502" in run(page, "busybox wget -O- http://server.example/")
        assert "through which the link to this page has server.example reached" in page.visible
    # A name of the internet's in the address, and another one in the request
    request = f"printf 'GET / HTTP/1.1\\r\\nHost: 127.0.0.1:{port}\\r\\n\\r\\n'"
    assert "403 Forbidden" in run(page, f"{request} | busybox nc -w 5 server.example 80")
    assert web.requests == []


def test_other_protocols_are_refused_with_the_reason(page: Page, site: str) -> None:
    hello = "printf '\\026this is not TLS, though'"
    assert "7" in run(page, f"{hello} | busybox nc -w 5 secure.example 443 | wc -c")  # an alert
    assert "cannot reach secure.example by HTTPS: what it has sent is not TLS" in page.visible
    run(page, "printf 'EHLO me\\r\\n\\r\\n' | busybox nc -w 5 mail.example 25")
    assert "400 Bad Request" in page.text


def test_https_and_a_proxy(page: Page, site: str, images: str, web: Recorded) -> None:
    """Debian's apt checks the certificate, by GnuTLS; the image has no authorities of its own."""
    page.open(f"{site}?image=./nothing/")
    page.script(
        "const element = document.querySelector('container-terminal');"
        "element.setAttribute('network-proxy', arguments[0]);"
        "element.setAttribute('image', arguments[1]);",
        f"*.example=http://127.0.0.1:{web.port}/via?{{url}}",
        f"{images}debian/layout/",
    )
    page.wait_state("running")
    page.wait_text("root@browsermount:/#")
    web.requests.clear()
    get = "/usr/lib/apt/apt-helper download-file https://files.example"
    text = run(page, f"{get}/part /tmp/part; sha256sum /tmp/part", 60)
    assert hashlib.sha256(DATA[:500_000]).hexdigest() in text
    (request,) = web.requests
    assert (request.method, request.path) == ("GET", VIA)
    assert not {"cookie", "referer"} & set(request.headers)
    # With other authorities, it is not believed.
    text = run(page, f"{get}/part /tmp/other -o Acquire::https::CAInfo=/etc/passwd", 60)
    assert "Fetched" not in text.split("https://files.example")[-1]
    assert len(web.requests) == 1


def test_without_the_tls_server(page: Page, site: str, tmp_path: Path) -> None:
    """Who reads the authorities gets an error, and the page says why."""
    broken = tmp_path / "site"
    shutil.copytree(SITE, broken, copy_function=os.link)
    (broken / "tls" / "tls.wasm.gz").unlink()
    with served(broken) as url:
        opened(page, url)
        text = run(page, "cat $SSL_CERT_FILE")
        assert "Input/output error" in text
        page.wait_visible("The page's own TLS engine cannot be had")


def test_without_a_network(page: Page, site: str) -> None:
    opened(page, site + "?network=none")
    text = run(page, "ls /sys/class/net; cat /etc/resolv.conf")
    assert "eth0" not in text
    assert "There is no network" in text


FETCH = """
const done = arguments[2];
document.querySelector("container-terminal").fetch(arguments[0], arguments[1] ?? undefined)
  .then(async (response) => {
    const bytes = new Uint8Array(await response.arrayBuffer());
    const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
    return [response.status, response.headers.get("content-type"), bytes.length, hex];
  })
  .then(done, (error) => done(String(error)));
"""


def test_the_page_asks_a_server_in_the_container(page: Page, site: str) -> None:
    opened(page, site)
    page.driver.set_script_timeout(60)

    def fetch(url: str, init: dict[str, str] | None = None) -> list[object] | str:
        answer: list[object] | str = page.driver.execute_async_script(FETCH, url, init)
        return answer

    assert "listens at port 8000" in fetch("http://localhost:8000/")
    assert "TypeError" in fetch("http://example.com/")
    text = run(
        page,
        "mkdir /tmp/w; head -c 3000000 /dev/urandom > /tmp/w/data; sha256sum < /tmp/w/data; "
        "echo '<p>' > /tmp/w/index.html; busybox httpd -p 127.0.0.1:8000 -h /tmp/w",
    )
    answer = fetch("http://localhost:8000/data")
    assert isinstance(answer, list)
    assert answer[::2] == [200, 3_000_000]
    assert str(answer[3]) in text
    assert fetch("http://localhost:8000/index.html")[1] == "text/html"
    assert fetch("http://localhost:8000/index.html", {"method": "HEAD"})[2] == 0
    assert fetch("http://localhost:8000/none")[0] == 404
    # And when it has ended
    page.type("exit\r")
    page.wait_state("exited")
    assert "does not run" in fetch("http://localhost:8000/")


def test_an_amd64_image_on_its_own_machine(
    page: Page, site: str, images: str, web: Recorded
) -> None:
    page.open(f"{site}?image={images}foreign/amd64")
    page.script(
        "const element = document.querySelector('container-terminal');"
        "element.setAttribute('network', 'all'); element.open();"
    )
    page.wait_state("running")
    page.wait_text("#")
    web.requests.clear()
    asked = f"exec 3<>/dev/tcp/{HERE}/{web.port}; printf 'GET /few HTTP/1.0\\r\\n\\r\\n' >&3"
    assert "\nhello\n" in run(page, f"{asked}; tail -n 1 <&3")
    assert [request.path for request in web.requests] == ["/few"]
    server = (
        'IO::Socket::INET->new(LocalAddr => "127.0.0.1", LocalPort => 8000, Listen => 5); '
        'while ($c = $s->accept) { while (<$c>) { last if $_ eq "\\r\\n" } '
        'print $c "HTTP/1.0 200 OK\\r\\n\\r\\nhello from it"; close $c }'
    )
    run(page, f"perl -MIO::Socket::INET -e '$s = {server}' & sleep 1")
    element = "document.querySelector('container-terminal')"
    page.wait(lambda: page.script(f"return {element}.ports") == [8000])
    page.driver.set_script_timeout(30)
    text = page.driver.execute_async_script(
        "const done = arguments[0];"
        f"{element}.fetch('http://localhost:8000/').then((it) => it.text()).then(done, done);"
    )
    assert text == "hello from it"
