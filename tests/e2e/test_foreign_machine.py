"""Machines of others: a program for WASI that does what container2wasm's do (tests/wasi)."""

from __future__ import annotations

import time

import pytest

from tests.e2e.browser import Page
from tests.servers import served
from tests.wasi.build import CODE, MANIFEST, digests

_ELEMENT = "document.querySelector('container-terminal')"
WITHOUT_SUSPENDING = {"source": "delete WebAssembly.Suspending"}


def press(page: Page, label: str) -> None:
    end = time.monotonic() + 30
    find = (
        f"return !![...document.querySelectorAll('button')].find(b => b.textContent === {label!r})"
    )
    while not page.script(find):
        assert time.monotonic() < end, page.visible
        time.sleep(0.05)
    page.script(find.removeprefix("return !!") + ".click()")


def address(site: str, images: str, machine: str) -> str:
    return f"{site}?image={images}configs/layout/%23cmd-exec&vm={machine}"


def wait_failed(page: Page) -> None:
    end = time.monotonic() + 60
    while page.state != "failed":
        assert time.monotonic() < end, f"{page.state}: {page.visible}\n{page.text}"
        time.sleep(0.05)


def start(page: Page, url: str) -> None:
    page.open(url)
    press(page, "Run it")
    page.wait_state("running", 120)
    page.wait_text("mounted 192.168.127.252", 60)


def use(page: Page) -> None:
    """Do all that needs the machine to wait, and not to."""
    page.wait_text("address 192.168.127.3")
    page.type("cat config/config.json\r")
    page.wait_text('"/run/rootfs"')
    page.type("wait 200\r")
    page.wait_text("waited long enough")
    page.type("spin\r")
    page.wait_text("spinning")
    page.type("k")
    page.wait_text("spun until k")
    # More than may be on its way to the terminal.
    page.type("flood 400\r")
    page.wait_text("flooded", 60)
    page.type("exit 3\r")
    page.wait_state("exited")
    assert "exit code 3" in page.visible


def test_the_program_is_of_its_source() -> None:
    assert MANIFEST.read_text("utf-8").split('"')[3::4] == list(digests().values())


@pytest.mark.parametrize("suspends", [True, False], ids=["suspended", "service-worker"])
def test_in_chromium(fresh: Page, site: str, images: str, machines: str, *, suspends: bool) -> None:
    if not suspends:
        fresh.driver.execute_cdp_cmd("Page.addScriptToEvaluateOnNewDocument", WITHOUT_SUSPENDING)
    start(fresh, address(site, images, f"{machines}out.wasm.gz") + "&session=work")
    assert f"{machines}out.wasm.gz" in fresh.visible
    assert "This session is not kept" in fresh.visible
    use(fresh)
    # Once more on what is mounted, and with an end that it has not chosen.
    press(fresh, "Start again")
    fresh.wait_state("running")
    fresh.wait_text("mounted 192.168.127.252", 60)
    assert "cannot be asked" in fresh.script(
        f"return {_ELEMENT}.changes().catch((it) => it.message)"
    )
    fresh.type("crash\r")
    wait_failed(fresh)
    assert "the machine has broken down" in fresh.visible.lower()


def test_one_that_is_the_owners(page: Page, site: str, images: str) -> None:
    # Nobody is asked, and it is no machine.
    said = page.failure(f"{site}?image={images}configs/layout/%23cmd-exec&vm=LICENSE.txt")
    assert "is not WebAssembly" in said


def test_a_person_who_does_not_want_it(page: Page, site: str, images: str, machines: str) -> None:
    page.open(address(site, images, f"{machines}out.wasm"))
    press(page, "Cancel")
    assert "was not started" in page.visible
    assert page.state == "failed"


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("none.wasm", "the server answered 404"),
        ("page.wasm", "is not WebAssembly"),
        ("other.wasm", "env.emscripten_exit"),
        ("broken.wasm", "cannot compile"),
    ],
)
def test_what_is_no_such_machine(
    page: Page, site: str, images: str, machines: str, *, file: str, reason: str
) -> None:
    page.open(address(site, images, f"{machines}{file}"))
    press(page, "Run it")
    wait_failed(page)
    assert reason in page.visible


def test_a_server_that_does_not_let_pages_read(page: Page, site: str, images: str) -> None:
    with served(CODE.parent, cors=False) as closed:
        page.open(address(site, images, f"{closed}machine.wasm"))
        press(page, "Run it")
        wait_failed(page)
    assert "Access-Control-Allow-Origin" in page.visible
    with_file = f"{site}?image={images}configs/layout/%23cmd-exec&vm=file:///out.wasm"
    assert "not the address of a machine" in page.failure(with_file)
