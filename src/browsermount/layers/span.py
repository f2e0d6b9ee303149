"""Spans: pieces of a layer's plain stream that can each be had on its own."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Literal, NamedTuple

from browsermount.errors import DigestMismatch, InvalidLayer
from browsermount.layers.compression import Zstd
from browsermount.layers.deflate import inflate_from, inflate_members
from browsermount.oci.digest import Digest

Over = Literal["plain", "blob"]

OWN_ALGORITHM = "blake2b-256"
"""What this package itself takes digests with: in Pyodide nearly four times as fast as SHA-256."""


class Codec(IntEnum):
    """How the plain bytes are had from the stored ones."""

    RAW = 0
    """They are the same."""
    GZIP = 1
    """Members of gzip, the first from its start; the last may go on behind the span."""
    DEFLATE = 2
    """As GZIP, but from a border between two blocks within a member."""
    ZSTD = 3
    """Frames of zstd, the first from its start; the last may go on behind the span."""


class Span(NamedTuple):
    """A piece of a layer's plain (decompressed) stream.

    Attributes:
        stream_offset: Where the piece begins in the plain stream.
        size: How many plain bytes it has.
        blob_offset: Where the stored bytes begin that it is made from.
        blob_size: How many stored bytes it is made from; spans may share some.
        codec: How it is made from them.
        digest: What is verified.
        over: What ``digest`` is of: the plain bytes or all the stored ones.
        skip: How many plain bytes come out of the stored ones before those of the span.
        bits: For DEFLATE, how many bits of the first stored byte belong to what was before.
        packed_window: For DEFLATE, the plain bytes before the span, at most 32 KiB, compressed
            by zlib.
    """

    stream_offset: int
    size: int
    blob_offset: int
    blob_size: int
    codec: Codec
    digest: Digest
    over: Over
    skip: int = 0
    bits: int = 0
    packed_window: bytes = b""

    @property
    def end(self) -> int:
        """Where the piece ends in the plain stream."""
        return self.stream_offset + self.size

    @property
    def blob_end(self) -> int:
        """Where the stored bytes end."""
        return self.blob_offset + self.blob_size

    @property
    def window(self) -> bytes:
        """For DEFLATE, the plain bytes before the span, at most 32 KiB."""
        return zlib.decompress(self.packed_window) if self.packed_window else b""


def own_digest(data: bytes) -> Digest:
    """Return a digest of ``data`` with :data:`OWN_ALGORITHM`."""
    return Digest(OWN_ALGORITHM, hashlib.blake2b(data, digest_size=32).hexdigest())


def decode(span: Span, data: bytes) -> bytes:
    """Return the plain bytes of a span.

    Args:
        span: What to decode.
        data: The stored bytes ``[span.blob_offset, span.blob_end)``.

    Raises:
        DigestMismatch: They are not the ones that the span was made from.
        InvalidLayer: They cannot be decoded.
    """
    return decode_shared([span], data)[0]


def decode_shared(spans: Sequence[Span], data: bytes) -> list[bytes]:
    """Return the plain bytes of several spans that are made from the very same stored bytes.

    Decompresses once.

    Args:
        spans: Spans that agree in ``blob_offset``, ``codec``, ``bits`` and window.
        data: The stored bytes of the longest of them.

    Raises:
        DigestMismatch, InvalidLayer: See :func:`decode`.
    """
    for span in spans:
        stored = data if span.blob_size == len(data) else data[: span.blob_size]
        if len(stored) != span.blob_size:
            raise InvalidLayer(
                f"{len(data)} bytes came for the {span.blob_size} at {span.blob_offset}"
            )
        if span.over == "blob":
            _verify(span, stored)
    first = spans[0]
    start = min(span.skip for span in spans)
    plain = _plain(first, data, start, max(span.skip + span.size for span in spans))
    result = []
    for span in spans:
        part = plain[span.skip - start : span.skip - start + span.size]
        if len(part) != span.size:
            raise InvalidLayer(
                f"the {span.blob_size} bytes at {span.blob_offset} hold less than they should"
            )
        if span.over == "plain":
            _verify(span, part)
        result.append(part)
    return result


def _verify(span: Span, data: bytes) -> None:
    expected = span.digest
    if expected.algorithm == OWN_ALGORITHM:
        actual = own_digest(data).encoded
    else:
        hasher = expected.hasher()
        hasher.update(data)
        actual = hasher.hexdigest()
    if actual != expected.encoded:
        raise DigestMismatch(
            f"the {span.blob_size} bytes at {span.blob_offset} of the layer have the digest "
            f"{expected.algorithm}:{actual} instead of {expected}",
            hint="The layer is damaged or was replaced: copy the image to the server once more.",
        )


def _plain(span: Span, data: bytes, start: int, end: int) -> bytes:
    """Return the plain bytes ``[start, end)`` that come out of the stored ones."""
    if span.codec is Codec.RAW:
        return data[start:end]
    parts = []
    position = 0
    for part in _decompressed(span, data):
        after = position + len(part)
        if after > start:
            parts.append(part[max(start - position, 0) : end - position])
        position = after
        if position >= end:
            break
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _decompressed(span: Span, data: bytes) -> Iterator[bytes]:
    if span.codec is Codec.GZIP:
        return inflate_members(data)
    if span.codec is Codec.DEFLATE:
        return inflate_from(data, span.bits, span.window)
    return Zstd().feed(data)
