"""What a hostile program writes to the terminal harms neither the page nor the person."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By

from tests.e2e.browser import Page, until
from tests.e2e.test_page import WHERE, run
from tests.servers import served

ROOT = Path(__file__).resolve().parents[2]

# How long the page was busy with something at a stretch, in milliseconds. What is expected of it is
# far more than it takes, since other tests may have the processors, and far less than without
# bounds: there it is minutes, or it does not come back.
WATCH = """
window.longest = 0;
clearInterval(window.watching);
let last = performance.now();
window.watching = setInterval(() => {
  const now = performance.now();
  window.longest = Math.max(window.longest, now - last);
  last = now;
}, 10);
"""


@pytest.fixture(scope="module")
def shell(page: Page, site: str) -> Page:
    page.open(site)
    page.wait_state("running")
    page.wait_text("browsermount:~#")
    return page


@pytest.mark.parametrize("final", ["S", "T", "L", "M", "P", "@", "X", "I", "Z", "b", " @", " A"])
def test_fourteen_bytes_do_not_freeze_the_page(shell: Page, final: str) -> None:
    shell.script(WATCH)
    assert "after" in run(shell, f"printf 'a\\033[99999999{final}'; echo; echo af''ter")
    assert shell.script("return window.longest") < 5_000


def test_many_of_the_dearest_sequences_leave_the_page_answering(shell: Page) -> None:
    # Each does as much as it may: 20,000 of them, of six bytes.
    shell.script(WATCH)
    command = "yes $'\\e[999S\\e[999T\\e[999L\\e[999M\\e#8' | head -n 4000 | tr -d '\\n'"
    run(shell, command, 60)
    assert shell.script("return window.longest") < 15_000


def test_combining_characters_without_end_leave_the_page_answering(shell: Page) -> None:
    shell.script(WATCH)
    # Without a limit it does not come back.
    run(shell, "printf a; yes $'\\xcc\\x81' | head -n 500000 | tr -d '\\n'; echo", 60)
    assert shell.script("return window.longest") < 15_000
    longest = """
    const { active } = document.querySelector("container-terminal").terminal.buffer;
    let most = 0;
    for (let y = 0; y < active.length; y += 1)
      for (let x = 0; x < 200; x += 1)
        most = Math.max(most, active.getLine(y).getCell(x)?.getChars().length ?? 0);
    return most;
    """
    assert 2 < shell.script(longest) <= 11


def test_a_string_without_an_end_hides_nothing_for_ever(shell: Page) -> None:
    assert "seen" in run(shell, "printf '\\033]0;'; head -c 20000 /dev/zero | tr '\\0' x; "
                         "printf '\\030'; echo se''en")  # fmt: skip


def test_osc_52_neither_reads_nor_writes_the_clipboard(shell: Page, site: str) -> None:
    for permission in ("clipboard-read", "clipboard-write"):
        shell.driver.execute_cdp_cmd(
            "Browser.setPermission",
            {
                "permission": {"name": permission},
                "setting": "granted",
                "origin": site.rstrip("/"),
            },
        )
    shell.script("return navigator.clipboard.writeText('mine')")
    run(shell, "printf '\\033]52;c;c3RvbGVu\\a\\033]52;c;?\\a'; sleep 0.5")
    assert shell.script("return navigator.clipboard.readText()") == "mine"
    assert "bWluZQ" not in run(shell, "true")  # no answer has been typed


class TestLinks:
    SHOW = "printf '\\033]8;;%s\\033\\\\bank.example\\033]8;;\\033\\\\ shown\\n' "
    PROMPT = ".bm-link"

    @staticmethod
    def move(page: Page, click: bool, where: str = "bank.example") -> None:
        x, y = page.script(WHERE, where)
        actions = ActionChains(page.driver)
        actions.w3c_actions.pointer_action.move_to_location(int(x), int(y))
        if click:
            actions.click()
        actions.perform()

    def test_a_link_shows_where_it_goes_and_asks_first(self, shell: Page) -> None:
        shell.script("window.opened = []; window.open = (...all) => { window.opened.push(all); }")
        run(shell, f"{self.SHOW} https://bank.example@evil.example/login")
        self.move(shell, click=False)
        title = "return document.querySelector('.bm-screen').title"
        until(lambda: shell.script(title) == "https://evil.example/login")
        self.move(shell, click=True)
        until(lambda: bool(shell.driver.find_elements(By.CSS_SELECTOR, self.PROMPT)))
        prompt = shell.driver.find_element(By.CSS_SELECTOR, self.PROMPT)
        assert "goes to evil.example:" in prompt.text
        assert "https://evil.example/login" in prompt.text
        assert "bank.example" not in prompt.text
        assert shell.script("return document.activeElement.textContent") == "Cancel"
        assert shell.script("return window.opened") == []
        prompt.find_elements(By.TAG_NAME, "button")[1].click()
        assert shell.script("return window.opened") == []
        assert not shell.driver.find_elements(By.CSS_SELECTOR, self.PROMPT)
        self.move(shell, click=False, where="shown")
        self.move(shell, click=False)
        until(lambda: shell.script(title) == "https://evil.example/login")
        self.move(shell, click=True)
        until(lambda: bool(shell.driver.find_elements(By.CSS_SELECTOR, self.PROMPT)))
        shell.driver.find_elements(By.CSS_SELECTOR, f"{self.PROMPT} button")[0].click()
        opened = [["https://evil.example/login", "_blank", "noopener,noreferrer"]]
        assert shell.script("return window.opened") == opened

    def test_a_link_that_runs_a_script_is_none(self, shell: Page) -> None:
        run(shell, f"{self.SHOW} 'javascript:alert(1)'")
        self.move(shell, click=True)
        time.sleep(0.5)
        assert not shell.driver.find_elements(By.CSS_SELECTOR, self.PROMPT)


# What two terminals show of the same output, one of them behind the guard, which gets it in pieces.
COMPARE = """
const done = arguments[0];
(async () => {
  const base = document.baseURI;
  const { Terminal } = await import(new URL("node_modules/@xterm/xterm/lib/xterm.mjs", base));
  const { OutputGuard } = await import(new URL("web/page/output-guard.js", base));
  const size = { cols: 20, rows: 6 };
  let seed = 3;
  const random = (below) => {
    seed = (Math.imul(seed, 1103515245) + 12345) & 0x7fffffff;
    return (seed >> 8) % below;
  };
  const pick = (all) => all[random(all.length)];
  const number = () => pick(["", "0", "1", "2", "3", "7", "19", "20", "25", "200", "007"]);
  const E = "\\x1b";
  const token = () => pick([
    () => pick(["word ", "ü€😀漢", "a\\u0301", "\\r\\n", "\\n", "\\t", "\\b", "a line\\r\\n"]),
    () => `${E}[${number()}${pick([..."@ABCDEFGHIJKLMPSTXZadefg`"])}`,
    () => `x${E}[${pick(["", 0, 1, 5, 20])}b`,
    () => `${E}[${number()};${number()}${pick([..."Hfr"])}`,
    () => `${E}[${pick(["", "0", "1;31", "38;5;200", "38;2;1;2;3", "4:3", "58:2::1:2:3"])}m`,
    () => `${E}[?${pick([6, 7, 25, 45, 1049])}${pick([..."hl"])}`,
    () => `${E}[4${pick([..."hl"])}`,
    () => `${E}[${number()}${pick([" @", " A", "'}", "'~", '"q', "!p"])}`,
    () => E + pick([..."78DEHM=>"]),
    () => E + pick(["(0", "(B", "#8", " F", "%G"]),
    () => `${E}]${pick(["0;title", "8;;http://a.example/", "8;;", "4;1;#112233"])}` +
      pick(["\\x07", `${E}\\\\`, "\\u009c"]),
    () => `${E}P$q${pick(["m", "r"])}${E}\\\\`,
    () => `${E}_hidden${E}\\\\`,
    () => pick(["\\u0084", "\\u0085", "\\u008d", "\\u009b2A", "\\u009b1;3H", "\\u009d0;t\\x07"]),
    () => `${E}[1${pick(["\\n", "\\r", "\\x7f"])}2${pick([..."ABCS"])}`,
    () => E + pick(["[12\\x18", "[3\\x1a", `[4${E}[m`, "[1?2h", "]0;x\\x18"]),
  ])();
  const shown = (terminal) => {
    const { active } = terminal.buffer;
    const lines = [];
    for (let y = 0; y < active.length; y += 1) {
      const line = active.getLine(y);
      for (let x = 0; x < size.cols; x += 1) {
        const cell = line.getCell(x);
        lines.push([cell.getChars(), cell.getWidth(), cell.getFgColor(), cell.isInverse()].join());
      }
    }
    return JSON.stringify([active.type, active.cursorX, active.cursorY, active.baseY, lines]);
  };
  const write = (terminal, data) => new Promise((resolve) => terminal.write(data, resolve));
  for (let round = 0; round < 200; round += 1) {
    const text = Array.from({ length: 40 }, token).join("");
    const bytes = new TextEncoder().encode(text);
    const [plain, guarded] = [0, 1].map(
      () => new Terminal({ ...size, scrollback: 20, allowProposedApi: true }),
    );
    await write(plain, bytes);
    const guard = new OutputGuard(() => size);
    for (let at = 0; at < bytes.length; ) {
      const end = at + 1 + random(30);
      await write(guarded, guard.pass(bytes.slice(at, end)));
      at = end;
    }
    if (shown(plain) !== shown(guarded)) return done([round, text]);
    plain.dispose();
    guarded.dispose();
  }
  done(null);
})().catch((error) => done(String(error?.stack ?? error)));
"""


def test_what_is_harmless_is_shown_as_without_the_guard(page: Page) -> None:
    page.driver.set_script_timeout(120)
    with served(ROOT) as checkout:
        page.driver.get(f"{checkout}README.md")
        assert page.driver.execute_async_script(COMPARE) is None
