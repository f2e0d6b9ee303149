"""Sessions that are kept in the browser and go on at the next visit."""

from __future__ import annotations

from tests.e2e.browser import Page

PROMPT = "~#"
_CHANGE = """
const [done, change] = [arguments[arguments.length - 1], arguments[0]];
navigator.storage.getDirectory().then(async (root) => {
  const folder = await root.getDirectoryHandle("browsermount-sessions");
  const sizes = {};
  for await (const [name, handle] of folder.entries()) {
    const file = await handle.getFile();
    sizes[name] = file.size;
    if (!change) continue;
    if (file.size === 0) continue;
    const bytes = new Uint8Array(await file.arrayBuffer());
    bytes[file.size - 5000] ^= 1;
    const output = await handle.createWritable();
    await output.write(bytes);
    await output.close();
  }
  done(sizes);
}).catch((error) => done(String(error)));
"""


def states(page: Page, *, damage: bool = False) -> dict[str, int]:
    """Return the sizes of the files of saved sessions, and damage the machines in them."""
    found: dict[str, int] = page.driver.execute_async_script(_CHANGE, damage)
    assert isinstance(found, dict), found
    return found


# Whoever hides a page has it saved at once.
_HIDE = """
Object.defineProperty(document, "visibilityState", { configurable: true, get: () => "hidden" });
document.dispatchEvent(new Event("visibilitychange"));
delete document.visibilityState;
"""


def wait_saved(page: Page, *, at_once: bool = True) -> None:
    """Wait until the session was saved, counted from here.

    Args:
        page: Where what is to be saved has been shown.
        at_once: As if the page was hidden for a moment; else when nothing has happened for a while.
    """
    page.script(
        "window.saves = 0;"
        "addEventListener('saved', (e) => { window.saves++; window.last = e.detail; })"
    )
    if at_once:
        page.script(_HIDE)
    page.wait(lambda: page.script("return window.saves") > 0)
    print(page.script("return window.last"))


def wait_unkept(page: Page) -> None:
    page.wait_visible("This session is not kept: the browser has no room for it")


def test_what_was_typed_is_there_at_the_next_visit(fresh: Page, site: str) -> None:
    url = f"{site}?session=mine"
    fresh.open(url)
    fresh.wait_state("running", 90)
    fresh.wait_text(PROMPT)
    fresh.type("X='as typed'; echo first > /tmp/file; sleep 1000 &\r")
    fresh.type("echo shown''-before\r")
    fresh.wait_text("shown-before")
    wait_saved(fresh, at_once=False)
    assert states(fresh).keys() <= {"mine.a.state", "mine.b.state"}

    fresh.open(url)
    fresh.wait_state("running", 90)
    fresh.wait_text("shown-before")
    assert "This session goes on as it was on" in fresh.visible
    fresh.type('echo "<$X, $(cat /tmp/file), $(jobs | grep -c sleep)>"\r')
    fresh.wait_text("\n<as typed, first, 1>")
    fresh.type("ls / > /dev/null && echo files''-there\r")
    fresh.wait_text("files-there")

    # A page that is hidden is saved at once; another name is another session.
    fresh.type("Y=later; echo typed''-later\r")
    fresh.wait_text("typed-later")
    wait_saved(fresh)
    fresh.open(f"{site}?session=other")
    fresh.wait_state("running", 90)
    fresh.wait_text(PROMPT)
    assert "shown-before" not in fresh.text
    fresh.open(url)
    fresh.wait_state("running", 90)
    fresh.type('echo "<$Y>"\r')
    fresh.wait_text("\n<later>")

    # Another tab does not get it.
    fresh.driver.switch_to.new_window("tab")
    fresh.driver.get(url)
    fresh.wait_state("running", 90)
    assert "open in another tab" in fresh.visible
    assert "shown-before" not in fresh.text
    fresh.driver.close()
    fresh.driver.switch_to.window(fresh.driver.window_handles[0])

    # Where there is no room, the last one that had room stays.
    less = {"origin": site.rstrip("/"), "quotaSize": 1000}
    fresh.driver.execute_cdp_cmd("Storage.overrideQuotaForOrigin", less)
    fresh.type("Y=too-late\r")
    wait_unkept(fresh)
    fresh.open(url)
    fresh.wait_state("running", 90)
    fresh.type('echo "<$Y>, again"\r')
    fresh.wait_text("\n<later>, again")
    fresh.driver.execute_cdp_cmd("Storage.overrideQuotaForOrigin", {"origin": site.rstrip("/")})

    # A damaged one is said, and the image is started anew.
    fresh.driver.get("about:blank")
    fresh.driver.get(f"{site}LICENSE.txt")
    assert all(size > 5 << 20 for size in states(fresh, damage=True).values() if size > 0)
    fresh.open(url)
    fresh.wait_state("running", 90)
    fresh.wait_text(PROMPT)
    assert "cannot go on, and the image was started anew" in fresh.visible
    assert "damaged" in fresh.visible
    assert "shown-before" not in fresh.text

    # And afresh where that is wished for.
    fresh.type("echo third''-one\r")
    wait_saved(fresh)
    fresh.open(url)
    fresh.wait_text("third-one", 90)
    fresh.wait_state("running", 90)
    fresh.script("document.querySelector('.bm-bar button').click()")
    fresh.wait_state("running", 90)
    fresh.wait_text(PROMPT)
    assert "third-one" not in fresh.text
    fresh.type("exit 3\r")
    fresh.wait_state("exited")
    fresh.wait(lambda: not [name for name in states(fresh) if name.startswith("mine")])
