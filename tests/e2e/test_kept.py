"""What is fetched, and what is kept for the next visit, as a person meets it in Chromium."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from browsermount.blobs.store import COMMIT_SECONDS
from tests.e2e.browser import Page
from tests.fixtures import fixture
from tests.servers.nginx import Nginx, nginx

PROMPT = "~ #"
LAST_WORDS = "29999: all work and no play"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    with nginx(tmp_path_factory.mktemp("nginx"), fixture("lazy")) as running:
        yield running


def start(page: Page, url: str) -> None:
    page.open(url)
    page.wait_state("running", 90)
    page.wait_text(PROMPT, 60)


def fetched(server: Nginx, since: int) -> int:
    """Return how many bytes of blobs have come since an earlier number of answers."""
    return sum(size for path, _, size in server.answers[since:] if "/blobs/" in path)


def test_files_are_fetched_when_they_are_read(page: Page, site: str, server: Nginx) -> None:
    page.forget(site)
    url = f"{site}?fetch=read&image={server.url}/estargz"
    start(page, url)
    before = len(server.answers)
    assert "the rest is fetched when it is read" in page.visible
    page.type("tail -n 1 /data/linked-words\r")
    page.wait_text(LAST_WORDS)
    assert fetched(server, before) > 0
    page.type("wc -c < /data/noise; echo done\r")
    page.wait_text("300000")
    # Another visit has what this one has read, once that is in the catalog.
    time.sleep(2 * COMMIT_SECONDS)
    page.driver.get("about:blank")
    before = len(server.answers)
    start(page, url)
    page.type("tail -n 1 /data/linked-words; wc -c < /data/noise\r")
    page.wait_text("300000")
    assert fetched(server, before) < 10_000


def test_the_rest_comes_while_the_container_is_idle(page: Page, site: str, server: Nginx) -> None:
    page.forget(site)
    start(page, f"{site}?image={server.url}/zstd-chunked")
    page.wait_visible("all here")
    page.wait_visible("Kept in this browser")
    # Without the network everything is still there, on another visit too.
    server.kill()
    try:
        start(page, f"{site}?image={server.url}/zstd-chunked")
        page.type("tail -n 1 /data/linked-words\r")
        page.wait_text(LAST_WORDS)
    finally:
        server.start()
    page.script("document.querySelector('.bm-kept button').click()")
    page.wait_visible("Kept in this browser")


KEPT_FILES = """
const [name, done] = arguments;
(async () => {
  const root = await navigator.storage.getDirectory();
  const names = [];
  for await (const each of (await root.getDirectoryHandle("browsermount")).keys())
    if (each.includes(name)) names.push(each.slice(each.lastIndexOf(".") + 1));
  return names.sort();
})().then(done, (error) => done(String(error)));
"""


def test_a_layer_that_is_begun_before_python_is_there(
    page: Page, site: str, tmp_path: Path
) -> None:
    """It comes once, is kept as the browser has decompressed it, and is all there later."""
    layout = fixture("foreign") / "amd64"
    (layer,) = (path for path in layout.glob("blobs/*/*") if path.stat().st_size > 1 << 20)
    with nginx(tmp_path / "nginx", layout) as server:
        page.forget(site)
        url = f"{site}?warm=no&image={server.url}/"
        page.open(url)
        page.wait_state("running", 90)
        page.wait_visible("all here")
        assert [path for path, *_ in server.answers if layer.name in path] == [
            f"/blobs/sha256/{layer.name}"
        ]
        wanted = ["index", "plain"]
        page.wait(lambda: page.driver.execute_async_script(KEPT_FILES, layer.name) == wanted)
        # What is said to be here is in the catalog soon.
        time.sleep(2 * COMMIT_SECONDS)
        server.kill()
        page.open(url)
        page.wait_state("running", 90)
        page.type("clear; sha256sum /usr/bin/* > /dev/null; echo st''atus $?\r")
        page.wait_text("status 0", 60)


def test_a_table_of_contents_that_nobody_vouches_for(page: Page, site: str, server: Nginx) -> None:
    page.forget(site)
    image = f"{server.url}/estargz-unverified"
    start(page, f"{site}?toc=unverified&fetch=read&image={image}")
    assert "the rest is fetched when it is read" in page.visible
    page.forget(site)
    start(page, f"{site}?fetch=read&image={image}")
    assert "all here" in page.visible


def test_two_tabs_share_what_is_kept(page: Page, site: str, server: Nginx) -> None:
    page.forget(site)
    url = f"{site}?image={server.url}/original"
    start(page, url)
    first = page.driver.current_window_handle
    page.driver.switch_to.new_window("tab")
    try:
        before = len(server.answers)
        start(page, url)
        page.type("tail -n 1 /data/linked-words\r")
        page.wait_text(LAST_WORDS)
        assert fetched(server, before) < 1000
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)
    page.type("tail -n 1 /data/linked-words\r")
    page.wait_text(LAST_WORDS)


def test_a_browser_that_leaves_little_room(fresh: Page, site: str, server: Nginx) -> None:
    less = {"origin": site.rstrip("/"), "quotaSize": 600_000}
    fresh.driver.execute_cdp_cmd("Storage.overrideQuotaForOrigin", less)
    start(fresh, f"{site}?image={server.url}/original")
    fresh.type("tail -n 1 /data/linked-words; wc -c < /data/noise\r")
    fresh.wait_text("300000")
    assert LAST_WORDS in fresh.text
    # It is said again a while after the image has changed what is kept.
    fresh.wait(lambda: "kB" in fresh.script(KEPT))


KEPT = "return document.querySelector('.bm-kept').innerText"

# How many have, and how many wait for, the lock that all tabs share.
LOCKS = """
const done = arguments[0];
navigator.locks.query().then(({ held, pending }) => done([held.length, pending.length]));
"""


def test_a_quota_that_is_used_up_later_keeps_nobody_waiting(fresh: Page, site: str) -> None:
    fresh.open(f"{site}?fetch=read")
    fresh.wait_text("browsermount:~#", 60)
    time.sleep(2 * COMMIT_SECONDS)
    # Less than what is kept: not even the catalog can be written any more.
    # Less than what is kept: not even the catalog can be written any more.
    less = {"origin": site.rstrip("/"), "quotaSize": 1000}
    fresh.driver.execute_cdp_cmd("Storage.overrideQuotaForOrigin", less)
    fresh.type("cat /usr/bin/* /usr/games/* > /dev/null; echo re''ad\r")
    fresh.wait_text("\nread\n")
    time.sleep(COMMIT_SECONDS + 1)
    assert fresh.driver.execute_async_script(LOCKS) == [0, 0]
    # Another start is not kept waiting either.
    fresh.open(f"{site}?fetch=read")
    fresh.wait_text("browsermount:~#", 60)
    fresh.type("cat /usr/bin/* /usr/games/* > /dev/null; echo re''ad\r")
    fresh.wait_text("\nread\n")


def test_a_tab_that_never_gives_the_lock_back_stops_no_other(
    page: Page, site: str, server: Nginx
) -> None:
    page.forget(site)
    page.driver.get(f"{site}LICENSE.txt")
    hold = "navigator.locks.request('browsermount-store', () => new Promise(() => {}))"
    first = page.driver.current_window_handle
    page.script(hold)
    page.driver.switch_to.new_window("tab")
    try:
        start(page, f"{site}?fetch=read&image={server.url}/original")
        page.type("tail -n 1 /data/linked-words\r")
        page.wait_text(LAST_WORDS)
        time.sleep(1)
        # Whoever waits for it to write the catalog gives up after a while.
        assert page.driver.execute_async_script(LOCKS)[1] > 0
        page.wait(lambda: page.driver.execute_async_script(LOCKS) == [1, 0])
    finally:
        page.driver.close()
        page.driver.switch_to.window(first)
