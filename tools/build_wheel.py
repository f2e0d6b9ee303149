"""Builds the wheel that the page takes, without network: hatchling must be installed.

It is the one that pip would install, but for the page itself and the virtual machine.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from unittest.mock import patch

from hatchling.builders.wheel import WheelBuilder

ROOT = Path(__file__).resolve().parent.parent


def build_wheel(directory: Path) -> Path:
    """Build the wheel into ``directory`` and return its path."""
    with patch.dict(os.environ, {"HATCH_BUILD_NO_HOOKS": "true"}):
        builder = WheelBuilder(str(ROOT))
        return Path(next(iter(builder.build(directory=str(directory), versions=["standard"]))))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, nargs="?", default=ROOT / "dist")
    print(build_wheel(parser.parse_args().directory))
