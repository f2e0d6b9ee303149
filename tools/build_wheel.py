"""Builds the wheel, without network: hatchling must be installed."""

from __future__ import annotations

import argparse
from pathlib import Path

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parent.parent


def build_wheel(directory: Path) -> Path:
    """Build the wheel into ``directory`` and return its path."""
    builder = WheelBuilder(str(ROOT))
    return Path(next(iter(builder.build(directory=str(directory), versions=["standard"]))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, nargs="?", default=ROOT / "dist")
    print(build_wheel(parser.parse_args().directory))
