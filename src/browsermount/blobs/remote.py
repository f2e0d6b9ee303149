"""A blob on a server, read in ranges, whatever the server makes of them.

HTTP semantics are RFC 9110: range requests are section 14, 429 is RFC 6585.
"""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from email.utils import parsedate_to_datetime
from time import time

from browsermount.errors import EncodedBlob, FetchError, NetworkError, SizeMismatch
from browsermount.fetch import Response, unstalled
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.image import Source

ATTEMPTS = 5
"""How often a request is sent, in a row, that brings nothing."""

FIRST_DELAY = 0.5
"""Seconds before the second attempt; each further delay is twice as long."""

MAX_DELAY = 15.0
"""Seconds that a delay has at most, whatever the server asks for."""

_OK, _PARTIAL, _UNSATISFIABLE = 200, 206, 416
_PASSING = frozenset({408, 425, 429, 500, 502, 503, 504})
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)", re.IGNORECASE)
_BOUNDARY = re.compile(r'boundary="?([^";,]+)"?', re.IGNORECASE)
_MULTIPART_OVERHEAD = 1 << 16


class RangesIgnored(Exception):
    """The server sent the whole blob where a part was asked for."""


class _Passing(FetchError):
    """An answer that may well be another one soon; ``delay`` in seconds is the server's wish."""

    def __init__(self, error: FetchError, delay: float | None = None) -> None:
        super().__init__(error.message, hint=error.hint)
        self.error = error
        self.delay = delay


class RemoteBlob:
    """Reads one blob from its source, trying again what failed in passing.

    Nothing that comes from here is verified yet.

    Args:
        source: Where the blob is.
        descriptor: Which blob it is.
        on_trouble: Is called with each failure that is going to be tried again.
        on_bytes: Is called with the number of bytes that came, each time some come.
        sleep: Waits for some seconds.
    """

    def __init__(
        self,
        source: Source,
        descriptor: Descriptor,
        *,
        on_trouble: Callable[[FetchError], None] = lambda error: None,
        on_bytes: Callable[[int], None] = lambda count: None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.descriptor = descriptor
        self.ranged = True
        """False once the server has shown that it takes no notice of ranges."""
        self._answer: Response | None = None
        self.resumed = False
        """Whether an answer broke off and was gone on with by another request."""
        self._source = source
        self._on_trouble = on_trouble
        self._on_bytes = on_bytes
        self._sleep = sleep

    async def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``; raises as :meth:`stream` does."""
        return b"".join([chunk async for chunk in self.stream(offset, size)])

    async def stream(self, offset: int, size: int) -> AsyncGenerator[bytes, None]:
        """Iterate over ``size`` bytes from ``offset``, going on where a connection breaks.

        Raises:
            RangesIgnored: A part was asked for and the server sends all or nothing.
            SizeMismatch: The blob is shorter than its descriptor says.
            FetchError, ImageNotFound: The bytes cannot be had, tried often enough.
        """
        whole = (offset, size) == (0, self.descriptor.size)
        failures = 0
        ended = -1
        while size > 0:
            came = 0
            try:
                async with aclosing(self._request(offset, size)) as chunks:
                    async for chunk in chunks:
                        if len(chunk) > size and offset + size == self.descriptor.size:
                            self._check_encoding(longer=True)
                            raise SizeMismatch(
                                f"blob {self.descriptor.digest} is longer on the server than the "
                                f"{self.descriptor.size} bytes that its descriptor says",
                                hint="Copy the image to the server once more.",
                            )
                        part = chunk[:size]
                        if not part:
                            break
                        offset += len(part)
                        came += len(part)
                        size -= len(part)
                        failures = 0
                        self._on_bytes(len(part))
                        yield part
                if size:
                    self._check_broken(came)
                if size and offset == ended:
                    self._check_encoding()
                    # Broken off by chance, it would have been somewhere else this time.
                    raise self._too_short()
                if size:
                    ended = offset
                    raise NetworkError(
                        f"the server ended its answer for blob {self.descriptor.digest} too early",
                        hint="Check the network connection and try again.",
                    )
            except RangesIgnored:
                # The rest of a whole is to be had from there all the same, from its start.
                if not whole:
                    raise
            except (NetworkError, _Passing) as error:
                failures += 1
                self.resumed = True
                failure = error.error if isinstance(error, _Passing) else error
                delay = error.delay if isinstance(error, _Passing) else None
                if failures >= ATTEMPTS:
                    self._check_encoding()
                    raise failure from failure.__cause__
                self._on_trouble(failure)
                if delay is None:
                    delay = FIRST_DELAY * 2 ** (failures - 1) * random.uniform(0.8, 1.2)
                await self._sleep(min(delay, MAX_DELAY))

    def _check_broken(self, came: int) -> None:
        """Say that the connection broke, where fewer bytes came than the server has announced.

        Not all browsers say so themselves: Firefox and WebKit end the body as if that was all.
        """
        announced = self._answer.headers.get("content-length", "") if self._answer else ""
        if self._answer is not None and announced.isdecimal() and came < int(announced):
            raise NetworkError(
                f"the connection broke while reading {self._answer.url}",
                hint="Check the network connection and try again.",
            )

    def _check_encoding(self, *, longer: bool = False) -> None:
        """Say the true reason why the bytes are wrong, where the last answer was encoded.

        Pages of other origins do not see Content-Encoding; Content-Length, which they see, is of
        what came over the wire, and what the browser has unpacked of it is longer.
        """
        if self._answer is None:
            return
        fields = self._answer.headers
        coding = fields.get("content-encoding", "").strip().lower()
        whole = self._answer.status == _OK
        unpacked = longer and whole and fields.get("content-length") == str(self.descriptor.size)
        if unpacked or coding not in ("", "identity"):
            raise EncodedBlob(self._answer.url)

    def _too_short(self) -> SizeMismatch:
        return SizeMismatch(
            f"blob {self.descriptor.digest} is shorter on the server than the "
            f"{self.descriptor.size} bytes that its descriptor says",
            hint="Copy the image to the server once more: it is not complete there.",
        )

    async def _request(self, offset: int, size: int) -> AsyncGenerator[bytes, None]:
        # A single range is the one form that needs no CORS preflight (Fetch standard,
        # "CORS-safelisted request-header").
        asks = self.ranged and (offset, size) != (0, self.descriptor.size)
        headers = {"Range": f"bytes={offset}-{offset + size - 1}"} if asks else None
        response = await self._source.get_blob(self.descriptor, headers=headers)
        self._answer = response
        try:
            if response.status == _PARTIAL:
                async for chunk in _parts(response, offset, size):
                    yield chunk
            elif response.status == _OK:
                if asks:
                    self.ranged = False
                    raise RangesIgnored
                async for chunk in _skip(unstalled(response), offset):
                    yield chunk
            elif response.status == _UNSATISFIABLE:
                raise self._too_short()
            else:
                error = self._source.failure(self.descriptor, response)
                if response.status in _PASSING and isinstance(error, FetchError):
                    raise _Passing(error, _retry_after(response))
                raise error
        finally:
            await response.aclose()


async def _skip(chunks: AsyncIterator[bytes], count: int) -> AsyncIterator[bytes]:
    """Leave out the first ``count`` bytes."""
    async for chunk in chunks:
        if count < len(chunk):
            yield chunk[count:]
        count = max(count - len(chunk), 0)


async def _parts(response: Response, offset: int, size: int) -> AsyncIterator[bytes]:
    """Iterate over the body of a 206 answer, which must begin at ``offset``."""
    if "multipart/byteranges" in response.headers.get("content-type", "").lower():
        yield await _from_multipart(response, offset, size)
        return
    # Where CORS does not expose the header, the digest has to tell whether these are the bytes.
    given = response.headers.get("content-range")
    if given is not None:
        _check_range(response, given, offset)
    async for chunk in unstalled(response):
        yield chunk


def _check_range(response: Response, given: str, offset: int) -> int:
    """Return where a Content-Range ends; it must begin at ``offset``."""
    found = _CONTENT_RANGE.fullmatch(given.strip())
    if found is None or int(found[1]) != offset or int(found[2]) < offset:
        raise NetworkError(
            f"{response.url} answered with the range {given!r} where one from byte "
            f"{offset} was asked for",
            hint="The server, or a cache in front of it, handles ranges wrongly.",
        )
    return int(found[2]) + 1


async def _from_multipart(response: Response, offset: int, size: int) -> bytes:
    """Return the part that begins at ``offset`` (RFC 9110, section 14.6)."""
    body = bytearray()
    async for chunk in unstalled(response):
        body += chunk
        if len(body) > size + _MULTIPART_OVERHEAD:
            break
    boundary = _BOUNDARY.search(response.headers.get("content-type", ""))
    delimiter = b"--" + (boundary[1].encode() if boundary else b"")
    position = body.find(delimiter) if boundary else -1
    while position >= 0:
        head, separator, _ = bytes(body[position : position + 4096]).partition(b"\r\n\r\n")
        fields = dict(
            line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:] if b":" in line
        )
        given = fields.get(b"content-range", b"").decode("latin-1").strip()
        found = _CONTENT_RANGE.fullmatch(given)
        if not separator or found is None:
            break
        start = position + len(head) + len(separator)
        length = int(found[2]) + 1 - int(found[1])
        if int(found[1]) == offset and length > 0:
            return bytes(body[start : start + min(length, size)])
        position = body.find(delimiter, start + max(length, 0))
    raise NetworkError(
        f"{response.url} answered in several parts, none of which is the one asked for",
        hint="The server, or a cache in front of it, handles ranges wrongly.",
    )


def _retry_after(response: Response) -> float | None:
    """Return the seconds that Retry-After asks to wait (RFC 9110, section 10.2.3)."""
    given = response.headers.get("retry-after", "").strip()
    if given.isdecimal():
        return float(given)
    try:
        return max(parsedate_to_datetime(given).timestamp() - time(), 0.0)
    except (TypeError, ValueError):
        return None
