"""The documents of an image with more layers (OCI image specification)."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from browsermount.commit.layer import LAYER_TYPE
from browsermount.oci.descriptor import REF_NAME, Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.image import ResolvedImage
from browsermount.oci.manifest import OCI_TYPES

LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
"""The content of ``oci-layout`` (image-layout.md)."""

EMBEDDED_SIZE = 1 << 14
"""Bytes of a document up to which it stands in the descriptor, too: that saves a request."""

_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_OCI_LAYERS = {
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": LAYER_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": (
        "application/vnd.oci.image.layer.v1.tar+zstd"
    ),
}


@dataclass(frozen=True, slots=True)
class Documents:
    """An image's documents.

    Attributes:
        config: The config.
        manifest: The manifest.
        descriptor: The manifest's, as it stands in an index.
    """

    config: bytes
    manifest: bytes
    descriptor: dict[str, Any]


def documents(
    image: ResolvedImage, manifest: bytes, layers: Sequence[tuple[Descriptor, str]], maker: str
) -> Documents:
    """Return the documents of an image with more layers.

    Args:
        image: The one below.
        manifest: Its manifest.
        layers: Those that lie over it, the lowest first, each with the digest of its archive.
        maker: What the history says of who has made them.
    """
    below = json.loads(manifest)["layers"]
    config = _config(image, [diff_id for _, diff_id in layers], maker)
    descriptor = {
        "mediaType": _CONFIG_TYPE,
        "digest": str(Digest.of(config)),
        "size": len(config),
    }
    above = [
        {"mediaType": layer.media_type, "digest": str(layer.digest), "size": layer.size}
        for layer, _ in layers
    ]
    data = json.dumps(
        {
            "schemaVersion": 2,
            "mediaType": OCI_TYPES[1],
            "config": embedding(descriptor, config),
            "layers": [*map(_as_oci, below), *above],
        },
        indent=2,
    ).encode()
    return Documents(
        config, data, document(Descriptor(OCI_TYPES[1], Digest.of(data), len(data)), image)
    )


def document(manifest: Descriptor, image: ResolvedImage) -> dict[str, Any]:
    """Return a manifest's descriptor as it stands in an index."""
    platform = image.platform
    return {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": manifest.size,
        "platform": {
            "os": platform.os,
            "architecture": platform.architecture,
            **({"variant": platform.variant} if platform.variant else {}),
        },
    }


def embedding(descriptor: dict[str, Any], content: bytes) -> dict[str, Any]:
    """Return a document's descriptor with the document in it, unless that is large.

    OCI image specification 1.1, descriptor.md, "data".
    """
    if len(content) > EMBEDDED_SIZE:
        return descriptor
    return {**descriptor, "data": base64.b64encode(content).decode()}


def index_with(index: object, descriptor: dict[str, Any], content: bytes, name: str) -> bytes:
    """Return an index in which a name stands for a manifest, and for that alone.

    Args:
        index: What there is already, as JSON's types; None where there is none.
        descriptor: The manifest's.
        content: The manifest.
        name: What the image is called (annotations.md).

    Raises:
        ValueError: It is no index.
    """
    if index is None:
        index = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "manifests": [],
        }
    if not isinstance(index, dict) or not isinstance(index.get("manifests"), list):
        raise ValueError("it is no index")
    others = [other for other in index["manifests"] if _name_of(other) != name]
    named = {**embedding(descriptor, content), "annotations": {REF_NAME: name}}
    return json.dumps({**index, "manifests": [*others, named]}, indent=2).encode() + b"\n"


def _name_of(descriptor: object) -> object:
    annotations = descriptor.get("annotations") if isinstance(descriptor, dict) else None
    return annotations.get(REF_NAME) if isinstance(annotations, dict) else None


def _as_oci(layer: dict[str, Any]) -> dict[str, Any]:
    media_type = layer.get("mediaType", "")
    return {**layer, "mediaType": _OCI_LAYERS.get(media_type, media_type)}


def _config(image: ResolvedImage, diff_ids: Sequence[str], maker: str) -> bytes:
    """Return the image's config with more layers (OCI image specification, config.md)."""
    config: dict[str, Any] = json.loads(image.config.raw)
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    rootfs = config.get("rootfs") or {}
    config["rootfs"] = {"type": "layers", "diff_ids": [*(rootfs.get("diff_ids") or ()), *diff_ids]}
    entries = [{"created": now, "created_by": maker} for _ in diff_ids]
    config["history"] = [*(config.get("history") or ()), *entries]
    config["created"] = now
    return json.dumps(config).encode()
