"""Attacks by numbers in an image's documents, at the edge of what is allowed."""

from __future__ import annotations

import json
from typing import Any

import pytest

from browsermount.errors import InvalidImage
from browsermount.limits import MAX_BLOB_URLS, MAX_LAYERS
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.elsewhere import or_elsewhere
from browsermount.oci.manifest import Manifest, parse_manifest

from .images import MANIFEST_TYPE, FakeResponse
from .loop import run


def manifest(layers: int) -> bytes:
    def blob(kind: str) -> dict[str, Any]:
        media_type = f"application/vnd.oci.image.{kind}"
        return {"mediaType": media_type, "digest": str(Digest.of(b"x")), "size": 1}

    document = {
        "schemaVersion": 2,
        "config": blob("config.v1+json"),
        "layers": [blob("layer.v1.tar")] * layers,
    }
    return json.dumps(document).encode()


def test_layers_without_end() -> None:
    found = parse_manifest(manifest(MAX_LAYERS), "it", MANIFEST_TYPE)
    assert isinstance(found, Manifest)
    assert len(found.layers) == MAX_LAYERS
    with pytest.raises(InvalidImage, match=f"{MAX_LAYERS} are the limit"):
        parse_manifest(manifest(MAX_LAYERS + 1), "it", MANIFEST_TYPE)


def test_addresses_without_end() -> None:
    asked = []

    class Nowhere:
        async def get(self, url: str, **_: Any) -> FakeResponse:
            asked.append(url)
            return FakeResponse(url, 404)

    urls = tuple(f"https://victim.example/{i}" for i in range(60_000))
    descriptor = Descriptor("", Digest.of(b"x"), 1, urls=urls)
    missing = FakeResponse("https://registry.example/", 404)
    assert run(or_elsewhere(missing, Nowhere(), descriptor, None)) is missing
    assert asked == list(urls[:MAX_BLOB_URLS])
