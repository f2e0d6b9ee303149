"""What a hostile program writes to the terminal harms neither the page nor the person."""

from __future__ import annotations

import time

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By

from tests.e2e.browser import Page
from tests.e2e.test_page import WHERE, run, wait

# How long the page was busy with something at a stretch.
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
    assert shell.script("return window.longest") < 500


def test_many_of_the_dearest_sequences_leave_the_page_answering(shell: Page) -> None:
    # Each does as much as it may: 20,000 of them, of six bytes.
    shell.script(WATCH)
    command = "yes $'\\e[999S\\e[999T\\e[999L\\e[999M\\e#8' | head -n 4000 | tr -d '\\n'"
    run(shell, command, 60)
    assert shell.script("return window.longest") < 3000


def test_combining_characters_without_end_leave_the_page_answering(shell: Page) -> None:
    shell.script(WATCH)
    # Without a limit it does not come back.
    run(shell, "printf a; yes $'\\xcc\\x81' | head -n 500000 | tr -d '\\n'; echo", 60)
    assert shell.script("return window.longest") < 3000
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
        wait(lambda: shell.script(title) == "https://evil.example/login")
        self.move(shell, click=True)
        wait(lambda: bool(shell.driver.find_elements(By.CSS_SELECTOR, self.PROMPT)))
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
        wait(lambda: shell.script(title) == "https://evil.example/login")
        self.move(shell, click=True)
        wait(lambda: bool(shell.driver.find_elements(By.CSS_SELECTOR, self.PROMPT)))
        shell.driver.find_elements(By.CSS_SELECTOR, f"{self.PROMPT} button")[0].click()
        opened = [["https://evil.example/login", "_blank", "noopener,noreferrer"]]
        assert shell.script("return window.opened") == opened

    def test_a_link_that_runs_a_script_is_none(self, shell: Page) -> None:
        run(shell, f"{self.SHOW} 'javascript:alert(1)'")
        self.move(shell, click=True)
        time.sleep(0.5)
        assert not shell.driver.find_elements(By.CSS_SELECTOR, self.PROMPT)
