from __future__ import annotations

import gzip
from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.build_site import build

from tests.e2e.browser import Page, chromium
from tests.fixtures import fixture
from tests.servers import served
from tests.wasi.build import CODE

ROOT = Path(__file__).resolve().parents[2]

_NO_WASM = b"<!doctype html><title>a page</title>"
# (module (import "env" "emscripten_exit" (func)) (func (export "_start")))
_OTHER = (
    b"\0asm\1\0\0\0\1\4\1\x60\0\0"
    b"\2\x17\1\3env\x0femscripten_exit\0\0"
    b"\3\2\1\0\7\x0a\1\6_start\0\1\x0a\4\1\2\0\x0b"
)
_BROKEN = CODE.read_bytes()[:5000]


@pytest.fixture(scope="session")
def site() -> Iterator[str]:
    """The address of the built page."""
    build(ROOT / "dist" / "site")
    with served(ROOT / "dist" / "site") as url:
        yield url


@pytest.fixture(scope="session")
def images() -> Iterator[str]:
    """The address of a server of fixture images, of another origin than the page."""
    names = ("debian", "configs", "foreign", "platforms", "broken")
    folders = {name: fixture(name) for name in names}
    with served(ROOT / "tests", **folders) as url:
        yield f"{url}images/"


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """One browser for all tests."""
    with chromium(str(tmp_path_factory.mktemp("profile"))) as page:
        yield page


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Page]:
    """A browser that has nothing in its store."""
    with chromium(str(tmp_path / "profile")) as page:
        yield page


@pytest.fixture(scope="session")
def machines(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with such machines, of another origin than the page."""
    folder = tmp_path_factory.mktemp("machines")
    (folder / "out.wasm").write_bytes(CODE.read_bytes())
    (folder / "out.wasm.gz").write_bytes(gzip.compress(CODE.read_bytes()))
    (folder / "page.wasm").write_bytes(_NO_WASM)
    (folder / "other.wasm").write_bytes(_OTHER)
    (folder / "broken.wasm").write_bytes(_BROKEN)
    with served(folder) as url:
        yield url
