"""The page's TLS server for WebAssembly, and whether the built file fits its sources.

As the 64-bit machine's code, it is built when the sources change, and committed.
``tls.json`` beside it says what it was made from.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tools import wasm_recipe
from tools.wasm_recipe import sha256

ROOT = wasm_recipe.ROOT
SOURCES = ROOT / "tls"
OUTPUT = ROOT / "web" / "tls"
CODE = "tls.wasm"
LICENSES = "LICENSES.txt"
MANIFEST = "tls.json"


def inputs() -> list[Path]:
    """The files of this repository that determine what is built; tests are not among them."""
    manifests = [SOURCES / "Cargo.toml", SOURCES / "Cargo.lock"]
    sources = sorted((SOURCES / "src").rglob("*.rs"))
    return [*manifests, *sources, Path(__file__).with_name("build.py")]


def digest() -> str:
    """One SHA-256 over the names and contents of all inputs."""
    return wasm_recipe.digest(inputs())


def describe(directory: Path) -> dict[str, Any]:
    """Size and checksum of the built file, and the checksum of the licences beside it."""
    code = directory / CODE
    return {
        "size": code.stat().st_size,
        "sha256": sha256(code),
        "licenses": sha256(directory / LICENSES),
    }


def problems(directory: Path = OUTPUT) -> list[str]:
    """What is wrong with the built file; nothing, when it is as it should be."""
    rebuild = "the TLS server's sources have changed: run tools/tls/build.py"
    file = describe(directory)
    return wasm_recipe.problems(directory / MANIFEST, digest(), file, CODE, rebuild)
