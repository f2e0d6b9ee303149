"""The examples of docs/python.md do what they say."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import pytest

from browsermount.cli import main
from browsermount.ninep import wire

from ..servers import served

ROOT = Path(__file__).resolve().parents[2]


def test_the_python_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # As most images are: with layers that are read once before anything of them can be.
    default = str(ROOT / "web" / "images" / "default")
    assert main(["convert", "-c", "gzip", default, str(tmp_path / "debian")]) == 0
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "python.md").read_text(), re.S)
    assert len(blocks) == 6
    for block in blocks:
        exec(block, names)
    shown = capsys.readouterr().out
    assert "linux/386\n" in shown
    assert "/usr/bin/busybox 0o755" in shown
    assert "b'root:x:0:0:root:/root:/bin/bash'" in shown
    assert "linux/386: 1 layers\n" in shown
    assert re.search(r"layer 1: ready (\d+) of \1\n", shown)
    assert "('no-matching-platform', " in shown
    # Those that need a server or a client.
    with served(tmp_path, it=tmp_path / "debian") as url:
        assert asyncio.run(names["read_over_http"](f"{url}images/it/")) > 1000
    asyncio.run(_talk(names["serve_once"], tmp_path / "9p"))


async def _talk(serve_once: Any, path: Path) -> None:
    serving = asyncio.create_task(serve_once(path))
    while not path.exists():
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(wire.Tversion(8192, b"9P2000.L").encode(wire.NOTAG))
    size = int.from_bytes(await reader.readexactly(4), "little")
    assert b"9P2000.L" in await reader.readexactly(size - 4)
    writer.close()
    await asyncio.wait_for(serving, 30)
