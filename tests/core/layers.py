"""Layers read as a whole, for tests of what comes after that."""

from __future__ import annotations

from bisect import bisect_right

from browsermount.layers.index import LayerIndex
from browsermount.layers.indexer import LayerIndexer
from browsermount.layers.span import Span


class HeldStream:
    """A layer's plain stream, as far as its spans go."""

    def __init__(self) -> None:
        self._spans: list[Span] = []
        self._data: list[bytes] = []

    def take(self, span: Span, data: bytes) -> None:
        self._spans.append(span)
        self._data.append(data)

    def read_now(self, offset: int, size: int) -> bytes:
        first = bisect_right([span.stream_offset for span in self._spans], offset) - 1
        start = self._spans[first].stream_offset
        return b"".join(self._data[first:])[offset - start : offset - start + size]

    async def read(self, offset: int, size: int) -> bytes:
        return self.read_now(offset, size)


def read_layer(data: bytes, chunk: int = 1 << 20) -> tuple[LayerIndex, HeldStream]:
    """Index a blob that comes in chunks of this size."""
    stream = HeldStream()
    indexer = LayerIndexer(stream.take)
    for start in range(0, len(data), chunk):
        indexer.feed(data[start : start + chunk])
    return indexer.close(), stream
