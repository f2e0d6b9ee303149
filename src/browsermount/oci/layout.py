"""An OCI image layout on an HTTP server: OCI image specification, image-layout.md."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from browsermount.errors import (
    BrowsermountError,
    FetchError,
    HttpStatusError,
    ImageNotFound,
    InvalidImage,
)
from browsermount.fetch import Fetcher, Response, read_document
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.document import get, parse_object
from browsermount.oci.elsewhere import NOT_FOUND, or_elsewhere
from browsermount.oci.manifest import MAX_DOCUMENT_SIZE, Index, parse_manifest
from browsermount.oci.names import matching, name_of, shown
from browsermount.reference import LayoutReference

_OK = 200
_HINT = (
    "Check the address: it has to be the folder that holds index.json, oci-layout and blobs/. "
    "Such a folder is made, for example, by: skopeo copy docker-archive:image.tar "
    "oci:folder:latest"
)


class LayoutSource:
    """A :class:`browsermount.oci.image.Source` that reads an OCI image layout.

    Args:
        fetcher: How its files are fetched.
        reference: Where it is.
        title: What it is called in messages; by default its URL.
    """

    def __init__(self, fetcher: Fetcher, reference: LayoutReference, title: str = "") -> None:
        self._fetcher = fetcher
        self._reference = reference
        self._title = title

    def __str__(self) -> str:
        return self._title or str(self._reference)

    async def manifests(self) -> tuple[Descriptor, ...]:
        """Return what index.json lists; see :meth:`browsermount.oci.image.Source.manifests`."""
        reference = self._reference
        # Both at once: the marker file says nothing that the index would have to wait for.
        data, marker = await asyncio.gather(
            self._file("index.json"), self._file("oci-layout"), return_exceptions=True
        )
        if isinstance(data, BaseException):
            raise data
        if data is None:
            raise ImageNotFound(
                f"there is no OCI image layout at {self._title or reference.url}: "
                "it has no index.json",
                hint=_HINT + self._registry_hint(),
            )
        index = parse_manifest(data, reference.file("index.json"))
        if not isinstance(index, Index):
            raise InvalidImage(f"{reference.file('index.json')} is not an image index", hint=_HINT)
        if isinstance(marker, BaseException):
            raise marker
        self._check_version(marker)
        if reference.name is None:
            return index.manifests
        named = matching(index.manifests, reference.name)
        if not named:
            names = sorted({name_of(d) or shown(d.digest) for d in index.manifests})
            raise ImageNotFound(
                f"{self._title or reference.url} holds no image with the name {reference.name!r}",
                hint=f"There are: {', '.join(names)}." if names else "It holds no image at all.",
            )
        return named

    async def get_blob(
        self, descriptor: Descriptor, *, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send one request; see :meth:`browsermount.oci.image.Source.get_blob`."""
        response = await self._fetcher.get(self._blob_url(descriptor), headers=headers)
        return await or_elsewhere(response, self._fetcher, descriptor, headers)

    async def missing(self, descriptors: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
        """Ask for a byte of each; see :meth:`browsermount.oci.image.Source.missing`."""

        async def is_missing(descriptor: Descriptor) -> bool:
            url = self._blob_url(descriptor)
            try:
                response = await self._fetcher.get(url, headers={"Range": "bytes=0-0"})
            except FetchError:
                return False  # nothing is known; who reads it will see
            await response.aclose()
            return response.status in NOT_FOUND

        found = await asyncio.gather(*map(is_missing, descriptors))
        return tuple(d for d, gone in zip(descriptors, found, strict=True) if gone)

    def failure(self, descriptor: Descriptor, response: Response) -> BrowsermountError:
        """Return the error for a status; see :meth:`browsermount.oci.image.Source.failure`."""
        if response.status in NOT_FOUND:
            if self._title:
                return ImageNotFound(
                    f"blob {descriptor.digest} is missing from {self._title}",
                    hint="Copy or save the image once more: it is not complete.",
                )
            return ImageNotFound(
                f"blob {descriptor.digest} is missing from the layout: "
                f"there is no {self._blob_url(descriptor)}",
                hint="Copy the image to the server once more: it is not complete there.",
            )
        return HttpStatusError(response.status, response.url, hint="Look into the server's log.")

    def _blob_url(self, descriptor: Descriptor) -> str:
        digest = descriptor.digest
        return self._reference.file(f"blobs/{digest.algorithm}/{digest.encoded}")

    async def _file(self, path: str) -> bytes | None:
        """Return a file of the layout, or None where there is none."""
        url = self._reference.file(path)
        response = await self._fetcher.get(url)
        if response.status == _OK:
            return await read_document(response, MAX_DOCUMENT_SIZE)
        await response.aclose()
        if response.status in NOT_FOUND:
            return None
        raise HttpStatusError(response.status, url, hint=_HINT)

    def _registry_hint(self) -> str:
        """Return what to do where it looks as if an image of a registry was meant."""
        scheme, _, rest = self._reference.url.rstrip("/").partition("://")
        if ":" not in rest.rpartition("/")[2] or "/" not in rest:
            return ""
        return f" If an image of a registry is meant, leave {scheme}:// out: {rest}"

    def _check_version(self, marker: bytes | None) -> None:
        # Without the marker it is no layout to the letter, but the index has been found
        # to be one, and nothing that follows depends on the marker.
        if marker is None:
            return
        url = self._reference.file("oci-layout")
        version = get(parse_object(marker, url), "imageLayoutVersion", str, url)
        if version is None or not version.startswith("1."):
            raise InvalidImage(
                f"{self._reference.url} is an image layout of version {version!r}, not 1.x"
            )
