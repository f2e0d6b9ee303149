"""Layers that the page has begun to fetch and to decompress: ``web/mount/early.js``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from browsermount.blobs.buffers import Buffer
from browsermount.pyodide.buffers import JsBuffer


class BrowserEarlyLayer:
    """A :class:`browsermount.streams.early.EarlyLayer` on an ``EarlyLayer`` of JavaScript's."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer

    @property
    def failed(self) -> bool:
        """Whether it cannot be had."""
        return bool(self._layer.failed)

    @property
    def came(self) -> int:
        """How many bytes of the blob have come."""
        return int(self._layer.came)

    @property
    def sha256(self) -> str:
        """The hexadecimal digits of the blob's SHA-256, when no more comes."""
        return str(self._layer.sha256)

    def take(self) -> Sequence[Buffer]:
        """Return the pieces of the plain stream that have come and were not taken yet."""
        return [JsBuffer.of(array) for array in self._layer.take()]

    async def wait(self) -> bool:
        """Wait until there is something to take, and tell whether more may come later."""
        return bool(await self._layer.wait())

    def close(self) -> None:
        """Give up what has not come yet."""
        self._layer.close()
