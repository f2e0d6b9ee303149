"""Where the page cannot run, it says what is missing instead of waiting for ever."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.browser import Page, until
from tests.servers import served
from tests.servers.recording import page_server

SITE = Path(__file__).resolve().parents[2] / "dist" / "site"


@contextmanager
def framed(page: Page, site: str, folder: Path, sandbox: str) -> Iterator[None]:
    """Show the page in a frame of a page of another origin."""
    (folder / "index.html").write_text(
        f'<iframe sandbox="{sandbox}" width="900" height="600" src="{site}"></iframe>'
    )
    with served(folder) as around:
        page.driver.get(around)
        page.driver.switch_to.frame(0)
        try:
            yield
        finally:
            page.driver.switch_to.default_content()


def test_a_sandboxed_frame_says_that_it_may_have_no_workers(
    page: Page, site: str, tmp_path: Path
) -> None:
    with framed(page, site, tmp_path, "allow-scripts"):
        text = page.failed()
    assert "sandboxed frame" in text
    assert "allow-same-origin" in text


def test_a_sandboxed_frame_with_an_origin_runs(page: Page, site: str, tmp_path: Path) -> None:
    with framed(page, site, tmp_path, "allow-scripts allow-same-origin"):
        page.wait_text("browsermount:~#", 60)


def test_where_no_script_can_be_loaded_the_page_says_so(page: Page, tmp_path: Path) -> None:
    shown = "return getComputedStyle(document.querySelector('main'), '::after').visibility"
    content = "return getComputedStyle(document.querySelector('main'), '::after').content"
    # Without CORS, a frame without an origin may not even load the page's modules.
    with (
        page_server(SITE, cors=False) as closed,
        framed(page, closed.url, tmp_path, "allow-scripts"),
    ):
        until(lambda: page.script(shown) == "visible")
        assert "sandbox without allow-same-origin" in page.script(content)


@pytest.mark.parametrize("policy", ["worker-src 'none'", "require-trusted-types-for 'script'; "
                                    "trusted-types 'none'"])  # fmt: skip
def test_a_policy_without_workers_is_said(page: Page, site: str, policy: str) -> None:
    with page_server(SITE, {"Content-Security-Policy": policy}) as server:
        page.open(server.url)
        text = page.failed()
    assert "worker" in text


def test_a_policy_without_webassembly_is_said(page: Page, site: str) -> None:
    policy = {"Content-Security-Policy": "script-src 'self'"}
    with page_server(SITE, policy) as server:
        page.open(server.url)
        text = page.failed()
    assert "WebAssembly" in text
    assert "Content Security Policy" in text
