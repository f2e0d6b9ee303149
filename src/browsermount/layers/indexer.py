"""The first pass over a layer: the whole blob in, members out, and spans for later visits."""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Callable
from typing import Any, Protocol

from browsermount import limits
from browsermount.errors import InvalidLayer
from browsermount.layers import estargz, zstd_chunked
from browsermount.layers.compression import (
    PREFIX_SIZE,
    Compression,
    Decompressor,
    Gzip,
    Plain,
    Whole,
    Zstd,
    detect,
)
from browsermount.layers.deflate import WINDOW_SIZE, Inflater
from browsermount.layers.entry import Entry
from browsermount.layers.index import LayerIndex, LayerKind, Stored
from browsermount.layers.span import OWN_ALGORITHM, Codec, Span, own_digest
from browsermount.layers.tar import TarParser
from browsermount.oci.digest import Digest

SPAN_SIZE = 1 << 19
"""Plain bytes that a span has at least, where the compression leaves the choice.

What is read of a gzip layer at least is some 220 kB then, and the windows of its index
have 9 % of the layer's size; with twice the size, it would be 420 kB and 5 %.
"""

MAX_SPAN_SIZE = 8 * SPAN_SIZE
"""Plain bytes of a gzip span after which it ends even where no block does."""

MAX_FRAME_SIZE = 16 << 20
"""Plain bytes that a zstd frame may have to be decoded whole for each read."""

Sink = Callable[[Span, bytes], None]

_ZEROS = re.compile(rb"\0*")
_TAIL_SIZE = max(estargz.FOOTER_SIZE, zstd_chunked.FOOTER_SIZE)


class LayerIndexer:
    """Takes a layer's blob in chunks, gathers its members, and cuts its plain stream in spans.

    Args:
        sink: Is called with each span and its plain bytes as soon as they are complete, in
            their order. What comes after the archive's end mark is checked but not given.
    """

    def __init__(self, sink: Sink) -> None:
        self._sink = sink
        self._tar = TarParser()
        self._entries: list[Entry] = []
        self._spans: list[Span] = []
        self._start = b""
        self._tail = b""
        self._cutter: _Cutter | None = None
        self._compression = Compression.NONE

    @property
    def stored(self) -> Stored | None:
        """What the spans point into; None as long as the sink has not been called.

        "plain" where the blob cannot be entered in the middle: then what the sink gets
        has to be kept to be read later. It does not change any more once the sink has
        been called.
        """
        return self._cutter.stored if self._spans and self._cutter is not None else None

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the blob.

        Raises:
            InvalidLayer: They are not what a layer is made of.
        """
        self._tail = (self._tail + data[-_TAIL_SIZE:])[-_TAIL_SIZE:]
        if self._cutter is None:
            data = self._start + data
            if len(data) < PREFIX_SIZE:
                self._start = data
                return
            self._compression = detect(data)
            self._cutter = _cutter(self._compression, self._take)
        self._cutter.feed(data)

    def close(self) -> LayerIndex:
        """Say that the blob has ended, and return what was found.

        Raises:
            InvalidLayer: It ended too early.
        """
        try:
            if self._cutter is not None:
                self._cutter.close()
            elif self._start:
                raise InvalidLayer(f"the layer has only {len(self._start)} bytes")
            self._tar.close()
        except InvalidLayer as error:
            error.hint = error.hint or "Build the image once more, or copy it once more."
            raise
        return LayerIndex(
            kind=self._kind(),
            entries=self._entries,
            spans=self._spans,
            stored="blob" if self._cutter is None else self._cutter.stored,
        )

    def _kind(self) -> LayerKind:
        if self._compression is Compression.ZSTD:
            chunked = zstd_chunked.parse_footer(self._tail) is not None
            return LayerKind.ZSTD_CHUNKED if chunked else LayerKind.ZSTD
        if self._compression in (Compression.NONE, Compression.BZIP2, Compression.XZ):
            return LayerKind.TAR
        last = self._entries[-1].name if self._entries else b""
        if estargz.parse_footer(self._tail) is None or last != estargz.TOC_NAME:
            return LayerKind.GZIP
        # They belong to the format and not to the file system, as containerd's snapshotter
        # for this format has it.
        self._entries = [e for e in self._entries if not estargz.is_metadata(e.name)]
        return LayerKind.ESTARGZ

    def _take(self, span: Span, plain: bytes) -> None:
        if self._tar.ended:
            return
        self._entries += self._tar.feed(plain)
        self._spans.append(span)
        self._sink(span, plain)


class _Cutter(Protocol):
    """Decompresses a blob and decides where its spans end."""

    @property
    def stored(self) -> Stored:
        """What the spans point into."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes of the blob."""

    def close(self) -> None:
        """Say that the blob has ended."""


def _cutter(compression: Compression, emit: Sink) -> _Cutter:
    if compression is Compression.ZSTD:
        return _ZstdCutter(emit)
    if compression is Compression.NONE:
        return _PlainCutter(emit, Plain(), "blob")
    if compression in (Compression.BZIP2, Compression.XZ):
        return _PlainCutter(emit, Whole(compression), "plain")
    try:
        return _GzipCutter(emit)
    except NotImplementedError:
        return _PlainCutter(emit, Gzip(), "plain")


class _PlainCutter:
    """Cuts the plain stream into equal spans, whatever it was compressed with."""

    def __init__(self, emit: Sink, decompressor: Decompressor, stored: Stored) -> None:
        self.stored = stored
        self._emit = emit
        self._decompressor = decompressor
        self._buffer = bytearray()
        self._offset = 0

    def feed(self, data: bytes) -> None:
        for plain in self._decompressor.feed(data):
            self.take(plain)

    def take(self, plain: bytes) -> None:
        """Take the next plain bytes."""
        position = 0
        while len(self._buffer) + len(plain) - position >= SPAN_SIZE:
            missing = SPAN_SIZE - len(self._buffer)
            self._cut(bytes(self._buffer) + plain[position : position + missing])
            self._buffer.clear()
            position += missing
        self._buffer += plain[position:]

    def close(self) -> None:
        self._decompressor.close()
        if self._buffer:
            self._cut(bytes(self._buffer))

    def _cut(self, plain: bytes) -> None:
        size = len(plain)
        digest = own_digest(plain)
        span = Span(self._offset, size, self._offset, size, Codec.RAW, digest, "blob")
        self._offset += size
        self._emit(span, plain)


class _Pending:
    """A span that has begun: where, and the digest of its stored bytes so far."""

    def __init__(
        self,
        stream_offset: int,
        blob_offset: int,
        codec: Codec,
        bits: int = 0,
        packed_window: bytes = b"",
    ) -> None:
        self._stream_offset = stream_offset
        self._blob_offset = blob_offset
        self._codec = codec
        self._bits = bits
        self._packed_window = packed_window
        self._skip = 0
        self._hasher = hashlib.blake2b(digest_size=32)
        self._hashed = 0

    @property
    def skipped(self) -> int:
        """How many plain bytes before the span are made from the same stored ones."""
        return self._skip

    def update(self, stored: Any) -> None:
        """Take stored bytes."""
        self._hasher.update(stored)
        self._hashed += len(stored)

    def finish(self, size: int) -> Span:
        """Return the span of the next ``size`` plain bytes.

        Another one may follow that starts at the same place and has these to skip.
        """
        span = self.snapshot(size)
        self._skip += size
        self._stream_offset += size
        return span

    def snapshot(self, size: int) -> Span:
        """Return the span that it would be if it ended here with ``size`` plain bytes."""
        digest = Digest(OWN_ALGORITHM, self._hasher.hexdigest())
        return Span(
            self._stream_offset,
            size,
            self._blob_offset,
            self._hashed,
            self._codec,
            digest,
            "blob",
            self._skip,
            self._bits,
            self._packed_window,
        )


class _GzipCutter:
    """Cuts gzip at borders of deflate blocks and of members."""

    stored: Stored = "blob"

    def __init__(self, emit: Sink) -> None:
        self._inflater = Inflater(MAX_SPAN_SIZE)
        self._emit = emit
        self._position = 0
        self._last_byte = b""
        self._in_member = True  # an empty blob is no gzip
        self._pending: _Pending | None = _Pending(0, 0, Codec.GZIP)
        self._stream_offset = 0

    def feed(self, data: bytes) -> None:
        inflater = self._inflater
        view = memoryview(data)
        start = 0
        while True:
            if not self._in_member:
                start += self._start_member(data, start)
                if not self._in_member:
                    return
            pending = self._pending
            assert pending is not None
            # Stopping at every border would cost more than it tells.
            # Where one was missed, the next is not: equal blocks might all be missed in a row.
            blockwise = inflater.filled >= SPAN_SIZE or pending.skipped > 0
            limit = MAX_SPAN_SIZE if blockwise else SPAN_SIZE
            inflater.run(data, start, limit, blockwise=blockwise)
            if taken := inflater.consumed:
                pending.update(view[start : start + taken])
                start += taken
                self._position += taken
                self._last_byte = data[start - 1 : start]
            if inflater.ended:
                self._in_member = False
                if inflater.filled >= SPAN_SIZE:
                    self._cut(pending)
            elif blockwise and inflater.at_border and inflater.filled >= WINDOW_SIZE:
                window = self._cut(pending)[-WINDOW_SIZE:]
                self._pending = self._at_border(zlib.compress(window, 1))
            elif inflater.filled == MAX_SPAN_SIZE:
                # A block this long is rare; what follows is decoded from the same place.
                if pending.skipped + MAX_SPAN_SIZE >= limits.MAX_BLOCK:
                    raise InvalidLayer(
                        f"the gzip data has a block of more than {limits.MAX_BLOCK >> 20} MiB, all "
                        "of which would have to be decompressed for each read in it",
                        hint="Pack the layer by gzip or zstd once more, for example with: "
                        "browsermount convert -c gzip",
                    )
                self._cut(pending)
                self._pending = pending
            elif inflater.filled < limit and start == len(data):
                return

    def close(self) -> None:
        if self._in_member:
            raise InvalidLayer("the gzip data ends too early")
        if self._pending is not None and self._inflater.filled:
            self._cut(self._pending)

    def _start_member(self, data: bytes, start: int) -> int:
        """Begin with the next member, if there is one, and return how much padding is before."""
        zeros = _ZEROS.match(data, start)
        assert zeros is not None
        padding = zeros.end() - start
        if padding and self._pending is not None:
            self._pending.update(zeros[0])
        self._position += padding
        if zeros.end() < len(data):
            self._in_member = True
            if self._pending is None or not self._inflater.filled:
                self._pending = _Pending(self._stream_offset, self._position, Codec.GZIP)
        return padding

    def _at_border(self, packed_window: bytes) -> _Pending:
        unused = self._inflater.unused_bits
        begin = self._position - bool(unused)
        bits = -unused % 8
        pending = _Pending(self._stream_offset, begin, Codec.DEFLATE, bits, packed_window)
        if unused:
            pending.update(self._last_byte)
        return pending

    def _cut(self, pending: _Pending) -> bytes:
        plain = self._inflater.take()
        self._pending = None
        self._stream_offset += len(plain)
        self._emit(pending.finish(len(plain)), plain)
        return plain


class _ZstdCutter:
    """Cuts zstd between frames; gives up where the first of them is too large.

    Where it is a later one, what was cut before cannot be taken back: it is cut, too, up to
    :data:`browsermount.limits.MAX_BLOCK`.
    """

    def __init__(self, emit: Sink) -> None:
        self._emit = emit
        self._zstd = Zstd()
        self._flat: _PlainCutter | None = None
        self._pending = _Pending(0, 0, Codec.ZSTD)
        self._parts: list[bytes] = []
        self._size = 0
        self._frame_size = 0
        self._position = 0
        self._stream_offset = 0
        self._last: Span | None = None

    @property
    def stored(self) -> Stored:
        return "blob" if self._flat is None else "plain"

    def feed(self, data: bytes) -> None:
        view = memoryview(data)
        start = 0
        for taken, plain, ended in self._zstd.steps(data):
            if self._flat is not None:
                self._flat.take(plain)
                continue
            self._pending.update(view[start : start + taken])
            start += taken
            self._position += taken
            if plain:
                self._parts.append(plain)
                self._size += len(plain)
                self._frame_size += len(plain)
            if ended:
                self._end_frame()
            elif self._frame_size > MAX_FRAME_SIZE:
                if self._stream_offset:
                    # Decoded from the frame's start for each of its pieces.
                    if self._pending.skipped + self._size > limits.MAX_BLOCK:
                        raise InvalidLayer(
                            "the zstd data has a frame of more than "
                            f"{limits.MAX_BLOCK >> 20} MiB behind others, all of which would have "
                            "to be decompressed for each read in it",
                            hint="Pack the layer by gzip or zstd once more, for example with: "
                            "browsermount convert -c zstd",
                        )
                    self._cut(self._pending.finish(self._size))
                else:
                    self._flat = _PlainCutter(self._emit, self._zstd, "plain")
                    for part in self._parts:
                        self._flat.take(part)
                    self._parts.clear()

    def close(self) -> None:
        if self._flat is not None:
            self._flat.close()
            return
        self._zstd.close()
        if self._last is not None:
            self._cut(self._last)

    def _end_frame(self) -> None:
        if self._frame_size:
            # Complete as it is, should only skippable frames follow.
            self._last = self._pending.snapshot(self._size)
        self._frame_size = 0
        if self._size >= SPAN_SIZE and self._last is not None:
            self._cut(self._last)
        if not self._size:
            self._pending = _Pending(self._stream_offset, self._position, Codec.ZSTD)

    def _cut(self, span: Span) -> None:
        plain = b"".join(self._parts)
        self._parts.clear()
        self._stream_offset += self._size
        self._size = self._frame_size = 0
        self._last = None
        self._emit(span, plain)
