"""The page in browsers of the two other engines, on a desk and on a phone."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from selenium.webdriver.common.by import By

from tests.core.images import Layout, member, symlink, tar
from tests.e2e.browser import Page
from tests.e2e.firefox import Firefox, firefox
from tests.e2e.test_foreign_machine import address, start, use
from tests.e2e.test_kept_sessions import open_kept, press
from tests.e2e.test_sessions import wait_saved
from tests.e2e.webkit import webkit
from tests.fixtures import fixture
from tests.servers import breaking, served

from ..cli.test_reading import write

DESK = (1280, 800)
PHONE = (390, 844)


@pytest.fixture(scope="module", params=["firefox", "webkit"])
def browser(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """A browser that has never been here."""
    if request.param == "firefox":
        with firefox(tmp_path_factory.mktemp("firefox")) as driver:
            yield Page(driver)
    else:
        with webkit() as other:
            yield Page(other)


@pytest.fixture(params=[DESK, PHONE], ids=["desk", "phone"])
def sized(request: pytest.FixtureRequest, browser: Page) -> Iterator[Page]:
    browser.driver.set_window_size(*request.param)
    yield browser
    browser.driver.set_window_size(*DESK)


def at_prompt(page: Page, site: str) -> None:
    page.open(site)
    page.wait_state("running", 120)
    page.wait_text("browsermount:~#", 60)


def test_a_shell(sized: Page, site: str) -> None:
    at_prompt(sized, site)
    sized.type("clear; echo $((6*7)) ü€😀; stty size\r")
    text = sized.wait_text("42 ü€😀\n")
    size = sized.script(
        "const t = document.querySelector('container-terminal').terminal; return [t.rows, t.cols]"
    )
    sized.wait_text(f"\n{size[0]} {size[1]}\n")
    assert text
    # All of it is to be seen, and nothing goes beyond the window.
    beyond = "const e = document.documentElement; return [e.scrollWidth - e.clientWidth, "
    assert sized.script(f"{beyond}e.scrollHeight - e.clientHeight]") == [0, 0]
    assert size[1] >= 38
    sized.type("exit 3\r")
    sized.wait_state("exited")
    assert "exit code 3." in sized.visible


def test_a_shell_of_an_amd64_image(browser: Page, site: str, images: str) -> None:
    browser.open(f"{site}?image={images}foreign/amd64")
    browser.wait_state("running", 120)
    browser.wait_text("#", 60)
    # The page makes a certificate when the file is read.
    browser.type("clear; [[ $(<$SSL_CERT_FILE) == *'END CERTIFICATE'* ]]; echo read: $?\r")
    browser.wait_text("\nread: 0\n")
    # Long enough for code to be compiled.
    browser.type("uname -m; i=0; while [ $i -lt 3000 ]; do i=$((i+1)); done; echo $i; exit 6\r")
    browser.wait_state("exited", 60)
    assert "\nx86_64\n3000\n" in browser.text
    assert "exit code 6." in browser.visible


def test_a_window_that_changes_its_size(browser: Page, site: str) -> None:
    at_prompt(browser, site)
    cols = "return document.querySelector('container-terminal').terminal.cols"
    before = browser.script(cols)
    browser.driver.set_window_size(*PHONE)
    try:
        browser.wait(lambda: browser.script(cols) != before)
        after = browser.script(cols)
        assert after < before
        browser.type("clear; stty size | cut -d ' ' -f 2\r")
        browser.wait_text(f"\n{after}\n")
    finally:
        browser.driver.set_window_size(*DESK)


def test_much_output_and_a_paste(browser: Page, site: str) -> None:
    at_prompt(browser, site)
    browser.type("clear; seq 1 3000\r")
    lines = browser.wait_text("\n3000\n", 60).split("\n")
    assert [line for line in lines if line.isdigit()][-3000:] == [str(i) for i in range(1, 3001)]
    browser.paste("echo pasted\x1b[201~\recho by-itself-$((6*7))\r")
    browser.wait_text("by-itself-$((6*7))")
    browser.type("\x03clear; sleep 0.5; echo en''d\r")
    assert "by-itself-42" not in browser.wait_text("\nend\n")


def test_programs(browser: Page, site: str) -> None:
    at_prompt(browser, site)
    browser.type("clear; echo 'print(2^10)' > a.lua; lua a.lua; echo '1+1;' | js; echo en''d\r")
    assert "1024" in browser.wait_text("\nend\n", 60)


@pytest.mark.parametrize("form", [b"gzip", b"plain"])
def test_an_image_of_another_origin(browser: Page, site: str, tmp_path: Path, form: bytes) -> None:
    busybox = (fixture("busybox") / "busybox").read_bytes()
    layer = tar(
        member("bin/busybox", busybox, mode=0o755),
        symlink("bin/sh", "busybox"),
        member("which", form),
    )
    write(Layout().add(layer, compress=form == b"gzip"), tmp_path / "image")
    with served(tmp_path) as url:
        browser.open(f"{site}?image={url}image")
        browser.wait_state("running", 120)
        browser.type("busybox cat /which; echo\r")
        browser.wait_text(f"\n{form.decode()}\n")


def test_an_image_that_is_not_there(browser: Page, site: str) -> None:
    text = browser.failure(f"{site}?image=images/nothing/")
    assert "images/nothing/" in text
    assert "Try again" in text


def test_a_server_that_refuses(browser: Page, site: str, tmp_path: Path) -> None:
    write(Layout().add(tar()), tmp_path)
    with served(tmp_path, cors=False) as url:
        # Sooner than after the time for which a server may keep silent.
        assert "Access-Control-Allow-Origin" in browser.failure(f"{site}?image={url}", 25)


def test_a_server_that_is_not_there(browser: Page, site: str, tmp_path: Path) -> None:
    with served(tmp_path) as url:
        pass
    assert "Cannot reach" in browser.failure(f"{site}?image={url}", 25)


def test_a_server_that_goes_away(browser: Page, site: str, tmp_path: Path) -> None:
    layer = tar(member("noise", random.Random(1).randbytes(3 << 20)))
    write(Layout().add(layer, compress=False), tmp_path)
    with breaking(tmp_path) as url:
        assert "connection broke" in browser.failure(f"{site}?image={url}")


EXCHANGE = """
return (async () => {
  const module = await import("/container-terminal.js");
  const file = await module.exportSession("renamed");
  await module.deleteSession("renamed");
  const none = await module.listSessions();
  await module.importSession(file, "imported");
  const [{ name, size }] = await module.listSessions();
  return [none.length, name, size === file.size];
})();
"""


def test_sessions_that_are_kept(browser: Page, site: str) -> None:
    at_prompt(browser, f"{site}?session=mine")
    if not browser.script("return navigator.storage !== undefined"):
        # So it is in WebKitGTK.
        assert "This session is not kept: this browser keeps no files for pages." in browser.visible
        return
    browser.type("clear; X=typed; echo do''ne\r")
    browser.wait_text("\ndone\n")
    wait_saved(browser)
    at_prompt(browser, site)
    press(browser, "Save")
    press(browser, "Rename", ".bm-sessions")
    browser.script("document.querySelector('.bm-sessions li input').value = 'renamed'")
    press(browser, "Rename", ".bm-sessions form")
    browser.wait(lambda: browser.script(f"return {LISTED}?.textContent") == "renamed")
    assert browser.script(EXCHANGE) == [0, "imported", True]
    # Once more in the panel, which looks at what there is.
    press(browser, "Close")
    press(browser, "Save")
    open_kept(browser, "imported")
    browser.wait_state("running", 120)
    browser.type('echo "<$X>"\r')
    browser.wait_text("\n<typed>")


LISTED = "document.querySelector('.bm-sessions li strong')"

NETWORK = """
const element = document.querySelector("container-terminal");
element.setAttribute("network", "all");
element.open();
"""
ASK = """
window.answer = undefined;
document.querySelector("container-terminal").fetch("http://localhost:8000/data")
  .then(async (response) => {
    const bytes = new Uint8Array(await response.arrayBuffer());
    window.answer = `${response.status} ${bytes.reduce((sum, byte) => (sum * 31 + byte) % 65521)}`;
  }, (error) => { window.answer = String(error); });
"""

# A page that says whether it has been given our WebSocket, and how one to nobody ends.
SHOWN = """
<title>begun</title><script>
  const closed = ({ code }) => { document.title = `${/WebSocket/.test(WebSocket)} ${code}`; };
  new WebSocket("ws://localhost:81/").onclose = closed;
</script><p>shown
"""
IN_FRAME = "return document.querySelector('iframe')?.contentDocument"


def click(page: Page, selector: str) -> None:
    if isinstance(page.driver, Firefox):
        page.script("document.querySelector(arguments[0]).click()", selector)
    else:  # which lets no script open tabs
        page.driver.find_element(By.CSS_SELECTOR, selector).click()


def see_preview(page: Page) -> None:
    """Open the tab that the page offers, and look at what it shows."""
    page.wait(lambda: page.script("return !!document.querySelector(\"[title$='port 8000']\")"))
    click(page, "[title$='port 8000']")
    click(page, ".bm-link .bm-button")
    driver, own = page.driver, page.driver.current_window_handle
    page.wait(lambda: len(driver.window_handles) == 2)
    (tab,) = set(driver.window_handles) - {own}
    driver.switch_to.window(tab)
    try:
        page.wait(lambda: page.script(f"{IN_FRAME}?.title") == "false 1006")
        assert page.script(f"{IN_FRAME}.body.innerText.trim()") == "shown"
    finally:
        driver.close()
        driver.switch_to.window(own)


def test_the_network_out_and_in(browser: Page, site: str, tmp_path: Path) -> None:
    data = random.Random(4).randbytes(2 << 20)
    shown = base64.b64encode(SHOWN.encode()).decode()
    (tmp_path / "data").write_bytes(data)
    at_prompt(browser, site)
    browser.script(NETWORK)
    browser.wait_state("running", 120)
    browser.wait_text("browsermount:~#", 60)
    with served(tmp_path) as url:
        port = url.rstrip("/").rpartition(":")[2]
        browser.type(
            f"clear; mkdir w; cd w; busybox wget -q http://host.containers.internal:{port}/data; "
            f"sha256sum data; echo {shown} | base64 -d > index.html; "
            "busybox httpd -p 8000; echo en''d\r"
        )
        assert hashlib.sha256(data).hexdigest() in browser.wait_text("\nend\n", 60)
    total = data[0]
    for byte in data[1:]:
        total = (total * 31 + byte) % 65521
    browser.script(ASK)
    browser.wait(lambda: browser.script("return window.answer !== undefined"))
    assert browser.script("return window.answer") == f"200 {total}"
    see_preview(browser)


def test_a_machine_of_others(browser: Page, site: str, images: str, machines: str) -> None:
    start(browser, address(site, images, f"{machines}out.wasm"))
    use(browser)
