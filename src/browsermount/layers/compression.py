"""Decompression of layers as they stream by, recognised by their first bytes.

gzip is RFC 1952, several members in a row included; zstd is RFC 8878. bzip2 and xz are no
compressions of OCI's layers, but Docker takes them in archives.
"""

from __future__ import annotations

import sys
import zlib
from collections.abc import Iterator
from enum import Enum
from importlib import import_module
from typing import Any, Protocol

from browsermount.errors import InvalidLayer

if sys.version_info >= (3, 14):
    from compression import zstd
else:
    import zstandard

MAX_STEP = 1 << 20
"""Bytes that one step of decompression may give, so that a bomb cannot fill the memory."""

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"
_ZSTD_SKIPPABLE = tuple(bytes([0x50 + i, 0x2A, 0x4D, 0x18]) for i in range(16))
_BZIP2 = b"BZh"
_XZ = b"\xfd7zX"  # its first four bytes of six
PREFIX_SIZE = 4
"""How many bytes tell which compression it is."""

_ZSTD_STEP = 4096

MAX_ZSTD_WINDOW_LOG = 29
"""The logarithm of the largest window that a zstd frame may have: what Go's library takes, by which
Docker, containerd and skopeo read layers.
"""

_XZ_MEMORY = 512 << 20


class Compression(Enum):
    """How a stream is compressed."""

    NONE = "none"
    GZIP = "gzip"
    ZSTD = "zstd"
    BZIP2 = "bzip2"
    XZ = "xz"


class Decompressor(Protocol):
    """Turns compressed bytes into plain ones, in steps of at most :data:`MAX_STEP` bytes."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next compressed bytes and iterate over what they give."""

    def close(self) -> None:
        """Say that the stream has ended; raises InvalidLayer where it is not complete."""


class Plain:
    """No compression."""

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Pass ``data`` on."""
        yield data

    def close(self) -> None:
        """Nothing can be missing."""


class Gzip:
    """gzip with any number of members."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(wbits=31)

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next compressed bytes; see :class:`Decompressor`."""
        while data:
            if self._member.eof:
                # Zeros after the last member are padding, as gzip(1) has it.
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._member = zlib.decompressobj(wbits=31)
            try:
                plain = self._member.decompress(data, MAX_STEP)
            except zlib.error as error:
                raise InvalidLayer(f"the gzip data is damaged: {error}") from None
            data = self._member.unconsumed_tail or self._member.unused_data
            if plain:
                yield plain
        # What fits into zlib's own buffers needs no further input to come out.
        while not self._member.eof and (plain := self._member.decompress(b"", MAX_STEP)):
            yield plain

    def close(self) -> None:
        """Say that the stream has ended; see :class:`Decompressor`."""
        if not self._member.eof:
            raise InvalidLayer("the gzip data ends too early")


class Zstd:
    """zstd with any number of frames, skippable ones included."""

    def __init__(self) -> None:
        self._frame = _new_zstd_frame()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next compressed bytes; see :class:`Decompressor`."""
        for _, plain, _ in self.steps(data):
            if plain:
                yield plain

    def steps(self, data: bytes) -> Iterator[tuple[int, bytes, bool]]:
        """Take the next compressed bytes and say what becomes of them.

        Yields:
            How many of them a step took, the plain bytes that it gave, and whether a frame
            ended with it.

        Raises:
            InvalidLayer: The data is damaged.
        """
        # In small steps: one of the two libraries cannot be told how much to give at most.
        for start in range(0, len(data), _ZSTD_STEP):
            step = data[start : start + _ZSTD_STEP]
            while step:
                if self._frame.eof:
                    self._frame = _new_zstd_frame()
                try:
                    plain = self._frame.decompress(step)
                except Exception as error:
                    # The two libraries have an error class each and no base in common.
                    raise _zstd_failure(error) from None
                rest = self._frame.unused_data
                taken = len(step) - len(rest)
                step = rest
                while len(plain) > MAX_STEP:
                    yield taken, plain[:MAX_STEP], False
                    taken, plain = 0, plain[MAX_STEP:]
                yield taken, plain, self._frame.eof

    def close(self) -> None:
        """Say that the stream has ended; see :class:`Decompressor`."""
        if not self._frame.eof:
            raise InvalidLayer("the zstd data ends too early")


def _new_zstd_frame() -> Any:
    if sys.version_info >= (3, 14):
        largest = zstd.DecompressionParameter.window_log_max
        return zstd.ZstdDecompressor(options={largest: MAX_ZSTD_WINDOW_LOG})
    size = 1 << MAX_ZSTD_WINDOW_LOG
    return zstandard.ZstdDecompressor(max_window_size=size).decompressobj()


def _zstd_failure(error: Exception) -> InvalidLayer:
    if "too much memory" in str(error):
        return InvalidLayer(
            f"the zstd data has a window of more than {1 << MAX_ZSTD_WINDOW_LOG >> 20} MiB, which "
            "is more than Docker and containerd read",
            hint="Pack the layer with a smaller window: zstd without --long, or with --long="
            f"{MAX_ZSTD_WINDOW_LOG} at most.",
        )
    return InvalidLayer(f"the zstd data is damaged: {error}")


class Whole:
    """bzip2 or xz with any number of streams."""

    def __init__(self, compression: Compression) -> None:
        self._compression = compression
        self._stream = self._new()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next compressed bytes; see :class:`Decompressor`."""
        while data or not (self._stream.eof or self._stream.needs_input):
            if self._stream.eof:
                # Zeros after a stream are padding, as xz(1) has it.
                data = data.lstrip(b"\0")
                if not data:
                    return
                self._stream = self._new()
            try:
                plain = self._stream.decompress(data, MAX_STEP)
            except Exception as error:
                # The two modules have an error class each and no base in common.
                raise InvalidLayer(f"the {self._compression.value} data is damaged: {error}") from (
                    None
                )
            data = self._stream.unused_data if self._stream.eof else b""
            if plain:
                yield plain

    def close(self) -> None:
        """Say that the stream has ended; see :class:`Decompressor`."""
        if not self._stream.eof:
            raise InvalidLayer(f"the {self._compression.value} data ends too early")

    def _new(self) -> Any:
        # Rare enough to be imported when they are needed; Pyodide has one of them only on demand.
        try:
            if self._compression is Compression.BZIP2:
                return import_module("bz2").BZ2Decompressor()
            return import_module("lzma").LZMADecompressor(memlimit=_XZ_MEMORY)
        except ImportError:
            raise InvalidLayer(
                f"it is compressed by {self._compression.value}, which cannot be read here",
                hint="Pack it by gzip or zstd instead, for example with: browsermount convert "
                "-c gzip",
            ) from None


class Detecting:
    """Decides by the first bytes of the stream which decompressor it needs."""

    def __init__(self) -> None:
        self._start = b""
        self._chosen: Decompressor | None = None

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take the next compressed bytes; see :class:`Decompressor`."""
        if self._chosen is None:
            data = self._start + data
            if len(data) < PREFIX_SIZE:
                self._start = data
                return
            self._chosen = _choose(data)
        yield from self._chosen.feed(data)

    def close(self) -> None:
        """Say that the stream has ended; see :class:`Decompressor`."""
        if self._chosen is not None:
            self._chosen.close()
        elif self._start:
            raise InvalidLayer(f"the layer has only {len(self._start)} bytes")


def _choose(start: bytes) -> Decompressor:
    compression = detect(start)
    if compression is Compression.GZIP:
        return Gzip()
    if compression is Compression.ZSTD:
        return Zstd()
    if compression in (Compression.BZIP2, Compression.XZ):
        return Whole(compression)
    return Plain()


def detect(start: bytes) -> Compression:
    """Recognise a compression by the first :data:`PREFIX_SIZE` bytes of a stream."""
    if start.startswith(_GZIP):
        return Compression.GZIP
    if start.startswith((_ZSTD, *_ZSTD_SKIPPABLE)):
        return Compression.ZSTD
    if start.startswith(_BZIP2) and start[3:4] in b"123456789":
        return Compression.BZIP2
    if start.startswith(_XZ):
        return Compression.XZ
    return Compression.NONE
