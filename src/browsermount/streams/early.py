"""Layers that somebody else has begun to fetch and to decompress before the mount was there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from browsermount.blobs.buffers import Buffer
from browsermount.errors import InvalidLayer
from browsermount.fetch import STALL_SECONDS
from browsermount.layers.entry import Entry
from browsermount.layers.index import LayerIndex, LayerKind
from browsermount.layers.span import Codec, Span
from browsermount.layers.tar import TarParser
from browsermount.oci.descriptor import Descriptor


class EarlyLayer(Protocol):
    """A gzip layer that comes decompressed."""

    @property
    def failed(self) -> bool:
        """Whether it cannot be had: damaged, or compressed in several members."""

    @property
    def came(self) -> int:
        """How many bytes of the blob have come."""

    @property
    def sha256(self) -> str:
        """The hexadecimal digits of the blob's SHA-256, when no more comes."""

    def take(self) -> Sequence[Buffer]:
        """Return the pieces of the plain stream that have come and were not taken yet."""

    async def wait(self) -> bool:
        """Wait until there is something to take, and tell whether more may come later."""

    def close(self) -> None:
        """Give up what has not come yet."""


EarlyLayers = Callable[[str], Awaitable[EarlyLayer | None]]
"""Takes the hexadecimal digits of a layer's SHA-256, and returns it if it comes already."""


class NotEarly(Exception):
    """The layer has to be read as others are, which tells what is wrong with it, if anything is."""


_STEP = 1 << 15
"""Plain bytes that are looked at together: most of a layer is content, which is passed over."""


def _members(tar: TarParser, piece: Buffer) -> list[Entry]:
    """Return the members that the next piece of the plain stream completes."""
    entries = []
    offset = 0
    while offset < piece.size:
        passed = min(tar.skippable, piece.size - offset)
        tar.skip(passed)
        offset += passed
        if offset < piece.size:
            data = piece.read(offset, _STEP)
            entries += tar.feed(data)
            offset += len(data)
    return entries


async def read_early(
    layer: EarlyLayer, descriptor: Descriptor, on_step: Callable[[int], None]
) -> tuple[LayerIndex, dict[int, Buffer]]:
    """Read a layer that comes already, and verify it.

    Args:
        layer: What comes. It is closed in any case.
        descriptor: What it is said to be.
        on_step: Is called with how many bytes of the blob have come, from time to time.

    Returns:
        Its index, which points into the plain stream, and the bytes of each span. The spans'
        digests are not known yet: see :meth:`browsermount.streams.stream.LayerStream.settle`.

    Raises:
        NotEarly: See there.
    """
    tar = TarParser()
    index = LayerIndex(LayerKind.GZIP, stored="plain")
    buffers: dict[int, Buffer] = {}
    offset = 0
    more = True
    try:
        while more:
            more = await asyncio.wait_for(layer.wait(), STALL_SECONDS)
            for piece in layer.take():
                if tar.ended:
                    continue
                index.entries += _members(tar, piece)
                buffers[len(index.spans)] = piece
                size = piece.size
                index.spans.append(
                    Span(offset, size, offset, size, Codec.RAW, descriptor.digest, "blob")
                )
                offset += size
            on_step(layer.came)
        tar.close()
    except (TimeoutError, InvalidLayer) as error:
        raise NotEarly from error
    finally:
        layer.close()
    digest = descriptor.digest
    actual = (layer.came, "sha256", layer.sha256)
    if layer.failed or actual != (descriptor.size, digest.algorithm, digest.encoded):
        raise NotEarly
    return index, buffers
