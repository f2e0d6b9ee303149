"""Servers in the container, in tabs of the browser."""

from __future__ import annotations

import base64
import gzip
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from tests.e2e.browser import Page, until
from tests.e2e.test_page import run
from tests.servers import served

SITE = Path(__file__).resolve().parents[2] / "dist" / "site"

# A page with absolute paths, a redirect, an upload, a stream, and another port.
SERVER = r"""
mkdir -p /tmp/w/cgi-bin /tmp/w/deep; cd /tmp/w
cat > deep/index.html <<'END'
<title>deep</title><link rel=stylesheet href=/style.css><p id=p>shown</p>
<a id=away href=/about.html>about</a>
<form id=form action=/cgi-bin/echo method=post><input name=a value=b></form>
<script src=/script.js></script>
END
echo 'p { color: rgb(1, 2, 3) }' > style.css
echo '<p id=p>about</p>' > about.html
cat > script.js <<'END'
const text = (...call) => fetch(...call).then((answer) => answer.text());
const all = Promise.all([
  text("/cgi-bin/go"),
  text("/cgi-bin/echo", { method: "POST", body: "x".repeat(100000), headers: { "x-more": "1" } }),
  fetch("/cgi-bin/slow").then(async ({ body }) => {
    const reader = body.getReader();
    const first = performance.now();
    await reader.read();
    const early = performance.now() - first;
    while (!(await reader.read()).done);
    return performance.now() - first - early > 500 ? "streams" : "comes at once";
  }),
  text("http://localhost:8001/other"),
  fetch("/none").then(({ status }) => String(status)),
  fetch("http://localhost:1/").then(({ status }) => String(status)),
  text("/cgi-bin/zipped"),
]);
all.then((found) => { document.title = "done"; window.found = found; },
  (error) => { document.title = `failed: ${error}`; });
END
cat > cgi-bin/go <<'END'
#!/bin/sh
printf 'Status: 302 Found\r\nLocation: /about.html?x=1\r\n\r\n'
END
cat > cgi-bin/echo <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\nX-Frame-Options: DENY\r\n\r\n'
echo "$REQUEST_METHOD $HTTP_X_MORE $(wc -c)"
END
cat > cgi-bin/slow <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'; echo one; sleep 1; echo two
END
cat > cgi-bin/zipped <<'END'
#!/bin/sh
printf 'Content-Type: text/plain\r\nContent-Encoding: gzip\r\n\r\n'; echo unzipped | gzip
END
mkdir /tmp/o; echo other > /tmp/o/other
chmod +x cgi-bin/*
busybox httpd -p 8000 -h /tmp/w; busybox httpd -p 127.0.0.1:8001 -h /tmp/o
"""

# Says a page at first, and back what it hears by WebSockets.
CHAT = r"""
use IO::Socket::INET;
$SIG{CHLD} = "IGNORE";
$s = IO::Socket::INET->new(LocalPort => 8000, Listen => 5, ReuseAddr => 1) or die;
sub frame {
  my ($op, $p) = @_;
  my $n = length $p;
  $n = $n < 126 ? pack("C", $n) : $n < 65536 ? pack("Cn", 126, $n) : pack("CQ>", 127, $n);
  pack("C", 128 | $op) . $n . $p;
}
sub number { my ($k, $n) = @_; read $c, my $b, $n; unpack $k, $b }
sub shell { open my $f, "-|", "bash", "-c", $_[0]; local $/; scalar <$f> }
while ($c = $s->accept) {
  next if fork;
  $/ = "\r\n";
  my $first = <$c>;
  while (($l = <$c>) ne "\r\n") { $h{lc $1} = $2 if $l =~ /^([^:]+): (.*)\r\n/ }
  if (!$h{upgrade}) {
    print $c "HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<!doctype html><title>chat</title>",
      "<script>mode = document.compatMode</script>";
    shutdown $c, 1;
    exit;
  }
  my $key = $h{"sec-websocket-key"} . "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
  my $d = (split " ", shell("printf %s '$key' | sha1sum"))[0];
  $d =~ s/../sprintf "\\%03o", hex $&/ge;
  $d = (split " ", shell("printf '$d' | base64"))[0];
  print $c "HTTP/1.1 101 Yes\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n";
  print $c "Sec-WebSocket-Protocol: v2\r\n" if $h{"sec-websocket-protocol"};
  print $c "Sec-WebSocket-Accept: $d\r\n\r\n";
  $c->autoflush(1);
  $first =~ s/\r\n//;
  print $c frame(1, "$first $h{origin}");
  while (read $c, $b, 1) {
    my $op = 15 & unpack "C", $b;
    my $n = 127 & number("C", 1);
    $n = number("n", 2) if $n == 126;
    $n = number("Q>", 8) if $n == 127;
    read $c, my $m, 4;
    my $p = "";
    read $c, $p, $n if $n;
    $p ^= substr $m x ($n / 4 + 1), 0, $n;
    if ($op == 8) { print $c frame(8, $p); exit }
    elsif ($p eq "end") { print $c frame(8, pack("n", 4001) . "over") }
    elsif ($op < 3) { print $c frame(9, "are you there"), frame($op, $p) }
  }
  exit;
}
"""

LISTENS = "until (exec 3<>/dev/tcp/127.0.0.1/8000) 2> /dev/null; do sleep 0.2; done"

TALK = """
const done = arguments[0];
const heard = (socket) => new Promise((resolve) => {
  socket.onmessage = ({ data }) => resolve(data);
});
const ended = (socket) => new Promise((resolve) => {
  socket.onclose = ({ code, reason, wasClean }) => resolve([code, reason, wasClean]);
});
async function talk() {
  const socket = new WebSocket(`ws://${location.host}/chat?a=b`, ["v1", "v2"]);
  const [first, protocol] = [await heard(socket), socket.protocol];
  socket.send("grüße");
  const text = await heard(socket);
  socket.binaryType = "arraybuffer";
  const sent = Uint8Array.from({ length: 200000 }, (_, at) => at % 251);
  socket.send(new Blob([sent]));
  const waiting = socket.bufferedAmount;
  const back = new Uint8Array(await heard(socket));
  const same = back.length === sent.length && back.every((byte, at) => byte === sent[at]);
  socket.send("end");
  const end = await ended(socket);
  const other = new WebSocket("ws://localhost:8000/other");
  await heard(other);
  other.close(3000, "bye");
  const closed = await ended(other);
  const nobody = await ended(new WebSocket("ws://localhost:81/"));
  return [first, protocol, text, waiting, socket.bufferedAmount, same, end, closed, nobody,
    socket instanceof WebSocket, document.scripts.length];
}
talk().then(done, (error) => done(String(error)));
"""

PORTS = "return document.querySelector('container-terminal').ports"


@pytest.fixture(autouse=True)
def one_tab(page: Page) -> Iterator[None]:
    """Close what a test has opened."""
    first = page.driver.current_window_handle
    yield
    for handle in page.driver.window_handles:
        if handle != first:
            page.driver.switch_to.window(handle)
            page.driver.close()
    page.driver.switch_to.window(first)


@pytest.fixture(scope="module")
def container(page: Page, site: str) -> Page:
    """The page with a container that has servers."""
    page.open(site)
    page.wait_state("running")
    page.wait_text("browsermount:~#")
    page.script(
        "window.seen = [];"
        "document.addEventListener('port', ({ detail }) => window.seen.push(detail));"
    )
    # A program of its own: typed, the shell would take each line for a command.
    encoded = base64.b64encode(gzip.compress(SERVER.encode())).decode()
    run(page, f"echo {encoded} | base64 -d | gunzip > /tmp/s; sh /tmp/s")
    until(lambda: page.script(PORTS) == [8000, 8001])
    return page


def tab(page: Page) -> None:
    """Go to the tab that was opened."""
    until(lambda: len(page.driver.window_handles) == 2)
    page.driver.switch_to.window(page.driver.window_handles[-1])


def into_frame(page: Page) -> None:
    page.driver.switch_to.default_content()
    until(lambda: page.driver.find_elements(By.TAG_NAME, "iframe"))
    page.driver.switch_to.frame(page.driver.find_element(By.TAG_NAME, "iframe"))


def text(page: Page) -> str:
    return str(page.script("return document.body.innerText"))


def test_a_port_is_noticed_and_shown(container: Page) -> None:
    page = container
    assert page.script("return window.seen") == [
        {"port": 8000, "listening": True},
        {"port": 8001, "listening": True},
    ]
    assert "Port 8000: Open" in page.visible.replace("\n", " ")
    page.driver.find_element(By.CSS_SELECTOR, "[title$='port 8000']").click()
    # It is this origin's, and that is said first.
    assert "Open it only if you trust the image" in page.visible
    page.driver.find_element(By.CSS_SELECTOR, ".bm-link .bm-button").click()
    tab(page)
    into_frame(page)
    until(lambda: "404" in text(page) or "Index" in text(page))
    page.script("location.href = 'deep/'")
    until(lambda: page.script("return document.title").startswith(("done", "failed")))
    assert page.script("return document.title") == "done"
    assert page.script("return getComputedStyle(document.body.querySelector('p')).color") == (
        "rgb(1, 2, 3)"
    )
    assert page.script("return window.found") == [
        "<p id=p>about</p>\n",
        "POST 1 100000\n",
        "streams",
        "other\n",
        "404",
        "502",
        "unzipped\n",
    ]
    # Links and forms with absolute paths stay in the preview.
    page.driver.find_element(By.ID, "form").submit()
    until(lambda: "POST" in text(page))
    page.script("history.back()")
    until(lambda: page.driver.find_elements(By.ID, "away"))
    page.driver.find_element(By.ID, "away").click()
    until(lambda: text(page) == "about")
    page.script("location.href = '/about.html?again'")
    time.sleep(0.5)
    into_frame(page)
    until(lambda: text(page) == "about")
    assert page.script("return parent.opener") is None


def test_previews_on_another_origin(container: Page, site: str, tmp_path: Path) -> None:
    page = container
    for path in SITE.glob("preview*"):
        shutil.copy(path, tmp_path)
    with served(tmp_path) as other:
        page.script(
            "document.querySelector('container-terminal').setAttribute('preview', arguments[0])",
            other,
        )
        address = "document.querySelector('container-terminal').previewAddress(8000, '/deep/')"
        show = f"window.open({address})"
        # Its owner has not said that this site's containers may be shown there.
        page.script(show)
        tab(page)
        until(lambda: "does not answer" in text(page))
        page.driver.close()
        page.driver.switch_to.window(page.driver.window_handles[0])
        html = (SITE / "preview.html").read_text()
        changed = html.replace(
            'preview-for" content=""', f'preview-for" content="{site.rstrip("/")}"'
        )
        assert changed != html
        (tmp_path / "preview.html").write_text(changed)
        page.script(show)
        tab(page)
        into_frame(page)
        until(lambda: page.script("return document.title") == "done")
        assert page.script("return origin") == other.rstrip("/")
        assert page.script("return [parent.opener, top === parent]") == [None, True]


def test_a_server_that_has_ended(container: Page) -> None:
    page = container
    page.script("document.querySelector('container-terminal').removeAttribute('preview')")
    run(page, "killall busybox")
    until(lambda: page.script(PORTS) == [])
    assert page.script("return window.seen.slice(2)") == [
        {"port": 8000, "listening": False},
        {"port": 8001, "listening": False},
    ]
    page.script("window.open(document.querySelector('container-terminal').previewAddress(8000))")
    tab(page)
    into_frame(page)
    until(lambda: "listens at port 8000" in text(page))


def test_nobody_else_shows_pages_in_the_name_of_this_origin(
    page: Page, site: str, tmp_path: Path
) -> None:
    (tmp_path / "index.html").write_text("<!doctype html><title>evil</title>")
    with served(tmp_path) as evil:
        page.driver.get(evil)
        page.script(
            """
            window.asked = 0;
            window.addEventListener("message", () => window.asked += 1);
            const id = "0".repeat(32);
            const other = window.open(`${arguments[0]}preview.html?id=${id}&port=80`);
            setInterval(() => {
              const { port2 } = new MessageChannel();
              other.postMessage({ type: "browsermount-preview-port", id }, "*", [port2]);
            }, 100);
            """,
            site,
        )
        tab(page)
        until(lambda: "does not answer" in text(page))
        assert not page.driver.find_elements(By.TAG_NAME, "iframe")
        page.driver.switch_to.window(page.driver.window_handles[0])
        assert page.script("return window.asked") == 0


def test_websockets(page: Page, site: str, images: str) -> None:
    page.open(f"{site}?image={images}foreign/amd64")
    page.wait_state("running")
    page.wait_text("#")
    encoded = base64.b64encode(CHAT.encode()).decode()
    run(page, f"echo {encoded} | base64 -d > /tmp/chat; perl /tmp/chat & {LISTENS}", 60)
    page.script("window.open(document.querySelector('container-terminal').previewAddress(8000))")
    tab(page)
    into_frame(page)
    until(lambda: page.script("return document.title") == "chat", 30)
    assert page.script("return mode") == "CSS1Compat"
    page.driver.set_script_timeout(60)
    assert page.driver.execute_async_script(TALK) == [
        "GET /chat?a=b HTTP/1.1 http://localhost:8000",
        "v2",
        "grüße",
        200_000,
        0,
        True,
        [4001, "over", True],
        [3000, "bye", True],
        [1006, "", False],
        True,
        1,
    ]
