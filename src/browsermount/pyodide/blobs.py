"""Blobs of JavaScript's, which may be on the browser's disk."""

from __future__ import annotations

from typing import Any

from browsermount.oci.digest import Digest
from browsermount.oci.given import GivenLayer


def given_layer(layer: Any) -> GivenLayer:
    """Return a layer that the page has: an object with ``data``, a ``Blob``, and its ``sha256``."""
    data = layer.data

    async def read(offset: int, size: int) -> bytes:
        buffer = await data.slice(offset, offset + size).arrayBuffer()
        result: bytes = buffer.to_bytes()
        return result

    return GivenLayer(Digest("sha256", str(layer.sha256)), int(data.size), read)
