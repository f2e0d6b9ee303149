"""The native fetch back-end, on httpx."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping
from http.cookiejar import CookieJar, DefaultCookiePolicy
from types import TracebackType
from typing import Any

import httpx

from browsermount.errors import NetworkError

_HINT = "Check the address and the network connection, and try again."


class HttpxResponse:
    """A :class:`browsermount.fetch.Response` on an httpx response."""

    def __init__(self, response: httpx.Response) -> None:
        self._response = response
        self.status = response.status_code
        self.url = str(response.url)
        self.headers: Mapping[str, str] = {k.lower(): v for k, v in response.headers.items()}

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the body as it came over the wire, without undoing a content encoding."""
        try:
            async for chunk in self._response.aiter_raw():
                yield chunk
        except httpx.TransportError as error:
            raise NetworkError(
                f"the connection broke while reading {self.url}: {error}", hint=_HINT
            ) from error

    async def aclose(self) -> None:
        """Close the connection if the body was not read to its end."""
        await self._response.aclose()


class HttpxFetcher:
    """A :class:`browsermount.fetch.Fetcher` with a connection pool; an async context manager.

    Proxies come from the environment: ``HTTPS_PROXY``, ``NO_PROXY`` and so on.

    Args:
        verify: Whom to trust; by default what httpx does.
    """

    def __init__(self, *, verify: ssl.SSLContext | bool = True) -> None:
        # Blobs are verified as they are stored: a server must not compress them once more.
        self._client = httpx.AsyncClient(
            headers={"Accept-Encoding": "identity"},
            timeout=httpx.Timeout(30.0),
            verify=verify,
            # No server is told by a cookie who came before.
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        )

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> HttpxResponse:
        """Send a GET request; see :meth:`browsermount.fetch.Fetcher.get`."""
        return await self._send("GET", url, redirects=True, headers=headers)

    async def post(self, url: str, *, form: Mapping[str, str]) -> HttpxResponse:
        """Send a form; see :meth:`browsermount.fetch.Fetcher.post`."""
        return await self._send("POST", url, redirects=False, data=dict(form))

    async def _send(
        self, method: str, url: str, *, redirects: bool, **content: Any
    ) -> HttpxResponse:
        try:
            request = self._client.build_request(method, url, **content)
            response = await self._client.send(request, stream=True, follow_redirects=redirects)
            return HttpxResponse(response)
        except (httpx.TransportError, httpx.TooManyRedirects) as error:
            raise NetworkError(f"cannot reach {url}: {error}", hint=_HINT) from error
        except (httpx.InvalidURL, UnicodeError) as error:
            raise NetworkError(f"{url} is no address of a server: {error}", hint=_HINT) from error

    async def aclose(self) -> None:
        """Close all connections."""
        await self._client.aclose()

    async def __aenter__(self) -> HttpxFetcher:
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()
