"""The machines' committed files are those of the committed recipes."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
from tools.vm import interpreters
from tools.vm.recipe import GUESTS, MANIFEST, Guest

guests = pytest.mark.parametrize("guest", GUESTS.values(), ids=GUESTS.keys())


@guests
def test_files_fit_their_recipe(guest: Guest) -> None:
    assert guest.problems() == []


@guests
def test_a_damaged_file_is_noticed(guest: Guest, tmp_path: Path) -> None:
    image = tmp_path / "image"
    shutil.copytree(guest.directory, image)
    kernel = image / guest.kernel
    kernel.write_bytes(kernel.read_bytes()[:-1] + b"?")
    assert guest.problems(image) == [f"{guest.kernel} is not the file that was built"]


@guests
def test_a_changed_recipe_is_noticed(guest: Guest, tmp_path: Path) -> None:
    image = tmp_path / "image"
    shutil.copytree(guest.directory, image)
    manifest = json.loads((image / MANIFEST).read_text("utf-8"))
    manifest["recipe"] = "0" * 64
    (image / MANIFEST).write_text(json.dumps(manifest), "utf-8")
    command = f"tools/vm/build.py {guest.architecture}"
    assert guest.problems(image) == [f"the recipe has changed: run {command}"]


def test_interpreters_have_the_patches_that_there_are() -> None:
    table = json.loads(interpreters.TABLE.read_text("utf-8"))
    assert table["patches"] == interpreters.patches()
    for row in table["interpreters"]:
        data = (interpreters.OUTPUT / row["path"]).read_bytes()
        assert row["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
