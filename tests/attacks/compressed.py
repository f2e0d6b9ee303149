"""Compressed layers whose blocks are the attack."""

from __future__ import annotations

import hashlib
import struct
import zlib

from browsermount.layers.compression import Zstd
from browsermount.layers.indexer import LayerIndexer
from browsermount.layers.span import Span, decode

from .layers import header


class Bits:
    """Bits as deflate packs them: the first is the lowest of its byte."""

    def __init__(self) -> None:
        self.number = 0
        self.length = 0

    def add(self, value: int, width: int) -> None:
        self.number |= value << self.length
        self.length += width


def one_block(mebibytes: int) -> bytes:
    """Return gzip data of one deflate block: a tar header, and zeros without end.

    The codes are the fixed ones (RFC 1951, section 3.2.6).
    """

    def literal(byte: int) -> tuple[int, int]:
        code, width = (0x30 + byte, 8) if byte < 144 else (0x190 + byte - 144, 9)
        return int(f"{code:0{width}b}"[::-1], 2), width

    start = Bits()
    start.add(0b011, 3)
    for byte in header(b"zeros", size=mebibytes << 20) + b"\0":
        start.add(*literal(byte))
    # Length 258 is symbol 285: 11000101; distance 1 is symbol 0: 00000.
    match = Bits()
    match.add(int("11000101"[::-1], 2), 8)
    match.add(0, 5)
    repeated = Bits()
    for _ in range(8):
        repeated.add(match.number, match.length)  # 8 times 13 bits: whole bytes
    body = Bits()
    body.add(start.number, start.length)
    count = (mebibytes << 20) // 258 // 8
    tail = int.from_bytes(repeated.number.to_bytes(13, "little") * count, "little")
    body.add(tail, 104 * count)
    data = body.number.to_bytes(-(-body.length // 8), "little")
    return b"\x1f\x8b\x08\0\0\0\0\0\0\x03" + data


def index_one_block() -> None:
    """A gzip layer of one block of 128 MiB."""
    indexer = LayerIndexer(lambda span, data: None)
    data = one_block(128)
    for start in range(0, len(data), 1 << 14):
        indexer.feed(data[start : start + (1 << 14)])


def index_equal_blocks() -> int:
    """A gzip layer of blocks of 8,453,886 bytes; returns how much is decompressed for a read."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31, 9)
    size = 96 << 20
    plain = header(b"zeros", size=size)
    data = compressor.compress(plain)
    for _ in range(size >> 20):
        data += compressor.compress(bytes(1 << 20))
    data += compressor.compress(bytes(1024)) + compressor.flush()
    spans: list[Span] = []
    digest = hashlib.sha256()

    def take(span: Span, part: bytes) -> None:
        spans.append(span)
        digest.update(part)

    indexer = LayerIndexer(take)
    for start in range(0, len(data), 1 << 14):
        indexer.feed(data[start : start + (1 << 14)])
    indexer.close()
    again = hashlib.sha256()
    for span in spans:
        again.update(decode(span, data[span.blob_offset : span.blob_end]))
    assert again.digest() == digest.digest()
    return max(span.skip + span.size for span in spans)


def rle_frames() -> int:
    """256 KiB of zstd blocks that are one byte repeated: 8 GiB; 256 MiB of it."""
    block = struct.pack("<I", (128 << 10) << 3 | 0b010)[:3] + b"\0"
    frame = b"\x28\xb5\x2f\xfd\x00\x58" + block * (1 << 16)
    zstd, size = Zstd(), 0
    for plain in zstd.feed(frame):
        size += len(plain)
        if size >= 1 << 28:
            break
    return size


def _rle_frame(mebibytes: int) -> bytes:
    """A zstd frame of blocks of 128 KiB that are zeros."""
    block, last = ((128 << 10) << 3 | 0b010 | end for end in (0, 1))
    blocks = struct.pack("<I", block)[:3] + b"\0"
    return (
        b"\x28\xb5\x2f\xfd\x00\x58"
        + blocks * (8 * mebibytes - 1)
        + struct.pack("<I", last)[:3]
        + b"\0"
    )


def _two_frames(mebibytes: int) -> tuple[list[Span], bytes]:
    size = (1 + mebibytes) << 20
    plain = header(b"zeros", size=size - 512).ljust(1 << 20, b"\0")
    raw = struct.pack("<I", (128 << 10) << 3)[:3]
    blocks = [raw + plain[i : i + (128 << 10)] for i in range(0, len(plain), 128 << 10)]
    blocks[-1] = struct.pack("<I", (128 << 10) << 3 | 1)[:3] + blocks[-1][3:]
    data = b"\x28\xb5\x2f\xfd\x00\x58" + b"".join(blocks) + _rle_frame(mebibytes)
    # The archive's end, in a frame of its own.
    data += b"\x28\xb5\x2f\xfd\x00\x58" + struct.pack("<I", 1024 << 3 | 1)[:3] + bytes(1024)
    spans: list[Span] = []
    indexer = LayerIndexer(lambda span, part: spans.append(span))
    for start in range(0, len(data), 1 << 14):
        indexer.feed(data[start : start + (1 << 14)])
    indexer.close()
    return spans, data


def index_late_frame() -> None:
    """A zstd layer whose second frame has 128 MiB."""
    _two_frames(128)


def read_late_frame() -> int:
    """One whose second frame is as large as it may be; returns how much a read decompresses."""
    spans, data = _two_frames(60)
    last = max(spans, key=lambda span: span.skip)
    assert decode(last, data[last.blob_offset : last.blob_end]) == bytes(last.size)
    return last.skip + last.size
