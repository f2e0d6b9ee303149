"""Debian, read lazily from real servers, which go away and come back meanwhile."""

from __future__ import annotations

import hashlib
import io
import tarfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.browser import Page
from tests.e2e.signing import sign_in, wait_form
from tests.fixtures import fixture
from tests.fixtures.layout import plain_layers
from tests.servers.nginx import Nginx, nginx, registry_front
from tests.servers.registry import Registry, registry

RATE = "2m"
"""Bytes of a second, so that a read lasts long enough to be in its middle."""

LIBRARIES = "usr/lib/i386-linux-gnu/"


@contextmanager
def web_server(work: Path, layout: Path) -> Iterator[tuple[str, Nginx]]:
    """Serve the layout by nginx."""
    with nginx(work / "server", layout, rate=RATE) as server:
        yield server.url, server


@contextmanager
def image_registry(work: Path, layout: Path) -> Iterator[tuple[Registry, Nginx]]:
    """Serve debian:12 by docker-registry, with nginx in front that makes it slow."""
    with (
        registry(work / "registry", users={"alice": "first"}) as store,
        registry_front(work / "front", store.url, rate=RATE) as server,
    ):
        store.push(layout, "", "debian:12", "alice:first")
        yield store, server


@pytest.fixture(scope="module")
def libraries() -> dict[str, str]:
    """The digests of the largest libraries, by their paths."""
    archive = plain_layers(fixture("debian") / "layout")[0]
    with tarfile.open(fileobj=io.BytesIO(archive)) as layer:
        files = [m for m in layer if m.isfile() and m.name.removeprefix("./").startswith(LIBRARIES)]
        files.sort(key=lambda member: -member.size)
        contents = {m.name.removeprefix("./"): layer.extractfile(m) for m in files[:5]}
        return {n: hashlib.sha256(f.read()).hexdigest() for n, f in contents.items() if f}


def started(page: Page, server: Nginx, layout: Path) -> None:
    """See the image start, for which little of it is fetched."""
    page.wait_state("running", 120)
    page.wait_text("root@")
    fetched = sum(size for path, _, size in server.answers if "/blobs/" in path)
    assert fetched < 0.064 * sum(path.stat().st_size for path in layout.rglob("blobs/*/*"))


def read_while_it_goes_away(page: Page, server: Nginx, libraries: dict[str, str]) -> None:
    """Read some files, in the middle of which the server is killed and started again."""
    page.type(f"cd /; clear; sha256sum {' '.join(libraries)}; echo st''atus $?\r")
    time.sleep(1)
    server.kill()
    page.wait_visible("Trying again")
    assert "status" not in page.text
    server.start()
    text = page.wait_text("status 0", 120)
    lines = "".join(text.split())
    for name, digest in libraries.items():
        assert f"{digest}{name}" in lines


def test_from_a_web_server(
    fresh: Page, site: str, tmp_path: Path, libraries: dict[str, str]
) -> None:
    layout = fixture("debian-estargz") / "layout"
    with web_server(tmp_path, layout) as (image, server):
        fresh.open(f"{site}?fetch=read&image={image}")
        started(fresh, server, layout)
        read_while_it_goes_away(fresh, server, libraries)


def test_from_a_registry(fresh: Page, site: str, tmp_path: Path, libraries: dict[str, str]) -> None:
    layout = fixture("debian-estargz") / "layout"
    *most, last = libraries
    with image_registry(tmp_path, layout) as (store, server):
        fresh.open(f"{site}?fetch=read&image={server.host}/debian:12")
        wait_form(fresh)
        sign_in(fresh, "alice", "first")
        started(fresh, server, layout)
        read_while_it_goes_away(fresh, server, {name: libraries[name] for name in most})
        # Gone for longer than anybody wants to wait, it is an error; which is not for ever.
        server.kill()
        fresh.type(f"clear; cat {last} > /dev/null; echo st''atus $?\r")
        text = fresh.wait_text("status 1", 60)
        assert "Input/output error" in text
        # Meanwhile the password has changed.
        store.set_users({"alice": "second"})
        server.start()
        fresh.type(f"clear; sha256sum {last}; echo st''atus $?\r")
        wait_form(fresh, refused=True)
        sign_in(fresh, "alice", "second")
        text = fresh.wait_text("status 0", 60)
        assert libraries[last] in text
