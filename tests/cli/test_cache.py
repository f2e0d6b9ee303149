"""What the commands keep between runs."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from browsermount.cli import main
from browsermount.cli.sizes import human_size, read_size
from tests.core.images import Layout, member, tar
from tests.servers import served

from .test_reading import write


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BROWSERMOUNT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_an_image_that_was_used_before_needs_no_server(
    cache: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(Layout().add(tar(member("file", b"text" * 1000))), tmp_path / "image")
    with served(tmp_path) as url:
        assert main(["cat", "--no-cache", f"{url}image/", "file"]) == 0
        assert not cache.exists()
        assert main(["cat", f"{url}image/", "file"]) == 0
    capsys.readouterr()
    assert main(["cat", f"{url}image/", "file"]) == 0
    captured = capsys.readouterr()
    assert captured.out == "text" * 1000
    assert "the last time" in captured.err
    assert main(["cache", "show"]) == 0
    assert str(cache) in capsys.readouterr().out
    assert main(["cache", "prune"]) == 0
    assert capsys.readouterr().out.endswith("; 0 B are left.\n")
    assert main(["cat", f"{url}image/", "file"]) == 125
    assert "cannot reach" in capsys.readouterr().err


def test_what_a_killed_process_has_left_is_cleared(cache: Path) -> None:
    cache.mkdir()
    left, new = cache / ".new-left", cache / ".new-now"
    left.touch()
    os.utime(left, (0, 0))
    new.touch()
    assert main(["cache", "prune"]) == 0
    assert not left.exists()
    assert new.exists()


def test_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert (read_size("512m"), read_size("1G"), read_size("3KiB")) == (512 << 20, 1 << 30, 3072)
    assert (human_size(1023), human_size(1536), human_size(3 << 30)) == (
        "1023 B",
        "1.5 KiB",
        "3.0 GiB",
    )
    assert main(["cache", "prune", "--keep", "much"]) == 125
    assert "such as 512m" in capsys.readouterr().err
