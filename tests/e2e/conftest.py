from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tools.build_site import build

from tests.e2e.browser import Page, chromium
from tests.fixtures import fixture
from tests.servers import served

ROOT = Path(__file__).resolve().parents[2]


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
