#!/usr/bin/env python3
"""Takes the programs that translate other processors' programs from Debian.

Writes ``web/vm/interpreters`` and the table of them, which is a part of the
Python package: ``src/browsermount/interpreters.json``.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
from pathlib import Path

import zstandard

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tools.vm.debian import Archive, deb_version, unpack  # noqa: E402

OUTPUT = ROOT / "web" / "vm" / "interpreters"
TABLE = ROOT / "src" / "browsermount" / "interpreters.json"
PACKAGE = "qemu-user-static"
PROCESSORS = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64"}
"""What uname(1) calls a processor, and what images call it."""


def write_interpreter(program: Path, processor: str, architecture: str) -> dict[str, object]:
    """Compress one program and return its row of the table."""
    path = f"{processor}.zst"
    plain = program.read_bytes()
    data = zstandard.ZstdCompressor(level=22).compress(plain)
    (OUTPUT / path).write_bytes(data)
    return {
        "processor": processor,
        "path": path,
        "mediaType": "application/zstd",
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "size": len(data),
        "platform": {"os": "linux", "architecture": architecture},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    parser.add_argument("--work", type=Path, default=cache / "browsermount" / "vm")
    work: Path = parser.parse_args().work.resolve()

    archive = Archive(work / "apt")
    archive.update()
    package = archive.fetch(f"{PACKAGE}:i386")
    unpack(package, work / PACKAGE)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    programs = work / PACKAGE / "usr" / "bin"
    table = {
        "package": f"{PACKAGE}:i386",
        "version": deb_version(package),
        "licence": "GPL-2.0-only",
        "interpreters": [
            write_interpreter(programs / f"qemu-{processor}-static", processor, architecture)
            for processor, architecture in PROCESSORS.items()
        ],
    }
    TABLE.write_text(json.dumps(table, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
