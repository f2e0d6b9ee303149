"""Layers made for tests, and reading through spans."""

from __future__ import annotations

import gzip
import random
import sys
import zlib

from browsermount.layers.index import LayerIndex
from browsermount.layers.indexer import LayerIndexer
from browsermount.layers.span import Span, decode
from tests.core.images import member, tar

if sys.version_info >= (3, 14):
    from compression import zstd

    zstd_compress = zstd.compress
else:
    import zstandard

    zstd_compress = zstandard.ZstdCompressor().compress

WORDS = [
    bytes(random.Random(i).choices(b"abcdefghijklmnopqrstuvwxyz", k=3 + i % 9)) for i in range(999)
]


WORDS_SIZE = 1_700_000


def text(size: int, seed: int = 0) -> bytes:
    """Return what compresses about as well as programs do."""
    words = random.Random(seed).choices(WORDS, k=size // 4 + 1)
    return b" ".join(words)[:size]


def archive() -> bytes:
    """Return an archive of 3 MB of text, noise and zeros."""
    noise = random.Random(1).randbytes(600_000)
    return tar(
        member("etc/"),
        member("etc/words", text(WORDS_SIZE)),
        member("etc/noise", noise),
        *[member(f"etc/small{i}", text(700, i)) for i in range(300)],
        member("etc/zeros", bytes(600_000)),
    )


def gzip_members(data: bytes, size: int) -> bytes:
    """Compress every ``size`` bytes on their own."""
    return b"".join(gzip.compress(data[i : i + size], 6) for i in range(0, len(data), size))


def zstd_frames(data: bytes, size: int) -> bytes:
    """Compress every ``size`` bytes on their own."""
    return b"".join(zstd_compress(data[i : i + size]) for i in range(0, len(data), size))


def one_block(data: bytes) -> bytes:
    """Compress with gzip into few, very long blocks."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31, 9)
    return compressor.compress(data) + compressor.flush()


def index_of(blob: bytes, step: int = 1 << 16) -> tuple[LayerIndex, bytes]:
    """Index a layer; return also the plain stream that the sink got."""
    plain = bytearray()
    indexer: LayerIndexer

    def sink(span: Span, data: bytes) -> None:
        assert indexer.stored is not None
        assert (span.stream_offset, span.size) == (len(plain), len(data))
        plain.extend(data)

    indexer = LayerIndexer(sink)
    for start in range(0, len(blob), step):
        indexer.feed(blob[start : start + step])
    index = indexer.close()
    assert indexer.stored in (index.stored, None)
    return index, bytes(plain)


def read(index: LayerIndex, stored: bytes, offset: int, size: int) -> bytes:
    """Read from a plain stream through spans; ``stored`` is what they point into."""
    result = bytearray()
    for span in index.spans:
        if span.end > offset and span.stream_offset < offset + size:
            part = decode(span, stored[span.blob_offset : span.blob_end])
            start = max(offset - span.stream_offset, 0)
            result += part[start : offset + size - span.stream_offset]
    return bytes(result)
