"""The machine's files in web/vm/image, and whether they fit their recipe.

The files are built rarely and committed.  image.json says what they were made
from, so that a change of the recipe without a new build is noticed.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECIPE_DIR = Path(__file__).resolve().parent
IMAGE_DIR = ROOT / "web" / "vm" / "image"
MANIFEST = "image.json"

KERNEL = "bzImage"
INITRAMFS = "initramfs.cpio.zst"
BIOS = "seabios.bin"
FILES = (KERNEL, INITRAMFS, BIOS)


def inputs() -> list[Path]:
    """The files of this repository that determine what is built."""
    names = ["build.py", "debian.py", "kernel.config"]
    sources = sorted((RECIPE_DIR / "init").glob("*.[ch]"))
    warm_up = RECIPE_DIR / "warmup" / "warmup.c"
    return [*(RECIPE_DIR / name for name in names), *patches(), *sources, warm_up]


def patches() -> list[Path]:
    """What is changed in Debian's source of the kernel."""
    return sorted((RECIPE_DIR / "patches").glob("*.patch"))


def digest() -> str:
    """One SHA-256 over the names and contents of all inputs."""
    total = hashlib.sha256()
    for path in inputs():
        name = path.relative_to(RECIPE_DIR).as_posix()
        total.update(f"{name} {sha256(path)}\n".encode())
    return total.hexdigest()


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def describe(directory: Path) -> dict[str, dict[str, Any]]:
    """Size and checksum of each of the machine's files in a directory."""
    return {
        name: {
            "size": (directory / name).stat().st_size,
            "sha256": sha256(directory / name),
        }
        for name in FILES
    }


def problems(directory: Path = IMAGE_DIR) -> list[str]:
    """What is wrong with the built files; nothing, when they are as they should be."""
    manifest = json.loads((directory / MANIFEST).read_text("utf-8"))
    found = []
    if manifest["recipe"] != digest():
        found.append("the recipe has changed: run tools/vm/build.py")
    actual = describe(directory)
    for name in FILES:
        expected = {key: manifest["files"][name][key] for key in ("size", "sha256")}
        if actual[name] != expected:
            found.append(f"{name} is not the file that was built")
    return found
