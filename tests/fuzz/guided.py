"""Fuzzing that follows which code an input reaches, by atheris (https://github.com/google/atheris).

    .venv/bin/python -m pip install atheris
    .venv/bin/python -m tests.fuzz.guided TARGET -max_total_time=600

What is behind the target goes to libFuzzer. Inputs that have reached something new are kept in
``build/fuzz/TARGET`` for the next time; what fails is kept as by :mod:`tests.fuzz.test_fuzz`.
"""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["browsermount"]):
    from tests.fuzz.targets import TARGETS

from .corpus import keep, kept
from .mutation import mended

_FOUND = Path(__file__).parents[2] / "build" / "fuzz"


def main() -> None:
    name, *options = sys.argv[1:] or [""]
    if name not in TARGETS:
        raise SystemExit(f"There is no target {name!r}, but: {', '.join(TARGETS)}.")
    target = TARGETS[name]
    found = _FOUND / name
    found.mkdir(parents=True, exist_ok=True)
    for number, data in enumerate([*target.seeds, *(path.read_bytes() for path in kept(name))]):
        (found / f"seed-{number}").write_bytes(data)

    def attempt(data: bytes) -> None:
        try:
            target.run(mended(data) if name in ("tar", "layer", "delta") else data)
        except target.expected:
            pass
        except BaseException:
            print(f"The input is kept as {keep(name, data)}.", file=sys.stderr)
            raise

    arguments = [
        sys.argv[0],
        "-timeout=10",
        "-max_len=65536",
        f"-artifact_prefix={found}/",
        *options,
    ]
    atheris.Setup([*arguments, str(found)], attempt)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
