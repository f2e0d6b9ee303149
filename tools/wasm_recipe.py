"""What the recipes of committed WebAssembly code have in common: tools/machine and tools/tls."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def digest(inputs: Iterable[Path]) -> str:
    """One SHA-256 over the names and contents of all inputs."""
    total = hashlib.sha256()
    for path in inputs:
        total.update(f"{path.relative_to(ROOT).as_posix()} {sha256(path)}\n".encode())
    return total.hexdigest()


def problems(
    manifest: Path, recipe: str, file: dict[str, Any], code: str, rebuild: str
) -> list[str]:
    """What is wrong with a built file; nothing, when it is as it should be.

    Args:
        manifest: What was built says there what it was made from.
        recipe: The digest of the inputs as they are now.
        file: The built file as it is now, in the manifest's terms.
        code: What it is called.
        rebuild: What has changed where the inputs have, and what to run.
    """
    built = json.loads(manifest.read_text("utf-8"))
    found = []
    if built["recipe"] != recipe:
        found.append(rebuild)
    if built["file"] != file:
        found.append(f"{code} is not the file that was built")
    return found
