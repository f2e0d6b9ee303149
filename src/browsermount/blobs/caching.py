"""A source whose documents are kept, so that what is held needs no network."""

from __future__ import annotations

import hashlib
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from browsermount.blobs.store import Store
from browsermount.blobs.verify import verify
from browsermount.errors import (
    BrowsermountError,
    DigestMismatch,
    InvalidImage,
    NetworkError,
    SizeMismatch,
)
from browsermount.fetch import Response
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.document import get, parse_object
from browsermount.oci.image import Source, read_document
from browsermount.oci.manifest import CONFIG_TYPES, INDEX_TYPES, MANIFEST_TYPES

_DOCUMENTS = INDEX_TYPES | MANIFEST_TYPES | CONFIG_TYPES


@dataclass
class _HeldResponse:
    """A document that is held, as a :class:`browsermount.fetch.Response`."""

    url: str
    body: bytes
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)

    async def chunks(self) -> AsyncIterator[bytes]:
        yield self.body

    async def aclose(self) -> None:
        pass


def document_key(descriptor: Descriptor) -> str:
    """Return the store's key of a manifest or config."""
    return f"{descriptor.digest.algorithm}-{descriptor.digest.encoded}.json"


class CachingSource:
    """A :class:`browsermount.oci.image.Source` that keeps manifests and configs of another.

    What a name stands for is asked for each time; only when the network fails, what it
    stood for the last time is given.

    Args:
        source: Where the image is.
        store: Where its documents are kept.
        on_offline: Is called when the network fails and an earlier answer is given instead.
        known: Documents that are at hand, by the store's keys.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        on_offline: Callable[[NetworkError], None],
        known: Mapping[str, bytes] | None = None,
    ) -> None:
        self._source = source
        self._store = store
        self._on_offline = on_offline
        self._known = known or {}

    def __str__(self) -> str:
        return str(self._source)

    async def manifests(self) -> tuple[Descriptor, ...]:
        """Return what the name stands for; see :meth:`browsermount.oci.image.Source.manifests`."""
        # The name may be of any length and have any characters.
        key = f"name-{hashlib.sha256(str(self).encode()).hexdigest()}.json"
        try:
            descriptors = await self._source.manifests()
        except NetworkError as error:
            known = _parse(await self._store.load(key), str(self))
            if known is None:
                raise
            self._on_offline(error)
            return known
        document = {"manifests": [d.to_document() for d in descriptors]}
        self._store.save_later(key, json.dumps(document).encode())
        return descriptors

    async def get_blob(
        self, descriptor: Descriptor, *, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send one request, or give what is held of a document."""
        if descriptor.media_type not in _DOCUMENTS or headers:
            return await self._source.get_blob(descriptor, headers=headers)
        key = document_key(descriptor)
        if (data := self._known.get(key)) is not None:
            with suppress(DigestMismatch, SizeMismatch):
                response = _HeldResponse(key, verify(data, descriptor))
                self._store.save_later(key, data)  # what is at hand now may not be the next time
                return response
        data = await self._store.load(key)
        if data is not None:
            try:
                return _HeldResponse(key, verify(data, descriptor))
            except (DigestMismatch, SizeMismatch):
                await self._store.remove(key)
        data = await read_document(self._source, descriptor)
        self._store.save_later(key, data)
        return _HeldResponse(key, data)

    async def missing(self, descriptors: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
        """Ask only for what nothing is kept of; see :meth:`.Source.missing`."""
        unknown = [d for d in descriptors if not await self._store.knows(d.digest)]
        return await self._source.missing(unknown)

    def failure(self, descriptor: Descriptor, response: Response) -> BrowsermountError:
        """Return the error for a status; see :meth:`browsermount.oci.image.Source.failure`."""
        return self._source.failure(descriptor, response)


def _parse(data: bytes | None, what: str) -> tuple[Descriptor, ...] | None:
    """Read what was kept under a name; None where that is of no use."""
    try:
        manifests = get(parse_object(data or b"", what), "manifests", list, what)
        return tuple(Descriptor.from_document(entry, what) for entry in manifests or []) or None
    except InvalidImage:
        return None
