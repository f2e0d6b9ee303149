"""An image of what the container in the page has changed, written as an OCI image layout."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from browsermount.blobs.buffers import Buffer
from browsermount.blobs.verify import Verifier
from browsermount.commit.image import LAYOUT, documents, index_with
from browsermount.commit.layer import LayerFile
from browsermount.errors import BrowsermountError, InvalidImage
from browsermount.mount import Mount
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.given import GivenLayer
from browsermount.pyodide.blobs import given_layer
from browsermount.pyodide.buffers import JsBuffer
from browsermount.pyodide.worker import Worker, failure_of

_MAKER = "browsermount, in a page"
_STEP = 1 << 20
_PIECE = 4 << 20


class Sink(Protocol):
    """Where the layout's files go, one after the other: ``web/mount/image-sink.js``."""

    async def begin(self, path: str, size: int) -> bool:
        """Begin a file; False where it is there already, as a blob of this size."""

    async def write(self, data: Any) -> None:
        """Write the next bytes of the file that was begun: a ``Uint8Array``."""

    async def read(self, path: str) -> str | None:
        """Return a whole file that was there before; None where there is none."""


class _Pieces:
    """Bytes that are gathered outside Python's heap."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._buffers: list[Buffer] = []

    def write(self, data: bytes) -> None:
        """Take the next bytes."""
        self._rest += data
        if len(self._rest) >= _PIECE:
            self._buffers.append(JsBuffer(bytes(self._rest)))
            self._rest.clear()

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over all that was written."""
        for buffer in self._buffers:
            yield buffer.read(0, buffer.size)
        yield bytes(self._rest)


async def save_image(
    worker: Worker, layers: Sequence[Any], name: str, sink: Sink, report: Callable[[int, int], None]
) -> str:
    """Write the mounted image with more layers.

    Args:
        worker: Has the mount.
        layers: What lies over the image, the lowest first; see :func:`given_layer`.
        name: What the image is called.
        sink: Where it goes.
        report: Is called with the bytes that are written, and with how many there will be.

    Returns:
        JSON: ``{}``, or ``{"error": ...}`` as from :meth:`Worker.mount`.
    """
    try:
        mounted = worker.mounted
        if mounted is None:
            raise InvalidImage("there is no image")
        await _write(mounted, [given_layer(layer) for layer in layers], name, sink, report)
    except BrowsermountError as error:
        return json.dumps({"error": failure_of(error)})
    return "{}"


async def _write(
    mounted: Mount,
    over: Sequence[GivenLayer],
    name: str,
    sink: Sink,
    report: Callable[[int, int], None],
) -> None:
    # An image may have a layer more than once.
    below = {layer.digest: layer for layer in mounted.image.manifest.layers}
    total = sum(layer.size for layer in below.values()) + sum(layer.size for layer in over)
    done = 0

    async def put(path: str, size: int, chunks: AsyncIterator[bytes]) -> None:
        nonlocal done
        if not await sink.begin(path, size):
            done += size
            report(done, total)
            return
        async for chunk in chunks:
            await sink.write(JsBuffer(chunk).array)
            done += len(chunk)
            report(min(done, total), total)

    # First, what can fail.
    made: list[tuple[Descriptor, str, _Pieces]] = []
    for layer in over:
        pieces = _Pieces()
        file = LayerFile(pieces)
        for offset in range(0, layer.size, _STEP):
            file.feed(await layer.read(offset, _STEP))
        made.append((*file.finish(), pieces))
    manifest = await mounted.manifest()
    new = documents(
        mounted.image, manifest, [(layer, diff_id) for layer, diff_id, _ in made], _MAKER
    )
    index = index_with(_parsed(await sink.read("index.json")), new.descriptor, new.manifest, name)
    for descriptor in below.values():
        await put(_blob_path(descriptor.digest), descriptor.size, _verified(mounted, descriptor))
    for new_layer, _, pieces in made:
        await put(_blob_path(new_layer.digest), new_layer.size, pieces.chunks())
    for data in (new.config, new.manifest):
        await put(_blob_path(Digest.of(data)), len(data), _once(data))
    await put("oci-layout", len(LAYOUT), _once(LAYOUT))
    # Last: until then, the image is not there.
    await put("index.json", len(index), _once(index))


async def _verified(mounted: Mount, descriptor: Descriptor) -> AsyncIterator[bytes]:
    verifier = Verifier(descriptor)
    async with aclosing(mounted.blob(descriptor)) as chunks:
        async for chunk in chunks:
            verifier.feed(chunk)
            yield chunk
    verifier.finish()


def _parsed(text: str | None) -> object:
    try:
        return None if text is None else json.loads(text)
    except (ValueError, RecursionError):
        raise InvalidImage(
            "the folder's index.json cannot be read, so nothing was added to it",
            hint="Take another folder.",
        ) from None


def _blob_path(digest: Digest) -> str:
    return f"blobs/{digest.algorithm}/{digest.encoded}"


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
