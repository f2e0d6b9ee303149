"""Layers that lie over the image, which become one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from browsermount.commit.delta import Copy, NotMerged, merged
from browsermount.pyodide.blobs import BlobReader
from browsermount.pyodide.buffers import JsBuffer


class Sink(Protocol):
    """Where the pieces of the one layer go: ``web/mount/merge-layers.js``."""

    def bytes(self, data: Any) -> None:
        """Take a ``Uint8Array``."""

    def slice(self, layer: int, start: int, end: int) -> None:
        """Take a part of one of the layers."""


async def merge_layers(layers: Sequence[Any], sink: Sink) -> str:
    """Merge layers, the lowest first.

    Args:
        layers: Tar archives: ``Blob`` objects.
        sink: Takes the one that stands for them.

    Returns:
        Why they cannot be merged; empty where they are.
    """
    try:
        pieces = await merged([BlobReader(layer) for layer in layers])
    except NotMerged as error:
        return str(error)
    for piece in pieces:
        if isinstance(piece, Copy):
            sink.slice(piece.layer, piece.offset, piece.offset + piece.size)
        else:
            sink.bytes(JsBuffer(piece).array)
    return ""
