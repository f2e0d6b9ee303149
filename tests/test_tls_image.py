"""The committed code of the page's TLS server is that of the committed sources."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from tools.tls import recipe


def test_the_code_fits_its_sources() -> None:
    assert recipe.problems() == []


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
