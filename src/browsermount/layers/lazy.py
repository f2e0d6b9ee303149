"""Opening layers by their own tables of contents, without reading them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from browsermount.errors import DigestMismatch, InvalidImage, InvalidLayer
from browsermount.layers import estargz, zstd_chunked
from browsermount.layers.index import LayerIndex
from browsermount.layers.toc import MAX_TOC_SIZE
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.steps import Steps, in_turns

Read = Callable[[int, int], Awaitable[bytes]]

_MIN_TAIL = 1 << 16
_MAX_TAIL = 1 << 20
# Tables take some hundredth of their layer: most come along with the footer.
_TAIL_PART = 64
# Some milliseconds in a browser.
_HASH_STEP = 1 << 20


def toc_digest(descriptor: Descriptor) -> str | None:
    """Return what the manifest says is the digest of a layer's table of contents, if anything.

    An index that was made from the table counts only for manifests that say the same: whoever
    made the layer's blob has not vouched for the table.
    """
    chunked = zstd_chunked.annotations_of(descriptor.annotations)
    if chunked is not None:
        return chunked[1]
    return descriptor.annotations.get(estargz.DIGEST_ANNOTATION)


async def open_index(
    descriptor: Descriptor,
    read: Read,
    *,
    allow_unverified: bool = False,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
) -> LayerIndex | None:
    """Open a layer that has a table of contents.

    Args:
        descriptor: The layer's, with the annotations that the manifest gives to it.
        read: Returns as many bytes of the blob, from an offset, as it is asked for.
        allow_unverified: Whether a table will do whose digest is not in the manifest.
        sleep: Waits; with 0, until others have had their turn.

    Returns:
        None for a layer without a table, or with one that the manifest does not vouch
        for: such a layer is read as a whole.

    Raises:
        DigestMismatch: The table is not the one that the manifest speaks of.
        InvalidLayer: The table is not there, or is malformed.
        Exception: What ``read`` raises.
    """
    chunked = zstd_chunked.annotations_of(descriptor.annotations)
    if chunked is not None:
        where, checksum = chunked
        stored = await _read_toc(descriptor, where.offset, where.size, read, where.plain_size)
        await in_turns(_verify(stored, checksum), sleep)
        toc = await in_turns(zstd_chunked.unpack_toc(stored, where), sleep)
        await sleep(0)
        return await in_turns(zstd_chunked.index_from_toc(toc, where.offset), sleep)
    digest = descriptor.annotations.get(estargz.DIGEST_ANNOTATION)
    if digest is None and not allow_unverified:
        return None
    return await _open_by_footer(descriptor, read, digest, sleep)


async def _open_by_footer(
    descriptor: Descriptor,
    read: Read,
    digest: str | None,
    sleep: Callable[[float], Awaitable[None]],
) -> LayerIndex | None:
    size = min(descriptor.size, max(_MIN_TAIL, min(descriptor.size // _TAIL_PART, _MAX_TAIL)))
    start = descriptor.size - size
    tail = await _read(start, size, read)

    async def read_rest(offset: int, size: int) -> bytes:
        """Read from what is there already, and the rest from the blob."""
        if offset >= start:
            return tail[offset - start :][:size]
        missing = min(start - offset, size)
        return await _read(offset, missing, read) + tail[: size - missing]

    if (footer := estargz.parse_footer(tail)) is not None:
        offset, footer_size = footer
        stored = await _read_toc(
            descriptor, offset, descriptor.size - footer_size - offset, read_rest
        )
        toc = await in_turns(estargz.unpack_toc(stored), sleep)
        if digest is not None:
            await in_turns(_verify(toc, digest), sleep)
        await sleep(0)
        return await in_turns(estargz.index_from_toc(toc, offset), sleep)
    if (where := zstd_chunked.parse_footer(tail)) is not None:
        # Also written by containerd's converter, with the digest of the plain table.
        stored = await _read_toc(descriptor, where.offset, where.size, read_rest, where.plain_size)
        toc = await in_turns(zstd_chunked.unpack_toc(stored, where), sleep)
        if digest is not None:
            await in_turns(_verify(toc, digest), sleep)
        await sleep(0)
        return await in_turns(zstd_chunked.index_from_toc(toc, where.offset), sleep)
    if digest is not None:
        raise InvalidLayer(
            "the manifest speaks of a table of contents, but the layer has none at its end"
        )
    return None


async def _read_toc(
    descriptor: Descriptor, offset: int, size: int, read: Read, plain_size: int = 0
) -> bytes:
    if not (0 < offset < offset + size <= descriptor.size):
        raise InvalidLayer(
            f"the table of contents would be the {size} bytes at {offset} "
            f"of a layer of {descriptor.size}"
        )
    if max(size, plain_size) > MAX_TOC_SIZE:
        raise InvalidLayer(f"the table of contents is larger than {MAX_TOC_SIZE} bytes")
    return await _read(offset, size, read)


async def _read(offset: int, size: int, read: Read) -> bytes:
    data = await read(offset, size)
    if len(data) != size:
        raise InvalidLayer(f"{len(data)} bytes came instead of the {size} at {offset}")
    return data


def _verify(data: bytes, digest: str) -> Steps[None]:
    try:
        expected = Digest.parse(digest)
    except InvalidImage as error:
        raise InvalidLayer(f"the annotation of the layer: {error.message}") from None
    hasher = expected.hasher()
    view = memoryview(data)
    for start in range(0, len(view), _HASH_STEP):
        hasher.update(view[start : start + _HASH_STEP])
        yield
    if hasher.hexdigest() != expected.encoded:
        raise DigestMismatch(
            f"the table of contents has the digest {expected.algorithm}:{hasher.hexdigest()} "
            f"instead of {expected}, which the manifest says",
            hint="The layer is damaged or was replaced: copy the image to the server once more.",
        )
