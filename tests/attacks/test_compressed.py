"""Layers that expand without end, and servers that never come to one."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from browsermount import limits
from browsermount.blobs.remote import RemoteBlob
from browsermount.errors import TooSlow
from browsermount.fetch import unstalled
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.layout import LayoutSource
from browsermount.reference import LayoutReference
from tests.core.images import BASE

from .bounded import attack


def test_gzip_of_one_block() -> None:
    outcome = attack("compressed:index_one_block", seconds=10, mebibytes=256)
    assert outcome.error == "InvalidLayer"
    assert "a block of more than 64 MiB" in outcome.message
    assert outcome.seconds < 3


def test_blocks_of_one_length() -> None:
    """Those of gzip(1) for zeros are a little longer than two spans, and each can be entered."""
    outcome = attack("compressed:index_equal_blocks", seconds=10, mebibytes=256)
    assert not outcome.error, outcome.message
    assert outcome.result <= 16 << 20


def test_zstd_of_repeated_bytes() -> None:
    outcome = attack("compressed:rle_frames", seconds=10, mebibytes=512)
    assert outcome.result >= 1 << 28
    assert outcome.seconds < 3  # quadratic before: some 25 s for all of it
    assert outcome.mebibytes < 128


def test_zstd_frame_that_hides_behind_another() -> None:
    outcome = attack("compressed:index_late_frame", seconds=10, mebibytes=256)
    assert outcome.error == "InvalidLayer"
    assert "a frame of more than 64 MiB behind others" in outcome.message
    assert outcome.seconds < 3
    outcome = attack("compressed:read_late_frame", seconds=10, mebibytes=256)
    assert not outcome.error, outcome.message
    assert 16 << 20 < outcome.result <= limits.MAX_BLOCK


class Trickle:
    """A server that sends a byte at a time, and its answers."""

    status = 200
    headers: ClassVar[dict[str, str]] = {}
    url = "https://registry.example/blob"

    def __init__(self, seconds: float, size: int = 1) -> None:
        self.asked = 0
        self._seconds = seconds
        self._size = size

    async def get(self, url: str, **_: Any) -> Trickle:
        self.asked += 1
        return self

    async def chunks(self) -> AsyncIterator[bytes]:
        for _ in itertools.count():
            await asyncio.sleep(self._seconds)
            yield bytes(self._size)

    async def aclose(self) -> None:
        pass


async def taken(response: Trickle, count: int) -> int:
    size = 0
    async for chunk in unstalled(response):
        size += len(chunk)
        if size >= count:
            break
    return size


def test_a_byte_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RATE_SECONDS", 0.1)
    with pytest.raises(TooSlow, match="bytes came from"):
        asyncio.run(taken(Trickle(0.02), 1000))
    assert asyncio.run(taken(Trickle(0.02, 100), 3000)) == 3000


def test_a_slow_server_is_not_asked_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "RATE_SECONDS", 0.1)
    server = Trickle(0.02)

    async def work() -> None:
        source = LayoutSource(server, LayoutReference(BASE))
        await RemoteBlob(source, Descriptor("", Digest.of(b""), 1000)).read(0, 1000)

    with pytest.raises(TooSlow):
        asyncio.run(work())
    assert server.asked == 1


_WAITS = """
import sys, tempfile, time
import click
from browsermount.cli import app
@app.command.command("wait")
def wait():
    with tempfile.TemporaryDirectory() as work:
        print(work, flush=True)
        time.sleep(60)
app._COMMANDS["wait"] = ""
app._Commands.get_command = lambda self, ctx, name: wait
sys.exit(app.main(["wait"]))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_temporary_directories_go_with_a_signal(number: int) -> None:
    process = subprocess.Popen([sys.executable, "-c", _WAITS], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    work = Path(process.stdout.readline().strip())
    assert work.is_dir()
    os.kill(process.pid, number)
    start = time.monotonic()
    assert process.wait(20) == 128 + number
    assert time.monotonic() - start < 10
    assert not work.exists()
