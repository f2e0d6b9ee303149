"""From a page to a shell and back to an exit code, in headless Chromium."""

from __future__ import annotations

import itertools
import re
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

import pytest
from selenium.webdriver import ActionChains, Keys

from browsermount.cli import main
from tests.cli.test_reading import write
from tests.core.images import Layout, member, symlink, tar
from tests.e2e.browser import Page, until
from tests.fixtures import fixture
from tests.servers import breaking, served

ROOT = Path(__file__).resolve().parents[2]
DEFAULT = ROOT / "web" / "images" / "default"
SITE = ROOT / "dist" / "site"


@pytest.fixture(scope="module")
def shell(page: Page, site: str) -> Page:
    """The default image's shell, which the tests of this module leave at its prompt."""
    page.open(site)
    page.wait_state("running")
    page.wait_text("browsermount:~#")
    return page


PASTE_EVENT = """
const data = new DataTransfer();
data.setData("text/plain", arguments[0]);
const event = new ClipboardEvent("paste", { clipboardData: data, bubbles: true, cancelable: true });
document.querySelector("container-terminal textarea").dispatchEvent(event);
"""

SELECT = """
const { terminal } = document.querySelector("container-terminal");
const { active } = terminal.buffer;
for (let y = active.length - 1; y >= 0; y -= 1) {
  const column = active.getLine(y).translateToString(true).indexOf(arguments[0]);
  if (column >= 0) return terminal.select(column, y, arguments[0].length);
}
throw new Error("it is not there");
"""


WHERE = """
const element = document.querySelector("container-terminal");
const { active } = element.terminal.buffer;
const { left, top, width, height } = element.querySelector(".xterm-screen").getBoundingClientRect();
for (let y = active.length - 1; y >= active.viewportY; y -= 1) {
  const column = active.getLine(y).translateToString(true).indexOf(arguments[0]);
  if (column < 0) continue;
  const x = left + ((column + 0.5) * width) / element.terminal.cols;
  return [x, top + ((y - active.viewportY + 0.5) * height) / element.terminal.rows];
}
throw new Error("it is not there");
"""


def touch(page: Page, kind: str, where: Sequence[float] = ()) -> None:
    """Touch the page with one finger."""
    points = [{"x": where[0], "y": where[1]}] if where else []
    page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})


def press(page: Page, *keys: str) -> None:
    """Press keys at once, as a person does."""
    page.script("document.querySelector('container-terminal').terminal.focus()")
    actions = ActionChains(page.driver)
    for key in keys:
        actions.key_down(key)
    for key in reversed(keys):
        actions.key_up(key)
    actions.perform()


_marks = itertools.count()


def run(page: Page, command: str, seconds: float = 30) -> str:
    """Type a command and return what it printed, with the exit code in its last line."""
    # The mark is put together by the shell, so that the echo of what is typed has none.
    mark = next(_marks)
    page.type(f"clear; {command}; echo E''ND{mark} $?\r")
    return page.wait_text(f"\nEND{mark} ", seconds)


class TestShell:
    def test_nothing_special_is_needed_from_the_server(self, shell: Page, site: str) -> None:
        assert shell.script("return crossOriginIsolated") is False
        assert shell.script("return typeof SharedArrayBuffer") == "undefined"
        names = shell.script("return performance.getEntriesByType('resource').map((e) => e.name)")
        assert names
        assert all(name.startswith(site) for name in names), names

    def test_a_command(self, shell: Page) -> None:
        assert "hello 42" in run(shell, "echo hello $((6 * 7))")
        assert "/dev/pts/0" in run(shell, "tty")

    def test_utf8(self, shell: Page) -> None:
        assert "Grüße 你好 🐧" in run(shell, "printf '%s\\n' 'Grüße 你好 🐧'")
        assert "\n9\n" in run(shell, "x='你好 🐧ß!?é~'; echo ${#x}")

    def test_interrupt(self, shell: Page) -> None:
        # One process says so and waits: between two of them, Ctrl-C would be the shell's alone,
        # which then may have lost its terminal to a process that it was about to start.
        wait = "sh -c \"echo wai''ting; exec sleep 1000\""
        shell.type(f"clear; {wait}; echo st''atus $?\r")
        shell.wait_text("waiting")
        shell.type("\x03")
        shell.wait_text("^C")
        shell.type("echo co''de $?\r")
        shell.wait_text("code 130")

    def test_arrow_keys(self, shell: Page) -> None:
        run(shell, "echo fi''rst")
        shell.type("clear\r")
        shell.type("\x1b[A\x1b[A\r")
        shell.wait_text("first")
        shell.type("clear; echo a''c\x1b[Db\r")
        shell.wait_text("abc")

    def test_resize(self, shell: Page) -> None:
        size = (
            "const t = document.querySelector('container-terminal').terminal;"
            "return `${t.rows} ${t.cols}`"
        )
        before = shell.script(size)
        shell.driver.set_window_size(900, 500)
        try:
            until(lambda: shell.script(size) != before)
            # Lines beside the terminal come and go, and it changes with them.
            until(lambda: f"\n{shell.script(size)}\n" in run(shell, "stty size"), 30)
        finally:
            shell.driver.set_window_size(1280, 800)

    def test_a_paste_of_64_kib(self, shell: Page) -> None:
        lines = [f"{i:05} {'x' * 57}" for i in range(1024)]
        assert sum(len(line) + 1 for line in lines) == 64 * 1024
        shell.type("clear; stty -echo; cat > /tmp/paste; stty echo; echo re''ady\r")
        shell.script("return new Promise((resolve) => setTimeout(resolve, 500))")
        shell.paste("\n".join(lines) + "\n")
        shell.type("\x04")
        shell.wait_text("ready", 60)
        text = run(
            shell, "wc -c < /tmp/paste; head -1 /tmp/paste; tail -1 /tmp/paste; sort -c /tmp/paste"
        )
        assert "65536" in text
        assert lines[0] in text
        assert lines[-1] in text
        assert re.search(r"^END\d+ 0$", text, re.MULTILINE)

    def test_wide_characters_are_deleted_as_they_are_seen(self, shell: Page) -> None:
        run(shell, "export LC_ALL=C.UTF-8")
        until(lambda: shell.text.rstrip().endswith("#"))
        prompt = len(shell.text.rpartition("\n")[2])
        cursor = (
            "return document.querySelector('container-terminal').terminal.buffer.active.cursorX"
        )
        start = shell.script(cursor)
        shell.type("echo a😀😀b")
        shell.wait_text("echo a😀😀b")
        assert shell.script(cursor) == start + 5 + 6
        shell.type("\x7f\x7f")
        until(lambda: shell.script(cursor) == start + 5 + 3)
        assert shell.text.endswith("echo a😀")
        assert prompt
        shell.type("Z\r")
        shell.wait_text("\na😀Z")

    @pytest.mark.parametrize("by_event", [True, False])
    def test_what_is_pasted_cannot_end_the_paste(self, shell: Page, by_event: bool) -> None:
        run(shell, "true")
        text = "echo pasted\x1b[201~\recho by-itself-$((6*7))\r"
        if by_event:
            shell.script(PASTE_EVENT, text)
        else:
            shell.paste(text)
        assert "␛[201~" in shell.wait_text("by-itself-$((6*7))")
        shell.type("\x03")
        shell.wait_text("^C")
        assert "by-itself-42" not in run(shell, "sleep 0.5; true")

    # Ctrl+Shift+V is the browser's own key, not the page's: WebDriver does not press those.
    @pytest.mark.parametrize("copy", ["KeyC", "Insert"])
    def test_the_keys_for_copying_and_pasting(self, shell: Page, copy: str) -> None:
        word = f"copied-{copy}"
        run(shell, f"echo {word}")
        shell.script(SELECT, word)
        control, shift = Keys.CONTROL, Keys.SHIFT
        keys = [control, shift, "c"] if copy == "KeyC" else [control, Keys.INSERT]
        press(shell, *keys)
        shell.script("document.querySelector('container-terminal').terminal.clearSelection()")
        shell.type("clear; echo got:")
        press(shell, shift, Keys.INSERT)
        shell.wait_text(f"echo got:{word}")
        shell.type("\r")
        shell.wait_text(f"\ngot:{word}\n")

    def test_selecting_by_touch(self, shell: Page) -> None:
        run(shell, "echo one touched-word three")
        where = shell.script(WHERE, "touched-word")
        touch(shell, "touchStart", where)
        selected = "return document.querySelector('container-terminal').terminal.getSelection()"
        until(lambda: shell.script(selected) == "touched-word")
        touch(shell, "touchMove", shell.script(WHERE, "three"))
        assert shell.script(selected) == "touched-word t"
        touch(shell, "touchEnd")
        button = shell.driver.find_element("css selector", ".bm-copy")
        assert button.is_displayed()
        button.click()
        until(lambda: not button.is_displayed())
        shell.type("clear; echo got:")
        press(shell, Keys.SHIFT, Keys.INSERT)
        shell.wait_text("echo got:touched-word t")
        shell.type("\r")
        shell.wait_text("\ngot:touched-word t\n")
        # A short touch selects nothing.
        where = shell.script(WHERE, "got")
        touch(shell, "touchStart", where)
        touch(shell, "touchEnd")
        time.sleep(0.8)
        assert not shell.script(selected)

    def test_copying_without_a_selection_interrupts_nothing(self, shell: Page) -> None:
        shell.type("sleep 1; echo not''-interrupted\r")
        shell.wait_text("sleep 1")
        press(shell, Keys.CONTROL, Keys.SHIFT, "c")
        shell.wait_text("\nnot-interrupted")

    def test_much_output_is_complete(self, shell: Page) -> None:
        text = run(shell, "seq 1 9000", 60)
        numbers = re.findall(r"^\d+$", text, re.MULTILINE)
        assert numbers[-8000:] == [str(n) for n in range(1001, 9001)]

    def test_the_root_file_system_can_be_written(self, shell: Page) -> None:
        assert "new" in run(shell, "echo ne''w > /etc/motd && cat /etc/motd && rm -r /usr/games")

    def test_the_languages_that_the_image_has(self, shell: Page) -> None:
        program = '#include <stdio.h>\\nint main(void){puts("from" " C");}'
        assert "from C" in run(shell, f"printf '{program}' > /tmp/a.c && tcc -run /tmp/a.c")

    def test_the_clock_and_the_random_numbers(self, shell: Page) -> None:
        now = shell.script("return Math.floor(Date.now() / 1000)")
        text = run(shell, "date +%s")
        seconds = re.search(r"^(\d{10})$", text, re.MULTILINE)
        assert seconds is not None
        assert abs(int(seconds.group(1)) - now) < 60


# Counts the bytes of output that came, and those that the terminal has not yet taken.
_COUNT_OUTPUT = """
const counted = (window.counted = { all: 0, waiting: 0, most: 0 });
const { set } = Object.getOwnPropertyDescriptor(Worker.prototype, "onmessage");
Object.defineProperty(Worker.prototype, "onmessage", {
  set(listener) {
    set.call(this, (event) => {
      if (event.data.type === "output") {
        counted.all += event.data.data.length;
        counted.waiting += event.data.data.length;
        counted.most = Math.max(counted.most, counted.waiting);
      }
      listener.call(this, event);
    });
  },
});
const { postMessage } = Worker.prototype;
Worker.prototype.postMessage = function (message, ...more) {
  if (message.type === "acknowledge") counted.waiting -= message.bytes;
  postMessage.call(this, message, ...more);
};
"""


class TestOutput:
    def test_output_waits_for_a_page_that_is_busy(self, page: Page, site: str) -> None:
        added = page.driver.execute_cdp_cmd(
            "Page.addScriptToEvaluateOnNewDocument", {"source": _COUNT_OUTPUT}
        )
        try:
            page.open(site)
            page.wait_text("browsermount:~#", 60)
        finally:
            page.driver.execute_cdp_cmd("Page.removeScriptToEvaluateOnNewDocument", added)
        before = page.script("return window.counted.all")
        size = 2 << 20
        page.type(f"yes {'x' * 63} | head -c {size}; echo E''ND\r")
        page.wait_text("xxx\n")
        page.script("const end = performance.now() + 5000; while (performance.now() < end);")
        text = page.wait_text("\nEND\n", 120)
        counted = page.script("return window.counted")
        lines = size // 64
        # A line feed leaves the guest as two bytes; the rest is the echo and the prompt.
        assert size + lines < counted["all"] - before < size + lines + 1000
        assert counted["most"] < 1 << 20
        assert text.count("x" * 63 + "\n") > 9000


class TestExit:
    def test_exit_code_and_a_fresh_start(self, page: Page, site: str) -> None:
        page.open(site)
        page.wait_text("browsermount:~#", 60)
        page.type("echo left > /root/behind; od -An -tx4 -N8 /dev/urandom; exit 7\r")
        page.wait_state("exited")
        assert "exit code 7" in page.visible
        first = re.search(r"^ [0-9a-f]{8} [0-9a-f]{8}$", page.text, re.MULTILINE)
        assert first is not None
        page.script("document.querySelector('.bm-bar button').click()")
        page.wait_state("running")
        page.wait_text("browsermount:~#")
        page.type("cat behind; od -An -tx4 -N8 /dev/urandom; exit\r")
        page.wait_state("exited")
        assert "No such file" in page.text
        second = re.search(r"^ [0-9a-f]{8} [0-9a-f]{8}$", page.text, re.MULTILINE)
        assert second is not None
        assert first.group() != second.group()

    @pytest.mark.parametrize(
        "case",
        [
            ("exit-code", 42, ""),
            ("cmd-exec", 0, "a b"),
            ("user-name", 0, "(user)"),
            ("user-uid-no-passwd", 0, "uid="),
            ("workdir-missing", 0, "/not/there/yet"),
        ],
        ids=lambda case: case[0],
    )
    def test_what_the_config_says(
        self, page: Page, site: str, images: str, case: tuple[str, int, str]
    ) -> None:
        tag, code, output = case
        page.open(f"{site}?image={images}configs/layout%23{tag}")
        page.wait_state("exited")
        assert f"exit code {code}." in page.visible
        assert output in page.text

    def test_a_program_that_is_missing(self, page: Page, site: str, images: str) -> None:
        text = page.failure(f"{site}?image={images}configs/layout#program-missing")
        assert "/no/such/program" in text


class TestWithoutSnapshots:
    def test_a_panic_and_then_a_cold_start(self, page: Page, site: str, tmp_path: Path) -> None:
        copy = tmp_path / "site"
        shutil.copytree(SITE, copy)
        for name in ("vm/snapshot.zst", "vm/snapshot.json", "pyodide/snapshot.bin.gz"):
            (copy / name).unlink()
        initramfs = copy / "vm" / "image" / "initramfs.cpio.zst"
        contents = initramfs.read_bytes()
        initramfs.write_bytes(b"")  # a kernel without an init
        with served(copy) as url:
            text = page.failure(f"{url}?warm=no")
            assert "Kernel panic - not syncing: " in text
            assert "Try again" in text
            initramfs.write_bytes(contents)
            page.script("document.querySelector('[role=alert] button').click()")
            page.wait_text(":~#", 120)
            page.type("exit 3\r")
            page.wait_state("exited")


class TestAddress:
    @pytest.mark.parametrize("form", ["plain", "encoded", "slash", "relative"])
    def test_forms(self, page: Page, site: str, images: str, form: str) -> None:
        url = f"{images}configs/layout"
        image = {
            "plain": f"{url}#exit-code",
            "encoded": quote(f"{url}#exit-code", safe=""),
            "slash": f"{url}/#exit-code",
            "relative": "./images/default",
        }[form]
        page.open(f"{site}?image={image}")
        if form == "relative":
            page.wait_text("browsermount:~#", 60)
        else:
            page.wait_state("exited")
            assert "exit code 42" in page.visible

    def test_debian_from_another_origin(self, page: Page, site: str, images: str) -> None:
        page.open(f"{site}?image={images}debian/layout")
        page.wait_state("running", 120)
        page.wait_text("#")
        page.type("cat /etc/debian_version; dpkg -l | grep -c ^ii; perl -e 'print 6*7,qq(\\n)'\r")
        page.wait_text("42\n", 60)
        assert "\n12." in page.text


class TestPlatforms:
    def test_an_amd64_image(self, page: Page, site: str, images: str) -> None:
        page.open(f"{site}?image={images}foreign/amd64")
        page.wait_state("running", 120)
        page.wait_text("#", 120)
        page.type("uname -m; seq 3 | sort -r | head -n 1; exit 5\r")
        page.wait_state("exited", 60)
        assert "\nx86_64\n3\n" in page.text
        assert "translated" not in page.text
        assert "exit code 5." in page.visible
        # Once more, as a person would: on the same machine.
        page.script("document.querySelector('container-terminal').restart()")
        page.wait_state("running", 60)
        page.wait_text("#", 60)

    def test_a_translated_image(self, page: Page, site: str, images: str) -> None:
        page.open(f"{site}?platform=linux/arm64&image={images}foreign/arm64")
        page.wait_state("running", 120)
        assert "This image is for linux/arm64" in page.wait_text("translated", 60)
        page.wait_text("#", 120)
        page.type("uname -m; seq 3 | sort -r | head -n 1; exit 5\r")
        page.wait_state("exited", 180)
        assert "\naarch64\n3\n" in page.text
        assert "exit code 5." in page.visible

    def test_another_platform_than_the_image_has(self, page: Page, site: str, images: str) -> None:
        image = quote(f"{images}foreign/amd64", safe="")
        text = page.failure(f"{site}?image={image}&platform=linux/arm64")
        assert "linux/amd64" in text
        assert "linux/arm64" in text

    def test_a_platform_that_cannot_be_run(self, page: Page, site: str, images: str) -> None:
        text = page.failure(f"{site}?platform=linux/s390x&image={images}foreign/amd64")
        assert "linux/s390x cannot be run here" in text

    def test_another_platform_is_offered(self, page: Page, site: str, tmp_path: Path) -> None:
        busybox = (fixture("busybox") / "busybox").read_bytes()
        layer = tar(member("bin/busybox", busybox, mode=0o755), symlink("bin/sh", "busybox"))
        layout = Layout()
        # What runs as it is runs in an image for amd64, too.
        layout.add(layer, platform="linux/amd64").add(layer).add(layer, platform="linux/s390x")
        write(layout, tmp_path / "image")
        with served(tmp_path) as url:
            page.open(f"{site}?image={url}image")
            page.wait_state("running", 120)
            choice = "document.querySelector('container-terminal select')"
            options = page.script(f"return [...{choice}.options].map((option) => option.value)")
            exact = "linux/386, exact arithmetic (slower)"
            assert options == ["linux/386", exact, "linux/amd64"]
            assert page.script(f"return {choice}.value") == "linux/amd64"
            change = f"{choice}.dispatchEvent(new Event('change'))"
            for platform, machine in [("linux/386", "i686"), (exact, "x86_64")]:
                page.script(f"{choice}.value = '{platform}'; {change}")
                page.wait_state("running", 120)
                page.wait_text("#", 60)
                page.type("uname -m\r")
                page.wait_text(f"\n{machine}", 60)
                assert page.script(f"return {choice}.value") == platform

    def test_one_platform_is_said(self, page: Page, site: str, images: str) -> None:
        page.open(f"{site}?image={images}debian/layout")
        page.wait_state("running", 120)
        shown = "document.querySelector('container-terminal select').value"
        assert page.script(f"return {shown}") == "linux/386"
        page.open(f"{site}?image={images}foreign/amd64")
        page.wait_state("running", 120)
        assert "Platform: linux/amd64" in page.visible

    def test_a_386_image_on_the_64_bit_machine(self, page: Page, site: str) -> None:
        page.open(f"{site}?machine=64&memory=256m")
        page.wait_state("running", 120)
        page.wait_text("#", 60)
        page.type("uname -m; lua5.4 -e 'print(2.0 ^ 70 % 10)'; df -m / | tail -n 1\r")
        text = page.wait_text("\nx86_64\n4.0\noverlay ", 60)
        assert 150 < int(text.rsplit("overlay", 1)[1].split()[0]) < 192

    def test_memory_that_there_cannot_be(self, page: Page, site: str) -> None:
        text = page.failure(f"{site}?memory=4g")
        assert "4g is not an amount of memory that a machine can have" in text
        assert "2047m" in text

    def test_a_machine_that_does_not_run_the_platform(
        self, page: Page, site: str, images: str
    ) -> None:
        image = f"{images}foreign/arm64"
        text = page.failure(f"{site}?machine=32&platform=linux/arm64&image={image}")
        assert "linux/arm64 cannot be run on the 32-bit machine" in text


class TestErrors:
    def test_not_found(self, page: Page, site: str) -> None:
        text = page.failure(f"{site}?image=images/nothing/")
        assert "images/nothing/" in text
        assert "index.json" in text
        assert "Try again" in text

    def test_a_web_page_instead_of_a_layout(self, page: Page, site: str, tmp_path: Path) -> None:
        (tmp_path / "index.json").write_text("<!DOCTYPE html><title>hello</title>")
        with served(tmp_path) as url:
            assert "HTML page" in page.failure(f"{site}?image={url}")

    def test_no_platform_that_can_be_run(self, page: Page, site: str, images: str) -> None:
        text = page.failure(f"{site}?image={images}platforms/not-for-us")
        assert "linux/s390x" in text
        assert "linux/386" in text

    def test_cors_refused(self, page: Page, site: str) -> None:
        with served(DEFAULT, cors=False) as url:
            text = page.failure(f"{site}?image={url}")
        assert "Access-Control-Allow-Origin" in text
        assert url.rstrip("/") in text

    def test_a_server_that_is_not_there(self, page: Page, site: str, tmp_path: Path) -> None:
        with served(tmp_path) as url:
            pass
        assert "cannot reach" in page.failure(f"{site}?image={url}").lower()

    def test_a_server_that_goes_away(self, page: Page, site: str) -> None:
        page.forget(site)  # what is kept would do without the server
        with breaking(DEFAULT) as url:
            text = page.failure(f"{site}?image={url}")
        assert "connection broke" in text
        assert "network connection" in text

    def test_trying_again_works_when_the_image_is_there(
        self, page: Page, site: str, tmp_path: Path
    ) -> None:
        with served(tmp_path) as url:
            assert "index.json" in page.failure(f"{site}?image={url}image")
            shutil.copytree(DEFAULT, tmp_path / "image")
            page.script("document.querySelector('[role=alert] button').click()")
            page.wait_text(":~#", 60)

    @pytest.mark.parametrize("damage", ["flip", "cut"])
    def test_a_damaged_layer(self, page: Page, site: str, tmp_path: Path, damage: str) -> None:
        # Of a layer that is read as a whole before the start: others show it when they are read.
        copy = tmp_path / "image"
        assert main(["convert", "-c", "gzip", str(DEFAULT), str(copy)]) == 0
        layer = max(copy.rglob("blobs/*/*"), key=lambda path: path.stat().st_size)
        data = bytearray(layer.read_bytes())
        if damage == "flip":
            data[len(data) // 2] ^= 1
        else:
            del data[len(data) // 2 :]
        layer.write_bytes(data)
        page.forget(site)
        with served(copy) as url:
            text = page.failure(f"{site}?image={url}")
        assert layer.name in text
        assert ("digest" if damage == "flip" else "shorter on the server") in text

    @pytest.mark.parametrize("image", ["javascript:alert(1)", "file:///etc/passwd", "a%20b"])
    def test_what_is_no_reference(self, page: Page, site: str, image: str) -> None:
        assert "cannot" in page.failure(f"{site}?image={image}").lower()

    def test_an_unknown_user(self, page: Page, site: str, images: str) -> None:
        text = page.failure(f"{site}?image={images}configs/layout#user-unknown")
        assert "nosuchuser" in text
