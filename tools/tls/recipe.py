"""The page's TLS server for WebAssembly, and whether the built file fits its sources.

As the 64-bit machine's code, it is built when the sources change, and committed.
``tls.json`` beside it says what it was made from.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from tools.machine.recipe import sha256

ROOT = Path(__file__).resolve().parents[2]
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
    total = hashlib.sha256()
    for path in inputs():
        total.update(f"{path.relative_to(ROOT).as_posix()} {sha256(path)}\n".encode())
    return total.hexdigest()


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
    manifest = json.loads((directory / MANIFEST).read_text("utf-8"))
    found = []
    if manifest["recipe"] != digest():
        found.append("the TLS server's sources have changed: run tools/tls/build.py")
    if manifest["file"] != describe(directory):
        found.append(f"{CODE} is not the file that was built")
    return found
