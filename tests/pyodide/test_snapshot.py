"""The memory snapshot that the page starts from."""

from __future__ import annotations

import gzip
import subprocess
from pathlib import Path

from tests.core.images import member, tar
from tests.core.spans import text

ROOT = Path(__file__).resolve().parents[2]


def test_it_has_all_that_a_gzip_layer_needs(distribution: Path, tmp_path: Path) -> None:
    """Else the page would fetch the whole standard library for the first such layer."""
    (wheel,) = (distribution / "wheels").glob("browsermount-*.whl")
    snapshot = tmp_path / "snapshot.bin"
    empty = tmp_path / "empty.zip"
    empty.write_bytes(b"PK\5\6" + bytes(18))
    layer = tmp_path / "layer"
    layer.write_bytes(gzip.compress(tar(member("words", text(3 << 20)))))
    _node(ROOT / "tools" / "site" / "snapshot.mjs", distribution, wheel, snapshot)
    check = ROOT / "tests" / "pyodide" / "snapshot.mjs"
    kind, stored, spans = _node(check, distribution, snapshot, empty, layer).split()
    assert (kind, stored) == ("GZIP", "blob")
    assert int(spans) > 3


def _node(*command: Path) -> str:
    done = subprocess.run(
        ["node", *map(str, command)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout
