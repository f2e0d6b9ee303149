"""Fixtures are built once, wholly or not at all."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path

import pytest

from tests.fixtures.store import FixtureError, Recipe, obtain


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "browsermount" / "fixtures"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "source"
    path.write_text("one")
    return path


def test_built_once_and_anew_when_the_recipe_changes(own_cache: Path, source: Path) -> None:
    built = []

    def build(output: Path) -> None:
        built.append(source.read_text())
        (output / "file").write_text(source.read_text())

    first = obtain(Recipe("name", build, (source,)))
    assert obtain(Recipe("name", build, (source,))) == first
    assert (first / "file").read_text() == "one"
    source.write_text("two")
    second = obtain(Recipe("name", build, (source,)))
    assert (second / "file").read_text() == "two"
    assert built == ["one", "two"]
    assert not first.exists()
    assert {path.name for path in own_cache.iterdir()} == {second.name, ".name.lock"}


def test_a_build_that_fails_leaves_nothing(own_cache: Path, source: Path) -> None:
    def build(output: Path) -> None:
        (output / "half").touch()
        raise FixtureError("failed")

    with pytest.raises(FixtureError, match="failed"):
        obtain(Recipe("name", build, (source,)))
    assert [path.name for path in own_cache.iterdir()] == [".name.lock"]


def test_a_missing_tool_is_an_error_with_its_package(source: Path) -> None:
    recipe = Recipe("name", lambda output: None, (source,), {"no-such-tool": "its-package"})
    with pytest.raises(FixtureError, match="apt-get install its-package"):
        obtain(recipe)


def test_two_at_a_time_build_once(source: Path) -> None:
    built = []

    def build(output: Path) -> None:
        built.append(output)
        time.sleep(0.2)

    threads = [
        threading.Thread(target=obtain, args=(Recipe("name", build, (source,)),)) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(built) == 1


def test_the_cache_is_outside_of_the_clone(monkeypatch: pytest.MonkeyPatch, source: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/paths/do/not/count")
    monkeypatch.setenv("HOME", str(source.parent / "home"))
    place = obtain(Recipe("name", lambda output: None, (source,)))
    assert place.is_relative_to(source.parent / "home" / ".cache")
    assert os.path.isabs(place)
