"""The committed code of the page's TLS server is that of the committed sources."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path

from tools import build_site
from tools.build_wheel import build_wheel
from tools.tls import recipe


def test_the_code_fits_its_sources() -> None:
    assert recipe.problems() == []


def test_what_the_network_costs_a_visitor_is_bounded(tmp_path: Path) -> None:
    """All that a container's first connections have the page fetch."""
    build_site.write_later(build_wheel(tmp_path), tmp_path)
    archive = tmp_path / "network.zip"
    code = gzip.compress((recipe.OUTPUT / recipe.CODE).read_bytes(), 9)
    assert len(code) + archive.stat().st_size <= 150_000


def test_damaged_code_is_noticed(tmp_path: Path) -> None:
    output = tmp_path / "tls"
    shutil.copytree(recipe.OUTPUT, output)
    code = output / recipe.CODE
    code.write_bytes(code.read_bytes()[:-1] + b"?")
    assert recipe.problems(output) == [f"{recipe.CODE} is not the file that was built"]


def test_changed_sources_are_noticed(tmp_path: Path) -> None:
    output = tmp_path / "tls"
    shutil.copytree(recipe.OUTPUT, output)
    manifest = json.loads((output / recipe.MANIFEST).read_text("utf-8"))
    manifest["recipe"] = "0" * 64
    (output / recipe.MANIFEST).write_text(json.dumps(manifest), "utf-8")
    command = "tools/tls/build.py"
    assert recipe.problems(output) == [f"the TLS server's sources have changed: run {command}"]
