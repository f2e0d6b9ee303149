"""Image indexes and manifests: OCI image specification, image-index.md and manifest.md.

Docker's manifest list and schema 2 manifest have the same properties under
other media types: https://distribution.github.io/distribution/spec/manifest-v2-2/
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from browsermount.errors import InvalidImage, NotAnImage
from browsermount.limits import MAX_LAYERS
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.document import get, parse_object

OCI_TYPES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.oci.image.manifest.v1+json",
)
DOCKER_TYPES = (
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEX_TYPES = frozenset({OCI_TYPES[0], DOCKER_TYPES[0]})
MANIFEST_TYPES = frozenset({OCI_TYPES[1], DOCKER_TYPES[1]})
CONFIG_TYPES = frozenset(
    {
        "application/vnd.oci.image.config.v1+json",
        "application/vnd.docker.container.image.v1+json",
    }
)

# What old registries and builders called Docker's configs; Docker takes them, too.
_OLD_CONFIG_TYPES = frozenset(
    {"application/octet-stream", "application/json", "text/html", "text/plain", ""}
)

# What the layers of artifacts are called that have an image's config: signatures of cosign,
# attestations of BuildKit, modules of WebAssembly.
_NO_LAYER = re.compile(
    r".*[+/](?:json|yaml|xml|wasm)|text/.*|application/vnd\.(?:dev\.(?:cosign|sigstore)|in-toto)\b.*"
)

MAX_DOCUMENT_SIZE = 4 << 20
"""Bytes that an index, manifest or config may have; registries have the same limit."""


@dataclass(frozen=True, slots=True)
class Index:
    """A list of manifests, or of further indexes."""

    manifests: tuple[Descriptor, ...]


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image: its config and its layers, the lowest first."""

    config: Descriptor
    layers: tuple[Descriptor, ...]


def parse_manifest(data: bytes, what: str, media_type: str = "") -> Index | Manifest:
    """Read an index or a manifest.

    Args:
        data: The document's bytes, already verified where there is a digest.
        what: How to name the document in errors.
        media_type: What the descriptor or the server says that it is; may be empty.

    Raises:
        NotAnImage: It is the manifest or index of an artifact.
        InvalidImage: The document is neither, both at once, or contradicts its media type.
    """
    document = parse_object(data, what)
    is_index, is_manifest = "manifests" in document, "layers" in document or "config" in document
    if is_index and is_manifest:
        # Two readers would see two images in it: CVE-2021-41190.
        raise InvalidImage(f"{what} is ambiguous: an index and a manifest at once")
    version = get(document, "schemaVersion", int, what)
    if version == 1:
        raise InvalidImage(
            f"{what} is a Docker schema 1 manifest, which is obsolete",
            hint="Convert the image, for example with: skopeo copy --format oci",
        )
    if version != 2:
        raise InvalidImage(f"{what} is not an image manifest or index: its schemaVersion is not 2")
    declared = get(document, "mediaType", str, what)
    for given in filter(None, (declared, media_type)):
        if (given in INDEX_TYPES and not is_index) or (given in MANIFEST_TYPES and not is_manifest):
            raise InvalidImage(f"{what} is not the {given} that it is said to be")
    # Docker's and OCI's documents have the same properties, so they may stand for each other.
    if declared and media_type and declared != media_type and not _same_kind(declared, media_type):
        raise InvalidImage(f"{what} says that it is {declared}, its descriptor says {media_type}")
    artifact_type = get(document, "artifactType", str, what) or ""
    if is_index:
        if artifact_type:
            raise _not_an_image(what, artifact_type)
        entries = get(document, "manifests", list, what) or []
        return Index(tuple(Descriptor.from_document(entry, what) for entry in entries))
    if not is_manifest:
        raise InvalidImage(f"{what} is neither an image manifest nor an index")
    config = Descriptor.from_document(document.get("config"), what)
    if not _may_be_config(config.media_type, artifact_type):
        raise _not_an_image(what, artifact_type or config.media_type)
    entries = get(document, "layers", list, what) or []
    if len(entries) > MAX_LAYERS:
        raise InvalidImage(
            f"{what} has {len(entries)} layers, and {MAX_LAYERS} are the limit",
            hint="Build the image with fewer layers.",
        )
    layers = tuple(Descriptor.from_document(layer, what) for layer in entries)
    if layers and all(_NO_LAYER.fullmatch(layer.media_type) for layer in layers):
        raise _not_an_image(what, artifact_type or layers[0].media_type)
    return Manifest(config, layers)


def is_artifact_type(media_type: str) -> bool:
    """Tell whether a descriptor's ``artifactType`` says that it is about no image."""
    # Of an image, it is the media type of its config (descriptor.md, "artifactType").
    return bool(media_type) and media_type not in CONFIG_TYPES


def _may_be_config(media_type: str, artifact_type: str) -> bool:
    if media_type in CONFIG_TYPES:
        return True
    name = media_type.partition(";")[0].strip().lower()
    return name in _OLD_CONFIG_TYPES and not is_artifact_type(artifact_type)


def _not_an_image(what: str, kind: str) -> NotAnImage:
    return NotAnImage(
        f"{what} is not a container image but an artifact of the type {kind[:150]!r}",
        hint="Name the image that it belongs to.",
    )


def _same_kind(one: str, other: str) -> bool:
    return any({one, other} <= kinds for kinds in (INDEX_TYPES, MANIFEST_TYPES))
