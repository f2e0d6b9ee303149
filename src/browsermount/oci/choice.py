"""Choosing one image out of what a source holds.

An index may list what is no image (attestations, signatures, lists of packages), and what is not
there: `docker save` writes the index of all platforms, and the blobs of one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from browsermount.errors import (
    BrowsermountError,
    ImageNotFound,
    InvalidImage,
    NoMatchingPlatform,
    NotAnImage,
)
from browsermount.oci.config import ImageConfig, parse_config
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.image import ResolvedImage, Source, read_document
from browsermount.oci.manifest import (
    INDEX_TYPES,
    MANIFEST_TYPES,
    Index,
    Manifest,
    is_artifact_type,
    parse_manifest,
)
from browsermount.oci.names import name_of, repository_of, shown, tag_of
from browsermount.oci.platform import ANYTHING, RUNNABLE, Platform

_MAX_DEPTH = 4
"""How deep indexes may be nested."""

_MAX_DOCUMENTS = 250
"""How many indexes and manifests are read to find out which image is meant."""

_ATTESTATION = ("vnd.docker.reference.type", "attestation-manifest")
"""The annotation with which BuildKit says that a manifest is no image."""

_DEFAULT_TAG = "latest"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A manifest that may be an image's.

    Attributes:
        descriptor: Of the manifest.
        platform: What it is for; None where neither index nor config says it.
        name: What it is called, where it has a name.
        nested: Whether it stands in an index within the source's own.
        loaded: Its documents, where they had to be read to learn the platform.
    """

    descriptor: Descriptor
    platform: Platform | None
    name: str | None
    nested: bool = False
    loaded: tuple[Manifest, ImageConfig] | None = None

    @property
    def label(self) -> str:
        """What a person can say to mean it."""
        return self.name or shown(self.descriptor.digest)


async def resolve(source: Source, reference: str, platforms: Sequence[Platform]) -> ResolvedImage:
    """Find the image for the first of ``platforms`` that there is one for.

    What is listed and is not there is passed over where there is something else.

    Args:
        source: Where the image is.
        reference: How it is called in errors, and what ``#NAME`` can be put behind.
        platforms: What is asked for, the best first.

    Raises:
        NoMatchingPlatform: The message lists what there is.
        ImageNotFound: There is no image at all, or several and none is named.
        InvalidImage, SizeMismatch, DigestMismatch, FetchError: A document cannot be used.
    """
    search = _Search(source)
    candidates = await search.candidates(await source.manifests())
    if not candidates:
        if search.refused:
            raise search.refused[0]
        raise ImageNotFound(
            f"there is no image in {reference}: its index lists none",
            hint="Copy an image there, for example with: skopeo copy docker-archive:image.tar "
            "oci:folder:latest",
        )
    return await _Choice(search, reference, candidates, platforms).image()


async def resolve_all(source: Source, image: ResolvedImage) -> list[ResolvedImage]:
    """Find an image for all platforms that it is there for.

    Args:
        source: Where the image is.
        image: It, for one platform.

    Raises:
        InvalidImage, SizeMismatch, DigestMismatch, FetchError: A document cannot be used.
    """
    search = _Search(source)
    candidates = await search.candidates(await source.manifests())
    of_it = [c for c in candidates if c.descriptor.digest == image.digest]
    same = [c for c in candidates if c.name in {c.name for c in of_it}] if of_it else []
    choice = _Choice(search, image.reference, same, (ANYTHING,))
    return await choice.all_images() or [image]


async def available(source: Source) -> list[Candidate]:
    """Return the images that a source lists.

    Raises:
        ImageNotFound, InvalidImage, SizeMismatch, DigestMismatch, FetchError: A document cannot
            be used.
    """
    candidates = await _Search(source).candidates(await source.manifests())
    return [c for c in candidates if c.platform is None or c.platform.is_known]


class _Search:
    """Looks through the indexes of a source, within limits.

    Attributes:
        refused: Why what was passed over is of no use.
    """

    def __init__(self, source: Source) -> None:
        self.refused: list[BrowsermountError] = []
        self._source = source
        self._documents = 0

    async def candidates(
        self, descriptors: Sequence[Descriptor], name: str | None = None, depth: int = 0
    ) -> list[Candidate]:
        """Return the manifests that descriptors lead to; ``name`` is what is inherited."""
        if depth > _MAX_DEPTH:
            raise InvalidImage(f"indexes are nested more than {_MAX_DEPTH} deep")
        found = []
        for descriptor in descriptors:
            named = name_of(descriptor) or name
            is_attestation = descriptor.annotations.get(_ATTESTATION[0]) == _ATTESTATION[1]
            if is_attestation or is_artifact_type(descriptor.artifact_type):
                self.refused.append(_artifact(descriptor))
            elif descriptor.media_type in INDEX_TYPES:
                if (index := await self._index(descriptor)) is not None:
                    found += await self.candidates(index.manifests, named, depth + 1)
            elif descriptor.media_type not in MANIFEST_TYPES:
                continue  # not an image: a cache, a list of something else and the like
            elif descriptor.platform is not None:
                found.append(Candidate(descriptor, descriptor.platform, named, depth > 0))
            elif (loaded := await self._loaded(descriptor)) is not None:
                platform = loaded[1].platform
                found.append(Candidate(descriptor, platform, named, depth > 0, loaded))
        return found

    async def _index(self, descriptor: Descriptor) -> Index | None:
        self._count()
        try:
            data = await read_document(self._source, descriptor)
            index = parse_manifest(data, f"index {descriptor.digest}", descriptor.media_type)
        except (ImageNotFound, InvalidImage) as error:
            self.refused.append(error)
            return None
        assert isinstance(index, Index)
        return index

    async def _loaded(self, descriptor: Descriptor) -> tuple[Manifest, ImageConfig] | None:
        self._count()
        try:
            return await self.load(descriptor)
        except (ImageNotFound, InvalidImage) as error:
            self.refused.append(error)
            return None

    async def load(
        self, descriptor: Descriptor, *, whole: bool = False
    ) -> tuple[Manifest, ImageConfig]:
        """Return the documents of an image.

        Args:
            descriptor: Of the manifest.
            whole: Whether the layers have to be there, too, as far as that can be told.
        """
        source = self._source
        what = f"manifest {descriptor.digest}"
        data = await read_document(source, descriptor)
        manifest = parse_manifest(data, what, descriptor.media_type)
        if not isinstance(manifest, Manifest):
            raise InvalidImage(f"{what} is an index, its descriptor says a manifest")
        config, missing = await asyncio.gather(
            read_document(source, manifest.config),
            self.missing(manifest) if whole else _nothing(),
        )
        if missing:
            raise ImageNotFound(
                f"layer {missing[0].digest} of {what} is missing",
                hint="Copy the image once more: it is not complete.",
            )
        return manifest, parse_config(config, f"config {manifest.config.digest}")

    async def missing(self, manifest: Manifest) -> tuple[Descriptor, ...]:
        """Return the layers that are not there, as far as that can be told."""
        # What is to be had elsewhere need not be here.
        return await self._source.missing([d for d in manifest.layers if not d.urls])

    def _count(self) -> None:
        self._documents += 1
        if self._documents > _MAX_DOCUMENTS:
            raise InvalidImage(
                f"more than {_MAX_DOCUMENTS} documents would have to be read to find the image",
                hint="Say which one is meant by its name or digest.",
            )


async def _nothing() -> tuple[Descriptor, ...]:
    return ()


def _artifact(descriptor: Descriptor) -> NotAnImage:
    kind = descriptor.artifact_type or _ATTESTATION[1]
    return NotAnImage(
        f"manifest {descriptor.digest} is not a container image but an artifact of the type "
        f"{kind[:150]!r}",
        hint="Name the image that it belongs to.",
    )


class _Choice:
    """Finds the image that is meant among candidates."""

    def __init__(
        self,
        search: _Search,
        reference: str,
        candidates: Sequence[Candidate],
        platforms: Sequence[Platform],
    ) -> None:
        self._search = search
        self._reference = reference
        self._candidates = candidates
        self._platforms = platforms
        self._absent: list[tuple[Candidate, BrowsermountError]] = []

    async def image(self) -> ResolvedImage:
        """Return the image; raises as :func:`resolve`."""
        fitting = [c for c in self._candidates if any(True for _ in self._ranks(c))]
        if not fitting:
            raise self._no_match()
        groups: dict[str | None, list[Candidate]] = {}
        for candidate in fitting:
            groups.setdefault(candidate.name, []).append(candidate)
        preferred = _preferred(groups)
        found: list[tuple[Candidate, ResolvedImage]] = []
        for name in preferred or groups:
            found += await self._of_one_name(groups[name])
        if preferred and not found:
            for name in groups.keys() - set(preferred):
                found += await self._of_one_name(groups[name])
        if not found:
            raise await self._incomplete()
        # Such as nydus: the same image once more, for who has that feature.
        found = [pair for pair in found if not pair[0].descriptor.features] or found
        if len({image.digest for _, image in found}) > 1:
            labels = sorted({candidate.label for candidate, _ in found})
            raise ImageNotFound(
                f"{self._reference} holds several images: {', '.join(labels)}",
                hint=f"Say which one is meant, for example: {self._reference}#{labels[0]}",
            )
        return found[0][1]

    async def all_images(self) -> list[ResolvedImage]:
        """Return the images of all platforms, the first of each."""
        found: dict[str, ResolvedImage] = {}
        for candidate in self._candidates:
            known = candidate.platform is None or candidate.platform.is_known
            if not known or candidate.descriptor.features or str(candidate.platform) in found:
                continue
            if (image := await self._load(candidate)) is not None:
                found[str(candidate.platform)] = image
        return list(found.values())

    def _ranks(self, candidate: Candidate) -> Iterator[tuple[int, int, int]]:
        """Iterate over how well a candidate fits the platforms that are asked for."""
        for place, wanted in enumerate(self._platforms):
            if candidate.platform is None:
                # The one whose platform nobody says, where no other fits.
                yield 0, len(self._platforms), place
            elif (rank := candidate.platform.rank(wanted)) is not None:
                yield int(bool(candidate.descriptor.features)), place, rank

    async def _of_one_name(
        self, group: Sequence[Candidate]
    ) -> list[tuple[Candidate, ResolvedImage]]:
        """Return the best of the images with one name that is there; more where all are as good."""
        ranked = sorted(((min(self._ranks(c)), c) for c in group), key=lambda pair: pair[0])
        best: tuple[int, int, int] | None = None
        found: list[tuple[Candidate, ResolvedImage]] = []
        for rank, candidate in ranked:
            # In an index the first of equals is meant; a layout itself is a list of images.
            if best is not None and (rank != best or candidate.nested or found[0][0].nested):
                break
            if (image := await self._load(candidate)) is not None:
                found.append((candidate, image))
                best = rank
        return found

    async def _load(self, candidate: Candidate) -> ResolvedImage | None:
        """Return an image, or None where it is none or not there."""
        alone = len(self._candidates) == 1
        try:
            if candidate.loaded is None:
                loaded = await self._search.load(candidate.descriptor, whole=not alone)
            else:
                loaded = candidate.loaded
                if not alone and (missing := await self._search.missing(loaded[0])):
                    raise ImageNotFound(
                        f"layer {missing[0].digest} is missing",
                        hint="Copy the image once more: it is not complete.",
                    )
        except (ImageNotFound, NotAnImage) as error:
            self._absent.append((candidate, error))
            return None
        manifest, config = loaded
        wanted = self._platforms[0]
        return ResolvedImage(
            reference=self._reference,
            descriptor=candidate.descriptor,
            platform=candidate.platform or (RUNNABLE[0] if wanted == ANYTHING else wanted),
            manifest=manifest,
            config=config,
            platforms=_platforms(c for c in self._candidates if c.name == candidate.name),
        )

    async def _incomplete(self) -> BrowsermountError:
        """Return the error where all that fits is missing, or is no image."""
        candidate, error = self._absent[0]
        tried = {c.descriptor.digest for c, _ in self._absent}
        others = [c for c in self._candidates if c.descriptor.digest not in tried]
        there = [c for c in others if await self._load(c) is not None]
        if not there or isinstance(error, NotAnImage):
            return error
        wanted = candidate.platform or self._platforms[0]
        return NoMatchingPlatform(
            f"{self._reference} lists an image for {wanted}, but holds only that for "
            f"{_listed(there)}: {error.message}",
            hint="Ask for another platform, or copy the image with all of its platforms.",
        )

    def _no_match(self) -> NoMatchingPlatform:
        there = f"{self._reference} is there for {_listed(self._candidates) or 'no platform'}"
        if list(self._platforms) != list(RUNNABLE):
            wanted = " or ".join(map(str, self._platforms))
            return NoMatchingPlatform(
                f"{there}, not for {wanted}, which was asked for",
                hint="Ask for another platform, or build the image for this one, for example with: "
                f"docker buildx build --platform {self._platforms[0]}",
            )
        return NoMatchingPlatform(
            f"{there}, but only images for {', '.join(map(str, RUNNABLE))} can be run",
            hint="Build or copy the image for one of these platforms, for example with: "
            f"docker buildx build --platform {RUNNABLE[0]}",
        )


def _preferred(groups: dict[str | None, list[Candidate]]) -> list[str | None]:
    """Return the name that is meant where none is given: ``latest``, if that is one image."""
    names = [name for name in groups if name is not None]
    if len(groups) < 2:
        return []
    if _DEFAULT_TAG in names:
        return [_DEFAULT_TAG]
    latest = [name for name in names if tag_of(name) == _DEFAULT_TAG]
    return list(latest) if len({repository_of(name) for name in names}) == 1 else []


def _platforms(candidates: Iterator[Candidate]) -> tuple[Platform, ...]:
    known = (c.platform for c in candidates if c.platform is not None and c.platform.is_known)
    return tuple(dict.fromkeys(known))


def _listed(candidates: Sequence[Candidate]) -> str:
    return ", ".join(sorted(map(str, _platforms(iter(candidates)))))
