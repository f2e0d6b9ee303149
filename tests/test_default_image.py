"""The committed default image is intact and belongs to the committed recipe.

These tests need neither network nor tools, and do not use the package's own
readers: what checks the image must not be what reads it later.
"""

from __future__ import annotations

import gzip
import hashlib
import importlib.util
import io
import json
import tarfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
TOOL = REPOSITORY / "tools" / "default_image"
LAYOUT = REPOSITORY / "web" / "images" / "default"


@pytest.fixture(scope="module")
def build() -> ModuleType:
    spec = importlib.util.spec_from_file_location("default_image_build", TOOL / "build_image.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def recipe() -> dict[str, Any]:
    return load(TOOL / "recipe.json")


@pytest.fixture(scope="module")
def image() -> dict[str, Any]:
    return load(TOOL / "image.json")


@pytest.fixture(scope="module")
def manifest() -> dict[str, Any]:
    (descriptor,) = load(LAYOUT / "index.json")["manifests"]
    return json.loads(blob(descriptor))


@pytest.fixture(scope="module")
def layers(manifest: dict[str, Any]) -> list[bytes]:
    return [gzip.decompress(blob(descriptor)) for descriptor in manifest["layers"]]


@pytest.fixture(scope="module")
def files(layers: list[bytes]) -> dict[str, tarfile.TarInfo]:
    """What the layers put where. The recipe makes no whiteouts, so the last one wins."""
    found = {}
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            for member in archive:
                found[member.name.removeprefix("./")] = member
    return found


def load(path: Path) -> dict[str, Any]:
    content = json.loads(path.read_text())
    assert isinstance(content, dict)
    return content


def blob(descriptor: dict[str, Any]) -> bytes:
    """Content of a blob, which must be what its descriptor says."""
    algorithm, _, encoded = descriptor["digest"].partition(":")
    content = (LAYOUT / "blobs" / algorithm / encoded).read_bytes()
    assert algorithm == "sha256"
    assert hashlib.sha256(content).hexdigest() == encoded
    assert len(content) == descriptor["size"]
    return content


def test_image_was_rebuilt_after_the_recipe_changed(
    build: ModuleType, image: dict[str, Any]
) -> None:
    assert image["recipe"] == build.recipe_digest(), "run tools/default_image/build_image.py"


def test_recipe_digest_sees_every_input(build: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "files" / "system").mkdir(parents=True)
    for name in ("build_image.py", "recipe.json", "files/system/motd"):
        (tmp_path / name).write_text("a")
    seen = {build.recipe_digest(tmp_path)}
    for name in ("build_image.py", "recipe.json", "files/system/motd"):
        (tmp_path / name).write_text("b")
        seen.add(build.recipe_digest(tmp_path))
    (tmp_path / "files" / "system" / "motd").chmod(0o755)
    seen.add(build.recipe_digest(tmp_path))
    (tmp_path / "files" / "system" / "motd").rename(tmp_path / "files" / "system" / "issue")
    seen.add(build.recipe_digest(tmp_path))
    assert len(seen) == 6


def test_image_is_the_one_that_was_recorded(image: dict[str, Any]) -> None:
    assert load(LAYOUT / "index.json")["manifests"][0]["digest"] == image["manifest"]


def test_layout_has_every_blob_and_no_other(manifest: dict[str, Any]) -> None:
    (top,) = load(LAYOUT / "index.json")["manifests"]
    descriptors = [top, manifest["config"], *manifest["layers"]]
    for descriptor in descriptors:
        blob(descriptor)
    stored = {path.name for path in (LAYOUT / "blobs" / "sha256").iterdir()}
    assert stored == {descriptor["digest"].partition(":")[2] for descriptor in descriptors}
    assert load(LAYOUT / "oci-layout") == {"imageLayoutVersion": "1.0.0"}


def test_config_is_the_recipe(
    manifest: dict[str, Any], recipe: dict[str, Any], layers: list[bytes]
) -> None:
    config = json.loads(blob(manifest["config"]))
    assert (config["os"], config["architecture"]) == ("linux", "386")
    assert config["created"] == "2026-11-01T00:00:00Z"
    assert config["config"]["Cmd"] == recipe["config"]["cmd"]
    assert config["config"]["Env"] == recipe["config"]["env"]
    assert config["config"]["WorkingDir"] == recipe["config"]["workingdir"]
    assert config["config"]["Labels"] == recipe["config"]["labels"]
    assert config["rootfs"]["diff_ids"] == [
        f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers
    ]
    assert len(layers) == 1
    assert {layer["mediaType"] for layer in manifest["layers"]} == {
        "application/vnd.oci.image.layer.v1.tar+gzip"
    }


def test_image_is_small() -> None:
    size = sum(path.stat().st_size for path in LAYOUT.rglob("*") if path.is_file())
    assert size <= 6_300_000


def test_packages_are_those_of_the_recipe_and_have_their_licences(
    image: dict[str, Any], recipe: dict[str, Any], files: dict[str, tarfile.TarInfo]
) -> None:
    wanted = {(part["name"], package) for part in recipe["parts"] for package in part["packages"]}
    assert {(package["part"], package["name"]) for package in image["packages"]} == wanted
    for package in image["packages"]:
        assert all(package.values())
        documentation = f"usr/share/doc/{package['name']}"
        link = files.get(documentation)
        if link is not None and link.issym():
            documentation = f"usr/share/doc/{link.linkname}"
        assert files[f"{documentation}/copyright"].size > 0


def test_programs_are_for_the_guest(layers: list[bytes], files: dict[str, tarfile.TarInfo]) -> None:
    programs = 0
    for layer in layers:
        with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
            for member in archive:
                stream = archive.extractfile(member) if member.isreg() else None
                if stream is not None and stream.read(4) == b"\x7fELF":
                    stream.seek(0)
                    header = stream.read(20)
                    # ELFCLASS32, ELFDATA2LSB; EM_386
                    assert (header[4:6], header[18:20]) == (b"\x01\x01", b"\x03\x00"), member.name
                    programs += 1
    assert programs > 20
    assert files["usr/bin/sh"].linkname == "busybox"


def test_a_terminal_works_in_it(files: dict[str, tarfile.TarInfo]) -> None:
    assert files["usr/bin/bash"].mode == 0o755
    assert files["usr/lib/terminfo/x/xterm-256color"].isreg()
    assert files["usr/lib/locale/C.utf8/LC_CTYPE"].isreg()
    assert files["etc/motd"].size > 0
    assert files["tmp"].mode == 0o1777
    assert (files["root"].mode, files["root"].uid) == (0o700, 0)


def test_every_symlink_leads_somewhere(files: dict[str, tarfile.TarInfo]) -> None:
    outside = {"etc/mtab"}
    for name, member in files.items():
        if member.issym() and name not in outside:
            assert resolve(name, files) in files, f"{name} -> {member.linkname}"


def resolve(name: str, files: dict[str, tarfile.TarInfo]) -> str:
    """Where a path of the image leads to."""
    left, at = name.split("/"), ""
    for _ in range(100):
        if not left:
            return at
        step = left.pop(0)
        place = step if not at else f"{at}/{step}"
        if step in {"", "."}:
            continue
        if step == "..":
            at = at.rpartition("/")[0]
        elif place in files and files[place].issym():
            target = files[place].linkname
            at = "" if target.startswith("/") else at
            left = target.split("/") + left
        else:
            at = place
    raise AssertionError(f"{name} is a loop")
