"""Descriptors: OCI image specification, descriptor.md."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass, field
from typing import Any

from browsermount.errors import InvalidImage
from browsermount.oci.digest import Digest
from browsermount.oci.document import get, string_map, strings
from browsermount.oci.platform import Platform

REF_NAME = "org.opencontainers.image.ref.name"
"""The annotation that names an image within a layout (annotations.md)."""


@dataclass(frozen=True, slots=True)
class Descriptor:
    """Where a blob is and how it is verified.

    Attributes:
        media_type: What the blob is said to be; may be empty.
        digest: Of the blob's bytes.
        size: Of the blob in bytes.
        platform: What the manifest behind it is for, where that is said.
        annotations: What else is said about it.
        data: The blob itself, where it is embedded; not verified yet.
        urls: Other places where the blob may be had.
        artifact_type: What kind of artifact the manifest behind it is; empty for most images.
        features: What the manifest behind it needs beside its platform (``os.features``).
    """

    media_type: str
    digest: Digest
    size: int
    platform: Platform | None = None
    annotations: dict[str, str] = field(default_factory=dict)
    data: bytes | None = None
    urls: tuple[str, ...] = ()
    artifact_type: str = ""
    features: tuple[str, ...] = ()

    @classmethod
    def from_document(cls, document: object, what: str) -> Descriptor:
        """Read a descriptor that stands in ``what``.

        Raises:
            InvalidImage: A required property is missing or one is malformed.
        """
        if not isinstance(document, dict):
            raise InvalidImage(f"{what}: a descriptor is not an object")
        size = get(document, "size", int, what)
        if size is None or size < 0:
            raise InvalidImage(f"{what}: a descriptor has no valid size")
        platform = get(document, "platform", dict, what)
        return cls(
            media_type=get(document, "mediaType", str, what) or "",
            digest=Digest.parse(document.get("digest")),
            size=size,
            platform=Platform.from_document(platform, what) if platform else None,
            annotations=string_map(document, "annotations", what),
            data=_embedded_data(document, what),
            urls=strings(document, "urls", what),
            artifact_type=get(document, "artifactType", str, what) or "",
            features=strings(platform or {}, "os.features", what),
        )

    def to_document(self) -> dict[str, Any]:
        """Return the descriptor as JSON has it, so that :meth:`from_document` reads it back."""
        document: dict[str, Any] = {
            "mediaType": self.media_type,
            "digest": str(self.digest),
            "size": self.size,
        }
        if self.platform is not None:
            platform = self.platform
            document["platform"] = {"os": platform.os, "architecture": platform.architecture}
            if platform.variant is not None:
                document["platform"]["variant"] = platform.variant
            if self.features:
                document["platform"]["os.features"] = list(self.features)
        if self.artifact_type:
            document["artifactType"] = self.artifact_type
        if self.annotations:
            document["annotations"] = self.annotations
        if self.data is not None:
            document["data"] = base64.b64encode(self.data).decode()
        if self.urls:
            document["urls"] = list(self.urls)
        return document

    @property
    def ref_name(self) -> str | None:
        """The name that the layout gives to this image, if any."""
        return self.annotations.get(REF_NAME)


def _embedded_data(document: dict[str, Any], what: str) -> bytes | None:
    text = get(document, "data", str, what)
    if text is None:
        return None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise InvalidImage(f"{what}: a descriptor's embedded data is not base64") from None
