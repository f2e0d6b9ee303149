#!/usr/bin/env python3
"""Makes the snapshot from which a machine resumes in the place of booting.

The format of the state belongs to the exact version of v86, so it is made when
a site is built, and is not committed.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
from pathlib import Path

import zstandard

HERE = Path(__file__).resolve().parent
IMAGE_DIR = HERE.parents[1] / "web" / "vm" / "image"
DEFAULT_MEMORY_MIB = 512  # as in web/vm/machine.js
STATE = "snapshot.zst"
INFO = "snapshot.json"
WINDOW_LOG = 21
"""Logarithm of how far back zstd refers, which what unpacks it has to keep.

With 8 MiB, as level 19 has it, the 64-bit machine takes 8 % more of the processor's time to resume
and 20 MB more of memory, for 1 % less to be fetched.
"""


def make_snapshot(
    out_dir: Path,
    emulator: Path,
    image_dir: Path = IMAGE_DIR,
    memory_mib: int = DEFAULT_MEMORY_MIB,
    level: int = 19,
) -> None:
    """Boot a machine and write its state, with what it belongs to.

    Args:
        out_dir: Gets snapshot.zst and snapshot.json.
        emulator: A directory with libv86.mjs and v86.wasm, the files that the site will serve, or
            the code of our own machine, for a 64-bit image.
        image_dir: Has the machine's files.
        memory_mib: The memory of the machine, and of all that resume from it.
        level: How hard zstd tries.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as work:
        subprocess.run(
            [
                "node",
                str(HERE / "snapshot.mjs"),
                str(image_dir),
                str(emulator),
                str(memory_mib),
                work,
            ],
            check=True,
        )
        state = (Path(work) / "snapshot.bin").read_bytes()
        parameters = zstandard.ZstdCompressionParameters.from_level(level, window_log=WINDOW_LOG)
        compressed = zstandard.ZstdCompressor(compression_params=parameters).compress(state)
        (out_dir / STATE).write_bytes(compressed)
        (out_dir / INFO).write_bytes((Path(work) / INFO).read_bytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out_dir", type=Path)
    parser.add_argument("--emulator", type=Path, required=True, help="v86/build, or machine.wasm")
    parser.add_argument("--image", type=Path, default=IMAGE_DIR)
    parser.add_argument("--memory", type=int, default=DEFAULT_MEMORY_MIB)
    options = parser.parse_args()
    make_snapshot(options.out_dir, options.emulator, options.image, options.memory)


if __name__ == "__main__":
    main()
