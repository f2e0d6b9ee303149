#!/usr/bin/env python3
"""Builds the 64-bit machine's code for WebAssembly: web/vm/x64/machine.wasm.

Needs, as Debian packages: rustc-web cargo-web rust-web-src lld-19.  Takes a minute.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.machine import recipe

# Debian's compiler comes with the sources of Rust's core library and not with a built
# one for WebAssembly. Compiling that is what the variable RUSTC_BOOTSTRAP allows.
PACKAGES = ("rustc-web", "cargo-web", "rust-web-src", "lld-19")
RUSTC = "/usr/bin/rustc"
CARGO = "/usr/bin/cargo"
TARGET = "wasm32-unknown-unknown"
COMMAND = [
    *(CARGO, "build", "--release", "--package", "machine", "--target", TARGET, "--locked"),
    *("-Z", "build-std=core,alloc,compiler_builtins"),
    *("-Z", "build-std-features=compiler-builtins-mem"),
]
FLAGS = [
    "-Ctarget-feature=+simd128,+bulk-memory",
    # Compiled code is put into the table.
    "-Clink-arg=--export-table",
    "-Clink-arg=--growable-table",
]


def build(target: Path, output: Path = recipe.OUTPUT) -> None:
    """Compile, and write the code with what it was made from.

    Args:
        target: Where the compiler keeps what it makes on the way.
        output: Gets machine.wasm and machine.json.
    """
    subprocess.run([CARGO, "fetch", "--locked"], cwd=recipe.SOURCES, check=True)
    # Neither a path of this machine nor the place that its crates are from is in the code, so that
    # the same code comes out elsewhere.
    home = Path(os.environ.get("CARGO_HOME", Path.home() / ".cargo"))
    places = {home: "cargo", recipe.ROOT: "."}
    places |= dict.fromkeys(sorted((home / "registry" / "src").glob("*")), "crates")
    remap = [f"--remap-path-prefix={place}={name}" for place, name in places.items()]
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
    query = ["dpkg-query", "--show", "--showformat=${Package} ${Version}\n", *PACKAGES]
    versions = subprocess.run(query, capture_output=True, text=True, check=True).stdout
    manifest = {
        "recipe": recipe.digest(),
        "packages": dict(line.split() for line in versions.splitlines()),
        "file": recipe.describe(output),
    }
    text = json.dumps(manifest, indent=2) + "\n"
    (output / recipe.MANIFEST).write_text(text, "utf-8")


if __name__ == "__main__":
    build(recipe.ROOT / "build" / "machine")
