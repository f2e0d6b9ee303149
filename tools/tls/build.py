#!/usr/bin/env python3
"""Builds the page's TLS server for WebAssembly: web/tls/tls.wasm.

Needs, as Debian packages: rustc-web cargo-web rust-web-src lld-19.  Takes some minutes.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.machine.build import CARGO, PACKAGES, RUSTC, TARGET
from tools.tls import recipe

COMMAND = [
    *(CARGO, "build", "--release", "--target", TARGET, "--locked"),
    *("-Z", "build-std=core,alloc,compiler_builtins"),
    *("-Z", "build-std-features=compiler-builtins-mem"),
]
# The page downloads it: it is without the names of types and places for messages to programmers,
# which are a fifth of it.
FLAGS = [
    "-Ctarget-feature=+bulk-memory",
    "-Zfmt-debug=none",
    "-Zlocation-detail=none",
    *("-Zunstable-options", "-Cpanic=immediate-abort"),
]


def build(target: Path, output: Path = recipe.OUTPUT) -> None:
    """Compile, and write the code with what it was made from.

    Args:
        target: Where the compiler keeps what it makes on the way.
        output: Gets tls.wasm, the licences of what is in it, and tls.json.
    """
    # No path of this machine is in the code, so that the same code comes out elsewhere.
    home = os.environ.get("CARGO_HOME", str(Path.home() / ".cargo"))
    remap = [f"--remap-path-prefix={home}=cargo", f"--remap-path-prefix={recipe.ROOT}=."]
    environment = {
        **os.environ,
        "RUSTC": RUSTC,
        "RUSTC_BOOTSTRAP": "1",
        "CARGO_ENCODED_RUSTFLAGS": "\x1f".join([*FLAGS, *remap]),
        "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER": "wasm-ld-19",
        "CARGO_TARGET_DIR": str(target),
    }
    subprocess.run(COMMAND, cwd=recipe.SOURCES, env=environment, check=True)
    output.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(target / TARGET / "release" / recipe.CODE, output / recipe.CODE)
    (output / recipe.LICENSES).write_text(_licenses(), "utf-8")
    query = ["dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *PACKAGES]
    versions = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    manifest = {
        "recipe": recipe.digest(),
        "packages": dict(line.split() for line in versions.splitlines()),
        "file": recipe.describe(output),
    }
    text = json.dumps(manifest, indent=2) + "\n"
    (output / recipe.MANIFEST).write_text(text, "utf-8")


def _licenses() -> str:
    """Return what the crates want to be said where they are passed on."""
    tree = [CARGO, "tree", "--locked", "--target", TARGET, "--edges", "normal,no-proc-macro"]
    tree += ["--prefix", "none", "--no-dedupe", "--format", "{p}"]
    metadata = [CARGO, "metadata", "--locked", "--format-version", "1"]
    options: dict[str, Any] = {"cwd": recipe.SOURCES, "capture_output": True, "text": True}
    linked = {
        tuple(line.split()[:2])
        for line in subprocess.run(tree, check=True, **options).stdout.splitlines()
    }
    packages = json.loads(subprocess.run(metadata, check=True, **options).stdout)["packages"]
    texts: dict[str, list[str]] = {}
    for package in packages:
        name, version = package["name"], package["version"]
        if name == "tls" or (name, f"v{version}") not in linked:
            continue
        folder = Path(package["manifest_path"]).parent
        # Where there is a choice, it is the one that asks for the name of who has it.
        found = sorted(folder.glob("LICEN[CS]E-MIT*")) or sorted(folder.glob("LICEN[CS]E*"))
        for path in found:
            texts.setdefault(path.read_text("utf-8").strip(), []).append(f"{name} {version}")
        if not found:
            texts.setdefault(f"License: {package['license']}", []).append(f"{name} {version}")
    return "".join(f"== {', '.join(names)}\n\n{text}\n\n" for text, names in texts.items())


if __name__ == "__main__":
    build(recipe.ROOT / "build" / "tls")
