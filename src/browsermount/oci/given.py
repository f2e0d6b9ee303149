"""Blobs that somebody has at hand, for who reads blobs of a source."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from browsermount.errors import BrowsermountError, HttpStatusError
from browsermount.fetch import Response
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest

_RANGE = re.compile(r"bytes=(\d+)-(\d+)")
_OK, _PARTIAL, _NOT_FOUND = 200, 206, 404
_STEP = 1 << 20
_TAR = "application/vnd.oci.image.layer.v1.tar"


@dataclass(frozen=True, slots=True)
class GivenLayer:
    """A layer: a tar archive with whiteouts, as it is or compressed.

    Attributes:
        digest: Of its bytes, which are verified.
        size: How many there are.
        read: Returns so many bytes from an offset.
    """

    digest: Digest
    size: int
    read: Callable[[int, int], Awaitable[bytes]]

    @property
    def descriptor(self) -> Descriptor:
        """The layer as a manifest would name it."""
        return Descriptor(_TAR, self.digest, self.size)


def layer_of(data: bytes) -> GivenLayer:
    """Return a layer that is in memory."""

    async def read(offset: int, size: int) -> bytes:
        return data[offset : offset + size]

    return GivenLayer(Digest.of(data), len(data), read)


@dataclass(frozen=True, slots=True)
class _Answer:
    """A :class:`browsermount.fetch.Response` without a network."""

    status: int
    layer: GivenLayer | None = None
    start: int = 0
    size: int = 0
    url: str = "what the container has changed"
    headers: Mapping[str, str] = field(default_factory=dict)

    async def chunks(self) -> AsyncIterator[bytes]:
        at, end = self.start, self.start + self.size
        while self.layer is not None and at < end:
            data = await self.layer.read(at, min(_STEP, end - at))
            if not data:
                return
            at += len(data)
            yield data

    async def aclose(self) -> None:
        """Do nothing: there is no connection."""


class GivenSource:
    """A :class:`browsermount.oci.image.Source` of layers alone."""

    def __init__(self, layers: Sequence[GivenLayer]) -> None:
        self._layers = {layer.digest: layer for layer in layers}

    async def manifests(self) -> tuple[Descriptor, ...]:
        """Return nothing: there is no image."""
        return ()

    async def get_blob(
        self, descriptor: Descriptor, *, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Return a layer or a range of it."""
        layer = self._layers.get(descriptor.digest)
        if layer is None:
            return _Answer(_NOT_FOUND)
        wanted = _RANGE.fullmatch((headers or {}).get("Range", ""))
        if wanted is None:
            return _Answer(_OK, layer, 0, layer.size)
        first, last = int(wanted[1]), min(int(wanted[2]), layer.size - 1)
        said = {"content-range": f"bytes {first}-{last}/{layer.size}"}
        return _Answer(_PARTIAL, layer, first, last - first + 1, headers=said)

    async def missing(self, descriptors: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
        """Return those that nobody has given."""
        return tuple(d for d in descriptors if d.digest not in self._layers)

    def failure(self, descriptor: Descriptor, response: Response) -> BrowsermountError:
        """Return the error for a layer that nobody has given."""
        return HttpStatusError(response.status, str(descriptor.digest))
