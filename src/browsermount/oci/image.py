"""Where images come from, and what one is."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from browsermount import fetch
from browsermount.blobs.verify import verify
from browsermount.errors import BrowsermountError, InvalidImage
from browsermount.fetch import Response
from browsermount.oci.config import ImageConfig
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.manifest import MAX_DOCUMENT_SIZE, Manifest
from browsermount.oci.platform import Platform, can_run

_OK = 200


class Source(Protocol):
    """Something that holds an image: an OCI layout or a registry."""

    async def manifests(self) -> tuple[Descriptor, ...]:
        """Return descriptors of the manifests and indexes that the reference names.

        Raises:
            ImageNotFound, InvalidImage, FetchError: There is nothing usable.
        """

    async def get_blob(
        self, descriptor: Descriptor, *, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send one request for a blob; its bytes are not verified yet.

        Authentication, redirects and the descriptor's other addresses are the source's business.

        Args:
            descriptor: What is asked for.
            headers: Goes with the request, for example ``Range``.

        Returns:
            The response, whatever its status; :meth:`failure` says what is wrong with it.

        Raises:
            NetworkError: The server could not be reached.
            CorsError: The browser does not let us read the response.
            AuthError: The server wants credentials that we do not have.
        """

    async def missing(self, descriptors: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
        """Return those of some blobs that are known not to be there.

        A source that is always complete need not look.
        """

    def failure(self, descriptor: Descriptor, response: Response) -> BrowsermountError:
        """Return the error for a response to :meth:`get_blob` that is of no use.

        Args:
            descriptor: What was asked for.
            response: The answer; its body is left alone.
        """


async def open_blob(source: Source, descriptor: Descriptor) -> Response:
    """Start reading a whole blob; its bytes are not verified yet.

    Raises:
        ImageNotFound, FetchError: The blob cannot be had.
    """
    response = await source.get_blob(descriptor)
    if response.status != _OK:
        await response.aclose()
        raise source.failure(descriptor, response)
    return response


@dataclass(frozen=True, slots=True)
class ResolvedImage:
    """One image: what it is called, and its verified manifest and config.

    Attributes:
        reference: What was asked for.
        descriptor: Of the manifest.
        platform: What it was built for; where that is not said, what it was asked for.
        manifest, config: The image's documents.
        platforms: What else the image is said to be there for, this platform included.
    """

    reference: str
    descriptor: Descriptor
    platform: Platform
    manifest: Manifest
    config: ImageConfig
    platforms: tuple[Platform, ...] = ()

    @property
    def digest(self) -> Digest:
        """The manifest's digest."""
        return self.descriptor.digest

    def to_dict(self) -> dict[str, Any]:
        """Return what a page shows of an image, ready for JSON."""
        return {
            "reference": self.reference,
            "digest": str(self.digest),
            "platform": str(self.platform),
            "platforms": [str(platform) for platform in self.platforms if can_run(platform)],
            "config": json.loads(self.config.raw),
        }


async def read_document(source: Source, descriptor: Descriptor) -> bytes:
    """Return a whole verified blob that is a document, embedded in its descriptor or not.

    Raises:
        InvalidImage: It is larger than a document may be.
        SizeMismatch, DigestMismatch: It is not what the descriptor describes.
        ImageNotFound, FetchError: It cannot be had.
    """
    if descriptor.size > MAX_DOCUMENT_SIZE:
        raise InvalidImage(
            f"the document {descriptor.digest} has {descriptor.size} bytes, "
            f"more than the {MAX_DOCUMENT_SIZE} that one may have"
        )
    data = descriptor.data
    if data is None:
        # One byte more than described is enough to tell that it is too long.
        data = await fetch.read_document(await open_blob(source, descriptor), MAX_DOCUMENT_SIZE)
    return verify(data, descriptor)
