"""The one interface through which bytes come in.

The back-ends are :mod:`browsermount.fetch.native` (httpx) and
:mod:`browsermount.pyodide.fetch` (the browser's fetch); tests bring their own.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping
from typing import Protocol, runtime_checkable

from browsermount.errors import InvalidImage, NetworkError

_GZIP = b"\x1f\x8b"

STALL_SECONDS = 30.0
"""How long a response may bring nothing before the connection counts as lost."""


class Response(Protocol):
    """An answer whose headers have come and whose body has not been read.

    ``headers`` has lower-case names; only those that CORS lets through in a browser.
    """

    @property
    def status(self) -> int:
        """The HTTP status code."""

    @property
    def url(self) -> str:
        """Where the answer came from, after redirects."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The response's header fields, names in lower case."""

    def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the body once, as it comes.

        Raises:
            NetworkError: The connection broke.
        """

    async def aclose(self) -> None:
        """Give up the rest of the body; harmless when it has been read."""


class Fetcher(Protocol):
    """Sends GET requests.

    Redirects are followed; an ``Authorization`` header does not go to another origin than the
    one that it was given for.
    """

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> Response:
        """Send a request and return the response as soon as its headers are there.

        Any status is returned, not raised.

        Raises:
            NetworkError: The server could not be reached.
            CorsError: The browser does not let us read the response.
        """


@runtime_checkable
class FormFetcher(Fetcher, Protocol):
    """A fetcher that can send forms, too."""

    async def post(self, url: str, *, form: Mapping[str, str]) -> Response:
        """Send the fields of a form; as for :meth:`get`, but no redirect is followed.

        What stands in a form may be a secret, which is for the server that was named.

        Raises:
            NetworkError, CorsError: As for :meth:`get`.
        """


async def unstalled(response: Response, seconds: float = STALL_SECONDS) -> AsyncIterator[bytes]:
    """Iterate over a response's body and fail when nothing comes for ``seconds``.

    The response is closed at the end, however it comes.

    Raises:
        NetworkError: The connection broke or stalled.
    """
    iterator = response.chunks()
    try:
        while True:
            try:
                # Not wait_for, which in Python 3.11 may lose a cancellation.
                async with asyncio.timeout(seconds):
                    chunk = await anext(iterator)
            except StopAsyncIteration:
                return
            except TimeoutError:
                raise NetworkError(
                    f"nothing came from {response.url} for {seconds:.0f} seconds",
                    hint="Check the network connection and try again.",
                ) from None
            yield chunk
    finally:
        await response.aclose()


async def read_all(response: Response, limit: int) -> bytes:
    """Read a whole body of at most ``limit`` bytes.

    Raises:
        InvalidImage: The body is longer than ``limit``.
        NetworkError: The connection broke or stalled.
    """
    body = bytearray()
    async for chunk in unstalled(response):
        body += chunk
        if len(body) > limit:
            await response.aclose()
            raise InvalidImage(
                f"{response.url} is larger than the {limit} bytes that such a document may have"
            )
    return bytes(body)


async def read_document(response: Response, limit: int) -> bytes:
    """Read a whole body of at most ``limit`` bytes that is text, as JSON is.

    Some servers compress it for the transfer although they were told not to; a browser undoes that
    by itself (RFC 9110, section 8.4).

    Raises:
        InvalidImage, NetworkError: As for :func:`read_all`.
    """
    body = await read_all(response, limit)
    encoding = response.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("gzip", "x-gzip") or not body.startswith(_GZIP):
        return body
    decompressor = zlib.decompressobj(wbits=31)
    try:
        text = decompressor.decompress(body, limit + 1)
    except zlib.error as error:
        raise NetworkError(
            f"what {response.url} has compressed for the transfer is damaged: {error}",
            hint="Check the network connection and try again.",
        ) from None
    if len(text) > limit:
        raise InvalidImage(
            f"{response.url} is larger than the {limit} bytes that such a document may have"
        )
    return text
