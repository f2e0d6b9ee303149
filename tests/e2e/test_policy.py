"""The page and the element under a strict Content-Security-Policy: docs/security.md."""

from __future__ import annotations

import json
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.e2e.browser import Page, chromium, until
from tests.e2e.firefox import firefox
from tests.servers.recording import Recorded, page_server

ROOT = Path(__file__).resolve().parents[2]
SITE = ROOT / "dist" / "site"
REPORTS = "/reports"

EMBEDDING = """<!doctype html>
<meta charset="utf-8" />
<link rel="stylesheet" href="page/page.css" />
<script type="module" src="container-terminal.js"></script>
<container-terminal image="./images/default/"></container-terminal>
"""

STYLE = """
const element = document.querySelector("container-terminal");
const cells = [...element.querySelectorAll(".xterm-rows span")];
const cell = cells.find((cell) => cell.textContent.includes(arguments[0]));
const style = getComputedStyle(cell);
return [style.color, style.backgroundColor, style.display, style.fontFamily.split(",")[0]];
"""


class _Meta(HTMLParser):
    policy = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if tag == "meta" and values.get("http-equiv") == "Content-Security-Policy":
            self.policy = values["content"] or ""


def policy() -> str:
    """What the page says of itself."""
    parser = _Meta()
    parser.feed((ROOT / "web" / "index.html").read_text())
    assert parser.policy
    return parser.policy


@pytest.fixture(params=["chromium", "firefox"])
def new(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Page]:
    """A browser that has never been here."""
    with ExitStack() as stack:
        if request.param == "chromium":
            yield stack.enter_context(chromium(str(tmp_path / "profile")))
        else:
            yield Page(stack.enter_context(firefox(tmp_path)))


@pytest.fixture
def strict(site: str, tmp_path: Path) -> Iterator[Recorded]:
    """The page's server, which sends the policy with every answer and wants to be told."""
    assert site
    folder = tmp_path / "site"
    shutil.copytree(SITE, folder)
    (folder / "embedding.html").write_text(EMBEDDING)
    # The header alone must do, and only the header makes reports.
    index = folder / "index.html"
    index.write_text(re.sub(r"<meta\s+http-equiv=[^>]*>", "", index.read_text()))
    headers = {"Content-Security-Policy": f"{policy()}; report-uri {REPORTS}"}
    with page_server(folder, headers) as server:
        yield server


def violations(server: Recorded) -> list[str]:
    time.sleep(0.5)  # reports come late
    return [request.body.decode() for request in server.asked(REPORTS)]


def test_the_policy_allows_neither_inline_styles_nor_data_nor_eval() -> None:
    found = dict(part.strip().partition(" ")[::2] for part in policy().split(";"))
    assert found["default-src"] == "'none'"
    assert found["script-src"] == "'self' 'wasm-unsafe-eval'"
    assert found["style-src"] == "'self'"
    assert "data:" not in policy()
    assert "'unsafe-" not in policy().replace("'wasm-unsafe-eval'", "")
    assert found["require-trusted-types-for"] == "'script'"
    # For pages of others: one that says something else would be believed.
    assert policy().replace("; ", ";\n") in (ROOT / "docs" / "security.md").read_text()


@pytest.mark.parametrize("document", ["", "embedding.html"])
def test_a_shell_under_the_policy(new: Page, strict: Recorded, document: str) -> None:
    new.open(f"{strict.url}{document}")
    new.wait_state("running", 120)
    new.wait_text("browsermount:~#", 60)
    new.type("clear; printf '\\033[38;2;1;2;3;48;2;4;5;6m%s\\033[0m %s\\n' co''loured plain''er\r")
    new.wait_text("\ncoloured plainer")
    # The snapshot was used: without it, Python's library would have been asked for.
    assert strict.asked("/pyodide/snapshot.bin.gz")
    assert not strict.asked("/pyodide/python_stdlib.zip")
    assert not strict.asked("/vm/image/bzImage")
    time.sleep(0.3)
    assert new.script(STYLE, "coloured") == [
        "rgb(1, 2, 3)",
        "rgb(4, 5, 6)",
        "inline-block",
        "ui-monospace",
    ]
    assert new.script(STYLE, "plainer")[0] == "rgb(215, 221, 229)"  # the theme's
    # Both open and close what they have styled with.
    sheets = "return document.adoptedStyleSheets.length"
    open_sheets = new.script(sheets)
    assert open_sheets > 0
    new.script("document.querySelector('container-terminal').open()")
    new.wait_state("running", 120)
    assert new.script(sheets) == open_sheets
    assert violations(strict) == []


def test_reports_of_violations_are_seen(new: Page, strict: Recorded) -> None:
    # Else the test above could not fail.
    new.open(f"{strict.url}LICENSE.txt")
    new.open(strict.url)
    new.wait_state("running", 120)
    new.script(
        "document.body.append(document.createElement('style'));"
        "document.querySelector('style').textContent = 'p { margin: 0 }'"
    )
    report = json.loads(until(lambda: violations(strict))[0])["csp-report"]
    assert report["effective-directive"] == "style-src-elem"


def test_trusted_types_let_nothing_else_run(fresh: Page, strict: Recorded) -> None:
    fresh.open(strict.url)
    fresh.wait_state("running", 120)
    attempts = {
        "document.body.innerHTML = '<b>x</b>'": "TrustedHTML",
        "new Worker('vm/worker.js')": "TrustedScriptURL",
        "trustedTypes.createPolicy('other', {})": "policy",
        "trustedTypes.createPolicy('browsermount', {})": "policy",
    }
    for attempt, expected in attempts.items():
        script = f"try {{ {attempt}; return 'done' }} catch (error) {{ return error.message }}"
        assert expected.lower() in fresh.script(script).lower(), attempt


def test_the_meta_tag_alone_is_obeyed(fresh: Page, site: str) -> None:
    fresh.open(site)
    fresh.wait_state("running", 120)
    blocked = """
    const done = arguments[0];
    addEventListener("securitypolicyviolation", (e) => done(e.effectiveDirective), { once: true });
    const script = document.createElement("img");
    script.src = "data:,";
    document.body.append(script);
    """
    assert fresh.driver.execute_async_script(blocked) == "img-src"
