#!/usr/bin/env python3
"""Builds machine.wasm of machine.c, which the tests run as a machine of container2wasm's.

Needs, as Debian packages: clang-19 lld-19 libclang-rt-19-dev-wasm32 wasi-libc.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE / "machine.c"
CODE = HERE / "machine.wasm"
MANIFEST = HERE / "machine.json"

COMMAND = [
    *("clang-19", "--target=wasm32-wasi", "--sysroot=/usr", "-fuse-ld=/usr/bin/wasm-ld-19"),
    *("-Oz", "-Wall", "-Wextra", "-Werror", "-Wl,--strip-all"),
]


def digests() -> dict[str, str]:
    """Return what the manifest has: the digests of source and code."""
    files = (SOURCE, CODE)
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


if __name__ == "__main__":
    subprocess.run([*COMMAND, "-o", CODE, SOURCE], check=True)
    CODE.chmod(0o644)
    MANIFEST.write_text(json.dumps(digests(), indent=2) + "\n", "utf-8")
