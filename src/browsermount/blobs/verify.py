"""Checking blobs against their descriptors while they pass by."""

from __future__ import annotations

from collections.abc import AsyncIterator

from browsermount.errors import DigestMismatch, SizeMismatch
from browsermount.oci.descriptor import Descriptor

_HINT = (
    "The blob is damaged or was replaced: copy the image to the server once more. "
    "If it is intact there, look for a proxy that changes what passes through it."
)


class Verifier:
    """Takes a blob's bytes in order and tells at the end whether they are the right ones."""

    def __init__(self, descriptor: Descriptor) -> None:
        self._descriptor = descriptor
        self._hasher = descriptor.digest.hasher()
        self.received = 0

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        Raises:
            SizeMismatch: These are more bytes than the descriptor says.
        """
        self.received += len(data)
        if self.received > self._descriptor.size:
            raise SizeMismatch(
                f"blob {self._descriptor.digest} is longer than the "
                f"{self._descriptor.size} bytes that its descriptor says",
                hint=_HINT,
            )
        self._hasher.update(data)

    def finish(self) -> None:
        """Check the whole.

        Raises:
            SizeMismatch: Fewer bytes came than the descriptor says.
            DigestMismatch: The bytes are not the ones that were described.
        """
        descriptor = self._descriptor
        if self.received < descriptor.size:
            raise SizeMismatch(
                f"blob {descriptor.digest} ended after {self.received} of the "
                f"{descriptor.size} bytes that its descriptor says",
                hint=_HINT,
            )
        actual = self._hasher.hexdigest()
        if actual != descriptor.digest.encoded:
            raise DigestMismatch(
                f"blob {descriptor.digest} has the digest {descriptor.digest.algorithm}:{actual}",
                hint=_HINT,
            )


async def verified(chunks: AsyncIterator[bytes], verifier: Verifier) -> AsyncIterator[bytes]:
    """Pass chunks on; the end is reached only when the blob was the right one.

    Raises:
        SizeMismatch, DigestMismatch: See :class:`Verifier`.
    """
    async for chunk in chunks:
        verifier.feed(chunk)
        yield chunk
    verifier.finish()


def verify(data: bytes, descriptor: Descriptor) -> bytes:
    """Return ``data`` when it is the blob that ``descriptor`` describes.

    Raises:
        SizeMismatch, DigestMismatch: See :class:`Verifier`.
    """
    verifier = Verifier(descriptor)
    verifier.feed(data)
    verifier.finish()
    return data
