"""Blobs of JavaScript's, which may be on the browser's disk."""

from __future__ import annotations

from typing import Any

from browsermount.oci.digest import Digest
from browsermount.oci.given import GivenLayer


class BlobReader:
    """Reads a ``Blob`` anywhere.

    Attributes:
        size: How many bytes it has.
    """

    def __init__(self, blob: Any) -> None:
        self._blob = blob
        self.size = int(blob.size)

    async def read(self, offset: int, size: int) -> bytes:
        """Return so many bytes from an offset."""
        buffer = await self._blob.slice(offset, offset + size).arrayBuffer()
        result: bytes = buffer.to_bytes()
        return result


def given_layer(layer: Any) -> GivenLayer:
    """Return a layer that the page has: an object with ``data``, a ``Blob``, and its ``sha256``."""
    reader = BlobReader(layer.data)
    return GivenLayer(Digest("sha256", str(layer.sha256)), reader.size, reader.read)
