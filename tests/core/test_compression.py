import gzip
import sys

import pytest

from browsermount.errors import InvalidLayer
from browsermount.layers.compression import MAX_STEP, Detecting

if sys.version_info >= (3, 14):
    from compression import zstd

    zstd_compress = zstd.compress
else:
    import zstandard

    zstd_compress = zstandard.ZstdCompressor().compress

TEXT = bytes(range(256)) * 3000


def plain(data: bytes, step: int = 7001) -> bytes:
    decompressor = Detecting()
    result = b"".join(
        b"".join(decompressor.feed(data[i : i + step])) for i in range(0, len(data), step)
    )
    decompressor.close()
    return result


@pytest.mark.parametrize("step", [1, 3, 4096, 1 << 20])
@pytest.mark.parametrize("compress", [bytes, gzip.compress, zstd_compress])
def test_round_trip(compress, step: int) -> None:  # type: ignore[no-untyped-def]
    text = TEXT[: 3000 if step < 4096 else None]
    assert plain(compress(text), step) == text


@pytest.mark.parametrize("compress", [gzip.compress, zstd_compress])
def test_several_members(compress) -> None:  # type: ignore[no-untyped-def]
    assert plain(compress(b"one") + compress(b"") + compress(b"two"), 5) == b"onetwo"


def test_zeros_after_the_last_gzip_member_are_padding() -> None:
    assert plain(gzip.compress(TEXT) + bytes(1000)) == TEXT


def test_zstd_skippable_frames() -> None:
    skippable = b"\x51\x2a\x4d\x18" + (5).to_bytes(4, "little") + b"hello"
    assert plain(skippable + zstd_compress(b"text") + skippable, 3) == b"text"


@pytest.mark.parametrize("compress", [gzip.compress, zstd_compress])
def test_cut_off(compress) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InvalidLayer, match="too early"):
        plain(compress(TEXT)[:-1])


def test_damaged() -> None:
    data = bytearray(gzip.compress(TEXT))
    data[-6] ^= 1
    with pytest.raises(InvalidLayer, match="damaged"):
        plain(bytes(data))
    with pytest.raises(InvalidLayer, match="damaged"):
        plain(gzip.compress(TEXT) + b"rubbish")
    with pytest.raises(InvalidLayer, match="damaged"):
        plain(b"\x28\xb5\x2f\xfd" + b"rubbish" * 100)


def test_empty_and_tiny() -> None:
    assert plain(b"") == b""
    with pytest.raises(InvalidLayer, match="2 bytes"):
        plain(b"ab")


@pytest.mark.parametrize("compress", [gzip.compress, zstd_compress])
def test_a_bomb_comes_in_steps(compress) -> None:  # type: ignore[no-untyped-def]
    bomb = compress(bytes(64 << 20))
    decompressor = Detecting()
    total = 0
    for part in decompressor.feed(bomb):
        assert len(part) <= MAX_STEP
        total += len(part)
    assert total == 64 << 20


def with_window(log: int, text: bytes) -> bytes:
    """Return a zstd frame whose window has this logarithm: RFC 8878, section 3.1.1."""
    block = (len(text) << 3 | 1).to_bytes(3, "little") + text
    return b"\x28\xb5\x2f\xfd" + bytes([0, (log - 10) << 3]) + block


@pytest.mark.parametrize("log", [10, 27, 28, 29])
def test_zstd_windows_that_go_takes(log: int) -> None:
    assert plain(with_window(log, b"text")) == b"text"


def test_a_zstd_window_that_is_too_large() -> None:
    with pytest.raises(InvalidLayer, match="a window of more than 512 MiB"):
        plain(with_window(30, b"text"))
