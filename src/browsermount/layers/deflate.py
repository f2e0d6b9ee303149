"""Deflate streams (RFC 1951) that are entered and left in the middle.

A decoder can start at the border of two blocks when it knows the 32 KiB of
output before it.  Such a border lies at any bit of a byte.

Python's ``zlib`` can be brought to start there, but not to stop there; zlib's
own interface does it, which ``ctypes`` reaches natively and in Pyodide alike.
"""

from __future__ import annotations

import sys
import weakref
import zlib
from collections.abc import Generator, Iterator
from functools import cache
from typing import Any

from browsermount.errors import InvalidLayer

WINDOW_SIZE = 1 << 15
"""How far back deflate can refer, in bytes."""

_TRAILER_SIZE = 8  # of a gzip member: CRC-32 and length
_INPUT_STEP = 1 << 16
_OUTPUT_STEP = 1 << 20

# zlib.h
_Z_NO_FLUSH = 0
_Z_BLOCK = 5
_Z_OK = 0
_Z_STREAM_END = 1
_Z_BUF_ERROR = -5
_GZIP_ONLY = 16 + 15


def inflate_from(data: bytes, bits: int, window: bytes) -> Iterator[bytes]:
    """Decompress a part of a gzip stream that starts at a border between deflate blocks.

    Args:
        data: From the byte that holds the first bit; further members may follow.
        bits: How many bits of the first byte belong to what was before.
        window: Up to 32 KiB of output before the border.

    Raises:
        InvalidLayer: The data is damaged.
    """
    inflater = zlib.decompressobj(-15, zdict=window) if window else zlib.decompressobj(-15)
    position = 0
    try:
        if bits and data:
            # Blocks without output bring the decoder to the right bit of the first byte.
            padding = _padding(bits)
            yield inflater.decompress(padding[:-1] + bytes([padding[-1] | data[0] >> bits << bits]))
            position = 1
        position = yield from _drain(inflater, data, position)
    except zlib.error as error:
        raise InvalidLayer(f"the gzip data is damaged: {error}") from None
    if inflater.eof:
        yield from inflate_members(data, position + _TRAILER_SIZE)


def inflate_members(data: bytes, position: int = 0) -> Iterator[bytes]:
    """Decompress gzip members in a row from ``position``, the last of which may be cut off.

    Raises:
        InvalidLayer: The data is damaged.
    """
    end = len(data)
    while position < end:
        if not data[position]:
            position += 1  # padding, as gzip(1) has it
            continue
        member = zlib.decompressobj(_GZIP_ONLY)
        try:
            position = yield from _drain(member, data, position)
        except zlib.error as error:
            raise InvalidLayer(f"the gzip data is damaged: {error}") from None


def _drain(inflater: Any, data: bytes, position: int) -> Generator[bytes, None, int]:
    """Decompress to the end of a member or of ``data``; return where that is."""
    view = memoryview(data)
    while not inflater.eof and position < len(data):
        # In parts, since what is left over of each is copied.
        part: bytes | memoryview = view[position : position + _INPUT_STEP]
        position += len(part)
        while True:
            plain = inflater.decompress(part, _OUTPUT_STEP)
            part = inflater.unconsumed_tail
            if plain:
                yield plain
            if inflater.eof or not (part or plain):
                break
    return position - len(inflater.unused_data)


@cache
def _padding(bits: int) -> bytes:
    """Return blocks without output whose length in bits is ``bits`` more than whole bytes."""
    fields: list[tuple[int, int]] = []
    if bits % 2:
        # The lengths of a dynamic block's own codes take 3 bits each, which makes it odd.
        # Two codes of its alphabet have 2 bits (0, 1), one has 1 (18: a run of zeros).
        fields += [(0, 1), (2, 2), (0, 5), (0, 5), (19 - 4, 4)]
        order = (16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15)
        lengths = {18: 1, 0: 2, 1: 2}
        fields += [(lengths.get(symbol, 0), 3) for symbol in order]
        # 256 literals that do not occur, the end of the block in one bit, no distance.
        for zeros in (138, 118):
            fields += [(0b0, 1), (zeros - 11, 7)]
        fields += [(0b11, 2), (0b01, 2)]  # canonical codes of 1 and 0, first bit lowest
        fields += [(0, 1)]
    while sum(width for _, width in fields) % 8 != bits:
        fields += [(0, 1), (1, 2), (0, 7)]  # an empty block with the fixed codes: 10 bits
    number = position = 0
    for value, width in fields:
        number |= value << position
        position += width
    return number.to_bytes(position // 8 + 1, "little")


class Inflater:
    """zlib's ``inflate`` for gzip, able to stop at the borders of deflate blocks.

    Raises:
        NotImplementedError: zlib's own interface is not within reach.
    """

    def __init__(self, capacity: int) -> None:
        import ctypes  # noqa: PLC0415  (see _library)

        library = _library()
        self._inflate = library.inflate
        self._reset = library.inflateReset
        self._stream = stream = _stream_type()()
        self._reference = ctypes.byref(stream)
        self._output = bytearray(capacity)
        self._view = memoryview(self._output)
        self._base = ctypes.addressof(ctypes.c_char.from_buffer(self._output))
        code = library.inflateInit2_(
            self._reference, _GZIP_ONLY, library.zlibVersion(), ctypes.sizeof(stream)
        )
        if code != _Z_OK:
            raise MemoryError(f"zlib could not be set up: {code}")
        weakref.finalize(self, library.inflateEnd, self._reference)
        self._input = b""
        self._input_address = 0
        self.filled = 0
        self.consumed = 0
        self.at_border = False
        self.unused_bits = 0
        self.ended = False

    def run(self, data: bytes, start: int, limit: int, *, blockwise: bool) -> None:
        """Decompress into the buffer what ``data`` gives.

        Stops when the input is used up, when the buffer holds ``limit`` bytes, or at the
        end of a member.  Afterwards ``consumed`` says how many bytes were taken,
        ``filled`` how many the buffer holds, ``ended`` whether it stopped at the end of
        a member, and ``at_border`` whether a decoder could start here, with the last
        ``unused_bits`` bits of the last byte still to come.

        Args:
            data: Compressed bytes.
            start: Where in ``data`` to start.
            limit: At most the buffer's capacity.
            blockwise: Whether to stop at borders between blocks.

        Raises:
            InvalidLayer: The data is damaged.
        """
        import ctypes  # noqa: PLC0415

        stream = self._stream
        given = len(data) - start
        room = limit - self.filled
        if data is not self._input:
            self._input = data
            # The address of the bytes themselves.
            pointer = ctypes.cast(ctypes.c_char_p(data), ctypes.c_void_p)
            self._input_address = pointer.value or 0
        stream.next_in = self._input_address + start
        stream.avail_in = given
        stream.next_out = self._base + self.filled
        stream.avail_out = room
        code = self._inflate(self._reference, _Z_BLOCK if blockwise else _Z_NO_FLUSH)
        if code not in (_Z_OK, _Z_STREAM_END, _Z_BUF_ERROR):
            reason = stream.msg.decode("ascii", "replace") if stream.msg else f"error {code}"
            raise InvalidLayer(f"the gzip data is damaged: {reason}")
        self.consumed = given - stream.avail_in
        self.filled += room - stream.avail_out
        self.ended = code == _Z_STREAM_END
        # Bit 7: after a block or the header. Bit 6: that block was the last one.
        state = stream.data_type
        self.at_border = not self.ended and bool(state & 128) and not state & 64
        self.unused_bits = state & 7
        if self.ended:
            self._reset(self._reference)

    def take(self) -> bytes:
        """Return what the buffer holds, and empty it."""
        plain = bytes(self._view[: self.filled])
        self.filled = 0
        return plain


@cache
def _stream_type() -> Any:
    import ctypes  # noqa: PLC0415

    class Stream(ctypes.Structure):
        """``z_stream`` of zlib.h."""

        _fields_ = (
            ("next_in", ctypes.c_void_p),
            ("avail_in", ctypes.c_uint),
            ("total_in", ctypes.c_ulong),
            ("next_out", ctypes.c_void_p),
            ("avail_out", ctypes.c_uint),
            ("total_out", ctypes.c_ulong),
            ("msg", ctypes.c_char_p),
            ("state", ctypes.c_void_p),
            ("zalloc", ctypes.c_void_p),
            ("zfree", ctypes.c_void_p),
            ("opaque", ctypes.c_void_p),
            ("data_type", ctypes.c_int),
            ("adler", ctypes.c_ulong),
            ("reserved", ctypes.c_ulong),
        )

    return Stream


def _library_name() -> str | None:
    from ctypes.util import find_library  # noqa: PLC0415

    return find_library("z")


@cache
def _library() -> Any:
    """Return zlib with its functions' types.

    Only when it is needed: a memory snapshot of Pyodide, in which this module is
    imported already, must hold no handle of a library.

    Raises:
        NotImplementedError: There is no such library, as with Pythons that are linked
            statically.
    """
    try:
        import ctypes  # noqa: PLC0415

        # Pyodide has it in the program itself.
        library = ctypes.CDLL(None if sys.platform == "emscripten" else _library_name())
        pointer = ctypes.POINTER(_stream_type())
        library.zlibVersion.restype = ctypes.c_char_p
        library.zlibVersion.argtypes = []
        library.inflateInit2_.argtypes = [pointer, ctypes.c_int, ctypes.c_char_p, ctypes.c_int]
        library.inflate.argtypes = [pointer, ctypes.c_int]
        library.inflateReset.argtypes = [pointer]
        library.inflateEnd.argtypes = [pointer]
    except (ImportError, OSError, AttributeError) as error:
        raise NotImplementedError(f"zlib is not within reach: {error}") from None
    return library
