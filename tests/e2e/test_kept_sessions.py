"""What a person does with sessions that the browser keeps, and with a container's files."""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

import pexpect

from browsermount.cli import main
from tests.e2e.browser import Page
from tests.e2e.test_sessions import PROMPT, wait_saved
from tests.fixtures import fixture

IMAGE = Path(__file__).resolve().parents[2] / "web" / "images" / "default"
RUN = [sys.executable, "-m", "browsermount", "run"]

# Another build's state: only the header says so.
_OTHER_BUILD = """
const done = arguments[arguments.length - 1];
(async () => {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle("browsermount-sessions");
  for await (const [name, handle] of folder.entries()) {
    const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
    const view = new DataView(bytes.buffer);
    const length = view.getUint32(12, true);
    const header = JSON.parse(new TextDecoder().decode(bytes.subarray(48, 48 + length)));
    header.machine.recipe = "of another build";
    const text = new TextEncoder().encode(JSON.stringify(header));
    view.setUint32(12, text.length, true);
    bytes.set(new Uint8Array(await crypto.subtle.digest("SHA-256", text)), 16);
    const output = await handle.createWritable();
    await output.write(new Blob([bytes.subarray(0, 48), text, bytes.subarray(48 + length)]));
    await output.close();
  }
  done("");
})().catch((error) => done(String(error)));
"""
# The last state's parts, by name.
_PARTS = """
const done = arguments[arguments.length - 1];
(async () => {
  const root = await navigator.storage.getDirectory();
  const folder = await root.getDirectoryHandle("browsermount-sessions");
  const states = [];
  for await (const [, handle] of folder.entries()) {
    const bytes = new Uint8Array(await (await handle.getFile()).arrayBuffer());
    const length = new DataView(bytes.buffer).getUint32(12, true);
    states.push(JSON.parse(new TextDecoder().decode(bytes.subarray(48, 48 + length))));
  }
  states.sort((one, other) => other.saved - one.saved);
  done(states[0].sections.map(({ name }) => name));
})().catch((error) => done(String(error)));
"""
_BUTTON = """
const [text, within] = arguments;
const buttons = document.querySelectorAll(`container-terminal ${within} button`);
const found = [...buttons].find((button) => button.textContent === text);
found?.click();
return found !== undefined;
"""
_OPEN = """
const items = [...document.querySelectorAll(".bm-sessions li")];
const item = items.find((item) => item.querySelector("strong")?.textContent === arguments[0]);
const buttons = [...(item?.querySelectorAll("button") ?? [])];
const found = buttons.find((button) => button.textContent === "Open");
found?.click();
return found !== undefined;
"""


def press(page: Page, text: str, within: str = "") -> None:
    page.wait(lambda: page.script(_BUTTON, text, within))


def open_kept(page: Page, name: str) -> None:
    """Open a session of the list, when it is there."""
    page.wait(lambda: page.script(_OPEN, name))


def allow_downloads(page: Page, folder: Path) -> None:
    page.driver.execute_cdp_cmd(
        "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(folder)}
    )


def parts(page: Page) -> list[str]:
    """Return what the last saved state consists of."""
    found = page.driver.execute_async_script(_PARTS)
    assert isinstance(found, list), found
    return found


def downloaded(page: Page, folder: Path, name: str) -> Path:
    """Return a file that the page has downloaded, when it is complete."""
    page.wait((folder / name).exists)
    return folder / name


def go_on(page: Page, line: str, expected: str) -> None:
    """Use a session that has been opened."""
    page.wait_state("running", 90)
    page.type(f"{line}\r")
    page.wait_text(f"\n{expected}")


def in_terminal(state: Path, *arguments: object, shown: str, before: str) -> None:
    """Start a session in the terminal or go on with one, give its shell a value, and save it.

    Args:
        state: Where it is saved.
        arguments: Of ``run``.
        shown: What its shell shows.
        before: The value that it has.
    """
    command = [*RUN[1:], "--save", str(state), *map(str, arguments)]
    process = pexpect.spawn(RUN[0], command, timeout=60)
    process.expect_exact(shown)
    process.expect_exact("# ")
    process.sendline('echo "<$X, $(cat /root/file)>"; X="in the terminal"')
    process.expect_exact(f"<{before}")
    process.expect_exact("# ")
    process.send("\x10\x11")
    process.expect(pexpect.EOF)
    process.close()
    assert process.exitstatus == 0


def test_a_session_and_its_files(fresh: Page, site: str, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    allow_downloads(fresh, folder)
    fresh.open(f"{site}?session=mine")
    fresh.wait_state("running", 90)
    fresh.wait_text(PROMPT)
    fresh.type("X=typed; echo hello > /root/file; rm /usr/bin/wc; echo do''ne\r")
    fresh.wait_text("\ndone")
    wait_saved(fresh)

    # The files, and an image.
    press(fresh, "Save")
    press(fresh, "Download changes")
    with tarfile.open(downloaded(fresh, folder, "default-changes.tar")) as changes:
        content = changes.extractfile("root/file")
        assert content is not None
        assert content.read() == b"hello\n"
        assert "usr/bin/.wh.wc" in changes.getnames()
    press(fresh, "Image as a file")
    image = str(downloaded(fresh, folder, "default.tar"))
    assert main(["cat", image, "/root/file"]) == 0
    assert main(["cat", image, "/etc/os-release"]) == 0
    assert main(["cat", image, "/usr/bin/wc"]) != 0

    # Exported, deleted, and opened from its file; while another tab has it, nothing is done to it.
    fresh.open(site)
    fresh.wait_state("running", 90)
    press(fresh, "Save")
    press(fresh, "Export", ".bm-sessions")
    state = downloaded(fresh, folder, "mine.state")
    press(fresh, "Delete", ".bm-sessions")
    press(fresh, "Delete it", ".bm-sessions")
    fresh.wait_visible("None is kept.")
    choose(fresh, state)
    fresh.wait_visible("A session is code")
    press(fresh, "Keep it", ".bm-question")
    open_kept(fresh, "mine")
    go_on(fresh, 'echo "<$X, $(cat /root/file)>"', "<typed, hello>")
    assert "This session goes on as it was on" in fresh.visible

    # Another build of the site: files are laid over the image, and what was saved is there.
    fresh.driver.get("about:blank")
    fresh.driver.get(f"{site}LICENSE.txt")
    assert fresh.driver.execute_async_script(_OTHER_BUILD) == ""
    fresh.open(f"{site}?session=mine")
    fresh.wait_state("running", 90)
    fresh.wait_visible("was started anew, with its files as they were on")
    assert "it has another recipe" in fresh.visible
    fresh.wait_text(PROMPT)
    go_on(fresh, 'echo "<$X, $(cat /root/file), $(ls /usr/bin/wc)>"', "<, hello, >")
    press(fresh, "Save")
    fresh.wait_visible("mine.before")
    fresh.wait_visible("of another build: it has another recipe")

    # That session, which has files below it, in the terminal; and one of the terminal's here.
    fresh.type("X=later; echo typed''-later\r")
    fresh.wait_text("typed-later")
    wait_saved(fresh)
    fresh.open(site)
    fresh.wait_state("running", 90)
    press(fresh, "Save")
    (folder / "mine.state").unlink()
    fresh.wait(lambda: fresh.visible.count("Export") == 2)
    press(fresh, "Export", ".bm-sessions")
    state = downloaded(fresh, folder, "mine.state")
    later = folder / "later.state"
    in_terminal(later, "--resume", state, IMAGE, shown="typed-later", before="later, hello")
    choose(fresh, later)
    press(fresh, "Keep it", ".bm-question")
    open_kept(fresh, "later")
    go_on(fresh, 'echo "<$X, $(cat /root/file), back>"', "<in the terminal, hello, back>")


def choose(page: Page, file: Path) -> None:
    page.driver.find_element("css selector", ".bm-sessions input[type=file]").send_keys(str(file))


def test_files_alone(fresh: Page, site: str, tmp_path: Path) -> None:
    folder = tmp_path / "downloads"
    allow_downloads(fresh, folder)
    url = f"{site}?session=mine&persist=files"
    fresh.open(url)
    fresh.wait_state("running", 90)
    fresh.wait_text(PROMPT)
    fresh.type("echo first > /root/file; ln /root/file /root/name; rm /usr/bin/wc; exit 3\r")
    fresh.wait_state("exited")
    # They are here for the next container, and at the next visit.
    press(fresh, "Start again")
    fresh.wait_state("running", 90)
    fresh.wait_visible("The files of this session are here as they were on")
    fresh.wait_text(PROMPT)
    fresh.type("cat /root/file; ls /usr/bin/wc; echo second > /root/other; rm /root/file; exit 3\r")
    fresh.wait_state("exited")
    assert "\nfirst\n" in fresh.text
    assert parts(fresh) == ["layer.0", "layer.1"]
    fresh.open(url)
    fresh.wait_state("running", 90)
    fresh.wait_text(PROMPT)
    go_on(fresh, "cat /root/name /root/other | tr '\\n' ' '", "first second")
    # What lies over the image has become one, beside what is new.
    fresh.type("echo third > /root/third; exit 3\r")
    fresh.wait_state("exited")
    assert parts(fresh) == ["layer.0", "layer.1"]
    press(fresh, "Start again")
    fresh.wait_state("running", 90)
    fresh.wait_text(PROMPT)
    go_on(fresh, "cat /root/name /root/other /root/third | tr '\\n' ' '", "first second third")
    press(fresh, "Save")
    press(fresh, "Download changes")
    with tarfile.open(downloaded(fresh, folder, "default-changes.tar")) as changes:
        assert {"root/.wh.file", "root/name", "root/third", "usr/bin/.wh.wc"} <= set(
            changes.getnames()
        )
    press(fresh, "Close")
    press(fresh, "Start afresh")
    fresh.wait_state("running", 90)
    fresh.wait_text(PROMPT)
    go_on(fresh, "ls /root/file /usr/bin/wc 2>&1", "/usr/bin/wc")


def test_on_the_64_bit_machine(fresh: Page, site: str, images: str, tmp_path: Path) -> None:
    image = f"{images}foreign/amd64"
    url = f"{site}?session=mine&image={image}"
    fresh.open(url)
    fresh.wait_state("running", 90)
    fresh.wait_text(":/#")
    fresh.type("X='as typed'; echo shown''-before\r")
    fresh.wait_text("shown-before")
    wait_saved(fresh)
    fresh.open(url)
    fresh.wait_state("running", 90)
    fresh.wait_text("shown-before")
    assert "This session goes on as it was on" in fresh.visible
    fresh.type('echo "<$X>" $(ls / | wc -l)-files\r')
    assert "as typed" in fresh.wait_text("-files")

    # Another image under the same name does not get this one's state.
    fresh.open(f"{site}?session=mine")
    fresh.wait_state("running", 90)
    fresh.wait_text(PROMPT, 90)
    assert "cannot go on, and the image was started anew" in fresh.visible
    assert "another image" in fresh.visible

    # What was set aside goes on in the terminal, and what was started there in the page.
    folder = tmp_path / "downloads"
    allow_downloads(fresh, folder)
    press(fresh, "Save")
    press(fresh, "Export", ".bm-sessions")
    state = downloaded(fresh, folder, "mine.before.state")
    where = fixture("foreign") / "amd64"
    later = folder / "later.state"
    in_terminal(later, "--resume", state, where, shown="shown-before", before="as typed")
    in_terminal(later, "-it", where, shown=":/", before=", ")
    choose(fresh, later)
    fresh.wait_visible("A session is code")
    fresh.script("document.querySelector('.bm-question input').value = arguments[0]", image)
    press(fresh, "Keep it", ".bm-question")
    open_kept(fresh, "later")
    go_on(fresh, 'echo "<$X, back>"', "<in the terminal, back>")
