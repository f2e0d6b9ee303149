"""The machine's committed files are those of the committed recipe."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
from tools.vm import interpreters

RECIPE = Path(__file__).resolve().parents[1] / "tools" / "vm" / "recipe.py"


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    spec = importlib.util.spec_from_file_location("vm_recipe", RECIPE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_files_fit_their_recipe(recipe: ModuleType) -> None:
    assert recipe.problems() == []


def test_a_damaged_file_is_noticed(recipe: ModuleType, tmp_path: Path) -> None:
    image = tmp_path / "image"
    shutil.copytree(recipe.IMAGE_DIR, image)
    kernel = image / recipe.KERNEL
    kernel.write_bytes(kernel.read_bytes()[:-1] + b"?")
    assert recipe.problems(image) == ["bzImage is not the file that was built"]


def test_a_changed_recipe_is_noticed(recipe: ModuleType, tmp_path: Path) -> None:
    image = tmp_path / "image"
    shutil.copytree(recipe.IMAGE_DIR, image)
    manifest = json.loads((image / recipe.MANIFEST).read_text("utf-8"))
    manifest["recipe"] = "0" * 64
    (image / recipe.MANIFEST).write_text(json.dumps(manifest), "utf-8")
    assert recipe.problems(image) == ["the recipe has changed: run tools/vm/build.py"]


def test_interpreters_have_the_patches_that_there_are() -> None:
    table = json.loads(interpreters.TABLE.read_text("utf-8"))
    assert table["patches"] == interpreters.patches()
    for row in table["interpreters"]:
        data = (interpreters.OUTPUT / row["path"]).read_bytes()
        assert row["digest"] == f"sha256:{hashlib.sha256(data).hexdigest()}"
