"""What a container has changed, as a layer.

The guest makes the archive, whiteouts included. It is taken for untrusted: it has to be one that
any layer could be, and no longer than there are bounds for.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass, field
from typing import Any, Protocol

from browsermount import limits
from browsermount.errors import InvalidArchive, InvalidLayer
from browsermount.layers.tar import TarParser
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest

LAYER_TYPE = "application/vnd.oci.image.layer.v1.tar+gzip"

_GZIP = 31  # zlib's window bits for it
_LEVEL = 6


class Target(Protocol):
    """Where the compressed bytes go."""

    def write(self, data: bytes, /) -> object:
        """Take the next bytes."""


@dataclass(slots=True)
class LayerFile:
    """A layer that is written as its archive comes.

    Args:
        target: Where the compressed bytes go.

    Attributes:
        size: How many of them there are.
    """

    target: Target
    size: int = 0
    _parser: TarParser = field(default_factory=TarParser)
    _compressor: Any = field(default_factory=lambda: zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP))
    _plain: Any = field(default_factory=hashlib.sha256)
    _blob: Any = field(default_factory=hashlib.sha256)
    _plain_size: int = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece of the archive.

        Raises:
            InvalidArchive: It is no archive, or a longer one than is taken.
        """
        try:
            self._plain_size += len(data)
            if self._plain_size > limits.MAX_CHANGES:
                raise InvalidLayer(f"it has more than {limits.MAX_CHANGES >> 30} GiB")
            self._parser.feed(data)
        except InvalidLayer as error:
            raise no_layer(error) from None
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
            raise no_layer(error) from None
        self._write(self._compressor.flush())
        digest = Digest.parse(f"sha256:{self._blob.hexdigest()}")
        return Descriptor(LAYER_TYPE, digest, self.size), f"sha256:{self._plain.hexdigest()}"

    def _write(self, data: bytes) -> None:
        self.target.write(data)
        self._blob.update(data)
        self.size += len(data)


def no_layer(error: Exception) -> InvalidArchive:
    """Return the error for an archive that is none."""
    return InvalidArchive(f"what the container has changed is no layer: {error}")
