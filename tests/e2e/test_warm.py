"""Containers that go on at their prompt: the site's, and those of a second visit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from tests.cli.test_reading import write
from tests.core.images import Layout, member, symlink, tar
from tests.e2e.browser import Page, until
from tests.fixtures import fixture
from tests.servers import served

NOTE = "What was kept of this image cannot go on, and it was started anew"

# What the page tells its workers.
_POSTED = """
window.posted = [];
const { postMessage } = Worker.prototype;
Worker.prototype.postMessage = function (message, ...more) {
  window.posted.push(message.type);
  postMessage.call(this, message, ...more);
};
"""
_KEPT = (
    "return JSON.parse(localStorage['browsermount-warm-states'] ?? '[]').map(({ file }) => file)"
)
_DAMAGE = """
const [file, done] = arguments;
(async () => {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle("browsermount-warm");
  const handle = await folder.getFileHandle(file);
  const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
  bytes[bytes.length - 5000] ^= 1;
  const output = await handle.createWritable();
  await output.write(bytes);
  await output.close();
  done("");
})().catch((error) => done(String(error)));
"""


@pytest.fixture
def watched(fresh: Page) -> Page:
    fresh.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", {"source": _POSTED})
    return fresh


def visit(page: Page, url: str, *, prompt: str) -> bool:
    """Open a page and use its shell; return whether that was started."""
    page.open(url)
    page.wait_state("running", 60)
    page.wait_text(prompt, 60)
    return "start" in page.script("return window.posted")


def wait_kept(page: Page, but: str = "") -> str:
    """Wait until the browser has kept a container at its prompt, and return the file."""

    def kept() -> list[str]:
        names: list[str] = page.script(_KEPT)
        return [] if names == [but] else names

    return until(kept, seen=lambda: page.text)[-1]


def answers(page: Page, command: str, expected: str) -> None:
    page.type(f"{command}\r")
    page.wait_text(expected)


def test_the_default_image(watched: Page, site: str) -> None:
    assert not visit(watched, site, prompt="browsermount:~#")
    size = "const t = document.querySelector('container-terminal').terminal; "
    rows_and_columns = watched.script(f"{size} return `${{t.rows}} ${{t.cols}}`")
    now = watched.script("return Math.floor(Date.now() / 1000)")
    answers(
        watched,
        'echo "is $(stty size), $(($(date +%s) - NOW < 60))"'.replace("NOW", str(now)),
        f"\nis {rows_and_columns}, 1",
    )
    answers(watched, "ls /usr/games > /tmp/games && echo the''re", "\nthere")
    # Each script is a request that the start waits for.
    scripts = watched.script(
        "return performance.getEntriesByType('resource').map(({ name }) => name)"
        ".filter((name) => name.endsWith('.js'))"
    )
    assert len(scripts) < 7, scripts
    assert NOTE not in watched.text
    assert watched.script(_KEPT) == []
    # Afresh, and where that is asked for, it is started.
    watched.script("document.querySelector('container-terminal').restart()")
    watched.wait_state("running")
    watched.wait_text("browsermount:~#")
    assert "start" in watched.script("return window.posted")
    answers(watched, "ls /tmp/games; echo do''ne", "No such file")
    assert visit(watched, f"{site}?warm=no", prompt="browsermount:~#")


def image(folder: Path, word: str) -> None:
    """Write an image whose shell's prompt is a word."""
    shutil.rmtree(folder, ignore_errors=True)
    busybox = (fixture("busybox") / "busybox").read_bytes()
    layer = tar(
        member("bin/busybox", busybox, mode=0o755),
        symlink("bin/sh", "busybox"),
        symlink("bin/cat", "busybox"),
        member("word", word.encode()),
    )
    config = {"Cmd": ["sh"], "Env": [f"PS1={word} # "]}
    write(Layout().add(layer, platform="linux/amd64", config=config), folder)


def test_a_second_visit(watched: Page, site: str, tmp_path: Path) -> None:
    image(tmp_path / "image", "first")
    with served(tmp_path) as server:
        url = f"{site}?image={server}image"
        assert visit(watched, url, prompt="first #")
        file = wait_kept(watched)
        assert not visit(watched, url, prompt="first #")
        answers(watched, "X=typed; cat /word; echo; echo re''ad", "\nread")
        # What was done there is not a part of it.
        assert not visit(watched, url, prompt="first #")
        answers(watched, 'echo "<$X>"', "\n<>")
        # A damaged one is passed over, and another one kept.
        watched.driver.get("about:blank")
        watched.driver.get(f"{site}LICENSE.txt")
        assert watched.driver.execute_async_script(_DAMAGE, file) == ""
        watched.open(url)
        watched.wait_text(NOTE, 60)
        watched.wait_text("first #")
        assert "damaged" in watched.text
        file = wait_kept(watched, but=file)
        assert not visit(watched, url, prompt="first #")

        # Under its name is another image now.
        image(tmp_path / "image", "second")
        watched.open(url)
        watched.wait_text(NOTE, 60)
        watched.wait_text("second #", 60)
        assert "first" not in watched.text
        answers(watched, "cat /word; echo; echo re''ad", "\nread")
        assert "\nsecond\n" in watched.text
        # What is asked for decides, too.
        assert visit(watched, f"{url}&hostname=box", prompt="second #")
