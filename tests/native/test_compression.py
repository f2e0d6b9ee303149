"""Compressions that Docker takes beside gzip and zstd, and zstd's windows."""

from __future__ import annotations

import bz2
import lzma
import subprocess
from collections.abc import Callable

import pytest

from browsermount.errors import InvalidLayer
from browsermount.layers.compression import MAX_STEP, Detecting

Compress = Callable[[bytes], bytes]
TEXT = bytes(range(256)) * 3000
BOTH = pytest.mark.parametrize("compress", [bz2.compress, lzma.compress])


def plain(data: bytes, step: int = 7001) -> bytes:
    decompressor = Detecting()
    parts = (decompressor.feed(data[i : i + step]) for i in range(0, len(data), step))
    result = b"".join(b"".join(part) for part in parts)
    decompressor.close()
    return result


@pytest.mark.parametrize("step", [1, 3, 4096, 1 << 20])
@BOTH
def test_round_trip(compress: Compress, step: int) -> None:
    text = TEXT[: 3000 if step < 4096 else None]
    assert plain(compress(text), step) == text
    assert plain(compress(b"one") + compress(b"") + compress(b"two"), step) == b"onetwo"


@BOTH
def test_damage(compress: Compress) -> None:
    data = compress(TEXT)
    with pytest.raises(InvalidLayer, match="too early"):
        plain(data[:-1])
    with pytest.raises(InvalidLayer, match="damaged"):
        plain(data[:20] + bytes([data[20] ^ 255]) + data[21:])
    with pytest.raises(InvalidLayer, match="damaged"):
        plain(data + b"rubbish")


@BOTH
def test_a_bomb_comes_in_steps(compress: Compress) -> None:
    decompressor = Detecting()
    sizes = [len(part) for part in decompressor.feed(compress(bytes(16 << 20)))]
    assert sum(sizes) == 16 << 20
    assert max(sizes) <= MAX_STEP


def test_zeros_after_xz_are_padding() -> None:
    assert plain(lzma.compress(b"text") + bytes(8)) == b"text"


def with_window(log: int) -> bytes:
    """Return a frame whose window has this logarithm, as the program zstd writes it."""
    # From a pipe, it does not know how much is to come, and so takes the window that it is told.
    command = ["zstd", "-q", "-1", f"--long={log}"]
    return subprocess.run(command, input=TEXT, stdout=subprocess.PIPE, check=True).stdout


@pytest.mark.parametrize("log", [27, 28, 29])
def test_zstd_windows_that_go_takes(log: int) -> None:
    assert plain(with_window(log)) == TEXT


def test_a_zstd_window_that_is_too_large() -> None:
    with pytest.raises(InvalidLayer, match="a window of more than 512 MiB") as raised:
        plain(with_window(30))
    assert "--long=29" in raised.value.hint
