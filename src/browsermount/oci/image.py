"""Choosing one image out of what a source holds."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from browsermount.blobs.verify import verify
from browsermount.errors import (
    BrowsermountError,
    ImageNotFound,
    InvalidImage,
    NoMatchingPlatform,
)
from browsermount.fetch import Response, read_all
from browsermount.oci.config import ImageConfig, parse_config
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.manifest import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_DOCUMENT_SIZE,
    Index,
    Manifest,
    parse_manifest,
)
from browsermount.oci.platform import Platform

_OK = 200
_MAX_DEPTH = 4
"""How deep indexes may be nested."""

_MAX_DOCUMENTS = 250
"""How many indexes and manifests are read to find out which image is meant."""


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
    """One image: what it is called, and its verified manifest and config."""

    reference: str
    digest: Digest
    platform: Platform
    manifest: Manifest
    config: ImageConfig

    def to_dict(self) -> dict[str, Any]:
        """Return what a page shows of an image, ready for JSON."""
        return {
            "reference": self.reference,
            "digest": str(self.digest),
            "platform": str(self.platform),
            "config": json.loads(self.config.raw),
        }


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A manifest; ``loaded`` where it had to be read to learn its platform."""

    descriptor: Descriptor
    platform: Platform
    name: str | None
    loaded: tuple[Manifest, ImageConfig] | None = None


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
        data = await read_all(await open_blob(source, descriptor), MAX_DOCUMENT_SIZE)
    return verify(data, descriptor)


async def resolve(source: Source, reference: str, platforms: Sequence[Platform]) -> ResolvedImage:
    """Find the image for the first of ``platforms`` that there is one for.

    Raises:
        NoMatchingPlatform: The message lists what there is.
        ImageNotFound: There is no image at all, or several and none is named.
        InvalidImage, SizeMismatch, DigestMismatch, FetchError: A document cannot be used.
    """
    candidates = await _Search(source).candidates(await source.manifests())
    if not candidates:
        raise ImageNotFound(
            f"there is no image in {reference}: its index lists none",
            hint="Copy an image there, for example with: skopeo copy docker-archive:image.tar "
            "oci:folder:latest",
        )
    for wanted in platforms:
        ranked = [(c.platform.rank(wanted), c) for c in candidates]
        fitting = [(rank, c) for rank, c in ranked if rank is not None]
        if fitting:
            return await _load(source, reference, _choose(fitting, reference))
    available = sorted({str(c.platform) for c in candidates if c.platform.os != "unknown"})
    raise NoMatchingPlatform(
        f"{reference} is there for {', '.join(available) or 'no platform'}, "
        f"but only {', '.join(map(str, platforms))} can be run",
        hint="Build or copy the image for one of these platforms, for example with: "
        f"docker buildx build --platform {platforms[0]}",
    )


def _choose(ranked: Sequence[tuple[int, _Candidate]], reference: str) -> _Candidate:
    """Return the one with the best rank, the first of several, among those that are meant."""
    names = sorted({c.name for _, c in ranked if c.name})
    meant = [(rank, c) for rank, c in ranked if len(names) < 2 or c.name == "latest"]
    if not meant:
        raise ImageNotFound(
            f"{reference} holds several images: {', '.join(names)}",
            hint=f"Say which one is meant, for example: {reference}#{names[0]}",
        )
    return min(meant, key=lambda pair: pair[0])[1]


async def _load(source: Source, reference: str, chosen: _Candidate) -> ResolvedImage:
    manifest, config = chosen.loaded or await _load_manifest(source, chosen.descriptor)
    return ResolvedImage(
        reference=reference,
        digest=chosen.descriptor.digest,
        platform=chosen.platform,
        manifest=manifest,
        config=config,
    )


class _Search:
    """Looks through the indexes of a source, within limits."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._documents = 0

    async def candidates(
        self, descriptors: Sequence[Descriptor], name: str | None = None, depth: int = 0
    ) -> list[_Candidate]:
        """Return the manifests that descriptors lead to; ``name`` is what is inherited."""
        if depth > _MAX_DEPTH:
            raise InvalidImage(f"indexes are nested more than {_MAX_DEPTH} deep")
        found = []
        for descriptor in descriptors:
            named = descriptor.ref_name or name
            if descriptor.media_type in INDEX_TYPES:
                self._count()
                what = f"index {descriptor.digest}"
                index = parse_manifest(
                    await read_document(self._source, descriptor), what, descriptor.media_type
                )
                assert isinstance(index, Index)
                found += await self.candidates(index.manifests, named, depth + 1)
            elif descriptor.media_type not in MANIFEST_TYPES:
                continue  # not an image: signatures, attestations and the like
            elif descriptor.platform is not None:
                found.append(_Candidate(descriptor, descriptor.platform, named))
            else:
                self._count()
                loaded = await _load_manifest(self._source, descriptor)
                platform = loaded[1].platform or Platform("unknown", "unknown")
                found.append(_Candidate(descriptor, platform, named, loaded))
        return found

    def _count(self) -> None:
        self._documents += 1
        if self._documents > _MAX_DOCUMENTS:
            raise InvalidImage(
                f"more than {_MAX_DOCUMENTS} documents would have to be read to find the image",
                hint="Say which one is meant by its name or digest.",
            )


async def _load_manifest(source: Source, descriptor: Descriptor) -> tuple[Manifest, ImageConfig]:
    what = f"manifest {descriptor.digest}"
    manifest = parse_manifest(await read_document(source, descriptor), what, descriptor.media_type)
    if not isinstance(manifest, Manifest):
        raise InvalidImage(f"{what} is an index, its descriptor says a manifest")
    config = await read_document(source, manifest.config)
    return manifest, parse_config(config, f"config {manifest.config.digest}")


async def available(source: Source) -> list[tuple[str | None, Platform, Descriptor]]:
    """Return the name, platform and manifest of each image that a source holds.

    Raises:
        ImageNotFound, InvalidImage, SizeMismatch, DigestMismatch, FetchError: A document cannot
            be used.
    """
    candidates = await _Search(source).candidates(await source.manifests())
    return [(c.name, c.platform, c.descriptor) for c in candidates]
