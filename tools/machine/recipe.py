"""The 64-bit machine's code for WebAssembly, and whether the built file fits its sources.

It is built when the sources change, and committed: who only runs the page needs no
compiler.  ``machine.json`` beside it says what it was made from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools import wasm_recipe
from tools.wasm_recipe import sha256

ROOT = wasm_recipe.ROOT
SOURCES = ROOT / "machine"
OUTPUT = ROOT / "web" / "vm" / "x64"
CODE = "machine.wasm"
MANIFEST = "machine.json"


def inputs() -> list[Path]:
    """The files of this repository that determine what is built; tests are not among them."""
    crates = sorted(path.parent for path in SOURCES.glob("*/Cargo.toml"))
    sources = [path for crate in crates for path in sorted((crate / "src").rglob("*.rs"))]
    manifests = [SOURCES / "Cargo.toml", SOURCES / "Cargo.lock"]
    manifests += [crate / "Cargo.toml" for crate in crates]
    return [*manifests, *sources, Path(__file__).with_name("build.py")]


def digest() -> str:
    """One SHA-256 over the names and contents of all inputs."""
    return wasm_recipe.digest(inputs())


def describe(directory: Path) -> dict[str, Any]:
    """Size and checksum of the built file."""
    code = directory / CODE
    return {"size": code.stat().st_size, "sha256": sha256(code)}


def problems(directory: Path = OUTPUT) -> list[str]:
    """What is wrong with the built file; nothing, when it is as it should be."""
    rebuild = "the machine's sources have changed: run tools/machine/build.py"
    file = describe(directory)
    return wasm_recipe.problems(directory / MANIFEST, digest(), file, CODE, rebuild)
