"""Content digests: OCI image specification, descriptor.md, section "Digests"."""

from __future__ import annotations

import hashlib
import re
from typing import Any, NamedTuple

from browsermount.errors import InvalidImage

_HEX_LENGTH = {"sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+")


class Digest(NamedTuple):
    """An algorithm and the lower-case hex digits that it gave."""

    algorithm: str
    encoded: str

    @classmethod
    def parse(cls, text: object) -> Digest:
        """Read ``algorithm:hex``.

        Raises:
            InvalidImage: The text is malformed, or the algorithm is not one of the
                registered ones, so that nothing could be verified with it.
        """
        if not isinstance(text, str):
            raise InvalidImage(f"a digest is {text!r} instead of a string")
        algorithm, _, encoded = text.partition(":")
        length = _HEX_LENGTH.get(algorithm)
        if length is None:
            raise InvalidImage(f"the digest {text[:150]!r} has an algorithm that is not supported")
        if len(encoded) != length or not _HEX.fullmatch(encoded):
            raise InvalidImage(f"the digest {text[:150]!r} is malformed")
        return cls(algorithm, encoded)

    @classmethod
    def of(cls, data: bytes) -> Digest:
        """Return the SHA-256 digest of ``data``."""
        return cls("sha256", hashlib.sha256(data).hexdigest())

    def hasher(self) -> Any:
        """Return a new hashlib object of this digest's algorithm."""
        return hashlib.new(self.algorithm)

    def __str__(self) -> str:
        return f"{self.algorithm}:{self.encoded}"
