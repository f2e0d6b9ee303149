"""``run --commit``: what a container has changed becomes a layer, and an image with it.

The guest makes the archive, whiteouts included. It is taken for untrusted: it has to be one that
any layer could be, and no longer than there are bounds for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import zlib
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from browsermount import limits
from browsermount.cli.layouts import LayoutWriter, copy_layers, embedding
from browsermount.cli.pull import document
from browsermount.errors import InvalidArchive, InvalidLayer
from browsermount.events import ignore
from browsermount.layers.tar import TarParser
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.image import ResolvedImage, Source, read_document
from browsermount.oci.manifest import OCI_TYPES

_CONFIG_TYPE = "application/vnd.oci.image.config.v1+json"
_LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"
_OCI_LAYERS = {
    "application/vnd.docker.image.rootfs.diff.tar": "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip": _LAYER_TYPE,
    "application/vnd.docker.image.rootfs.diff.tar.zstd": (
        "application/vnd.oci.image.layer.v1.tar+zstd"
    ),
}
_GZIP = 31  # zlib's window bits for it
_LEVEL = 6
_CHANGES = "changes"
"""What the layer's file is called until its digest is known."""


@dataclass(slots=True)
class LayerFile:
    """A layer that is written as its archive comes.

    Args:
        target: Where the compressed bytes go.

    Attributes:
        size: How many of them there are.
    """

    target: BinaryIO
    size: int = 0
    _parser: TarParser = field(default_factory=TarParser)
    _compressor: Any = field(default_factory=lambda: zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP))
    _plain: Any = field(default_factory=hashlib.sha256)
    _blob: Any = field(default_factory=hashlib.sha256)
    _plain_size: int = 0

    def feed(self, text: object) -> None:
        """Take the next piece of the archive, in base64.

        Raises:
            InvalidArchive: It is no archive, or a longer one than is taken.
        """
        try:
            data = base64.b64decode(text, validate=True) if isinstance(text, str) else b""
            self._plain_size += len(data)
            if self._plain_size > limits.MAX_CHANGES:
                raise InvalidLayer(f"it has more than {limits.MAX_CHANGES >> 30} GiB")
            self._parser.feed(data)
        except (binascii.Error, InvalidLayer) as error:
            raise InvalidArchive(f"what the container has changed is no layer: {error}") from None
        self._plain.update(data)
        self._write(self._compressor.compress(data))

    def finish(self) -> tuple[Descriptor, str]:
        """Return the layer's descriptor, and the digest of its archive.

        Raises:
            InvalidArchive: The archive is not complete.
        """
        try:
            self._parser.close()
            if not self._parser.ended:
                raise InvalidLayer("its end is missing")
        except InvalidLayer as error:
            raise InvalidArchive(f"what the container has changed is no layer: {error}") from None
        self._write(self._compressor.flush())
        digest = Digest.parse(f"sha256:{self._blob.hexdigest()}")
        return Descriptor(_LAYER_TYPE, digest, self.size), f"sha256:{self._plain.hexdigest()}"

    def _write(self, data: bytes) -> None:
        self.target.write(data)
        self._blob.update(data)
        self.size += len(data)


class Commit:
    """An image of a layout that gets the changes of a container.

    Args:
        directory: The layout's.
        name: What the image is called there.

    Raises:
        BrowsermountError, OSError: It cannot be written to.
    """

    def __init__(self, directory: Path, name: str) -> None:
        self._writer = LayoutWriter(directory)
        self._name = name
        self._layer = LayerFile(self._writer.staging.create(_CHANGES))
        self._complete = False

    def receive(self, message: dict[str, Any]) -> int:
        """Take a message of the machine's; see web/vm/runner.mjs.

        Returns:
            How many files no layer can have: with the last message, else 0.

        Raises:
            InvalidArchive: What was changed cannot be had.
        """
        if message["type"] == "archive" and not self._complete:
            self._layer.feed(message.get("data"))
        elif message["type"] == "archived":
            if "failure" in message:
                raise InvalidArchive(f"the container's files cannot be had: {message['failure']}")
            self._complete = True
            left_out = message.get("leftOut")
            return left_out if isinstance(left_out, int) else 0
        return 0

    async def finish(self, source: Source, image: ResolvedImage) -> str:
        """Write the image, and return the digest of what is called by its name.

        Args:
            source: Where the layers of the container's image are.
            image: The container's image.

        Raises:
            BrowsermountError, OSError: It cannot be written, or the layers cannot be had.
        """
        if not self._complete:
            raise InvalidArchive("the machine ended before it said what the container has changed")
        layer, diff_id = self._layer.finish()
        self._layer.target.close()
        self._writer.place(_CHANGES, layer.digest)
        await copy_layers(self._writer, source, image.manifest.layers, ignore)
        manifest = json.loads(await read_document(source, image.descriptor))
        layers = [_as_oci(below) for below in manifest["layers"]]
        layers.append(
            {"mediaType": layer.media_type, "digest": str(layer.digest), "size": layer.size}
        )
        config = _config(image, diff_id)
        descriptor = {
            "mediaType": _CONFIG_TYPE,
            "digest": str(self._writer.add(config)),
            "size": len(config),
        }
        data = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": OCI_TYPES[1],
                "config": embedding(descriptor, config),
                "layers": layers,
            },
            indent=2,
        ).encode()
        written = Descriptor(OCI_TYPES[1], self._writer.add(data), len(data))
        return str(self._writer.finish([document(written, image)], self._name))

    def close(self) -> None:
        """Leave nothing behind that is not complete."""
        self._layer.target.close()
        self._writer.staging.close()


def _as_oci(layer: dict[str, Any]) -> dict[str, Any]:
    media_type = layer.get("mediaType", "")
    return {**layer, "mediaType": _OCI_LAYERS.get(media_type, media_type)}


def _config(image: ResolvedImage, diff_id: str) -> bytes:
    """Return the image's config with one more layer (OCI image specification, config.md)."""
    config: dict[str, Any] = json.loads(image.config.raw)
    now = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    rootfs = config.get("rootfs") or {}
    config["rootfs"] = {"type": "layers", "diff_ids": [*(rootfs.get("diff_ids") or ()), diff_id]}
    entry = {"created": now, "created_by": "browsermount run --commit"}
    config["history"] = [*(config.get("history") or ()), entry]
    config["created"] = now
    return json.dumps(config).encode()
