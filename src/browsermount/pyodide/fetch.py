"""The browser's fetch as a :class:`browsermount.fetch.Fetcher`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

import js
from pyodide.ffi import JsException, to_js

from browsermount.errors import CorsError, NetworkError
from browsermount.fetch import STALL_SECONDS

_HINT = "Check the address and the network connection, and try again."

# How long the question whether a server is there at all may take.
_PROBE_SECONDS = 10.0


class BrowserResponse:
    """A :class:`browsermount.fetch.Response` on a ``Response`` of the browser."""

    def __init__(self, response: Any, controller: Any, url: str) -> None:
        self._response = response
        self._controller = controller
        self._reader: Any = None
        self.status: int = response.status
        # Empty for responses that a script made up.
        self.url: str = response.url or url
        self.headers: Mapping[str, str] = {
            str(name).lower(): str(value) for name, value in response.headers.entries()
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        """Iterate over the body once, as it comes."""
        if self._response.body is None:  # a status that has no body
            return
        if self._reader is None:
            self._reader = self._response.body.getReader()
        try:
            while True:
                result = await self._reader.read()
                if result.done:
                    self._controller = None
                    return
                yield result.value.to_bytes()
        except JsException as error:
            raise NetworkError(
                f"the connection broke while reading {self.url}: {error.message}", hint=_HINT
            ) from error

    async def aclose(self) -> None:
        """Cancel the request if the body was not read to its end."""
        if self._controller is not None:
            self._controller.abort()
            self._controller = None


class BrowserFetcher:
    """A :class:`browsermount.fetch.Fetcher` on the browser's ``fetch``."""

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> BrowserResponse:
        """Send a GET request; see :meth:`browsermount.fetch.Fetcher.get`."""
        controller = js.AbortController.new()
        options = {"headers": dict(headers or {}), "signal": controller.signal}
        try:
            response = await asyncio.wait_for(js.fetch(url, _to_object(options)), STALL_SECONDS)
        except TimeoutError:
            controller.abort()
            raise NetworkError(
                f"{url} has not answered for {STALL_SECONDS:.0f} seconds", hint=_HINT
            ) from None
        except JsException as error:
            # The browser says no more than "Failed to fetch", whatever went wrong.
            raise await _explain(url, error) from error
        except asyncio.CancelledError:
            controller.abort()
            raise
        return BrowserResponse(response, controller, url)


def _to_object(value: Any) -> Any:
    return to_js(value, dict_converter=js.Object.fromEntries)


async def _explain(url: str, error: JsException) -> NetworkError | CorsError:
    """Find out why the browser gave no response for ``url``."""
    unreachable = NetworkError(f"cannot reach {url}: {error.message}", hint=_HINT)
    location = getattr(js, "location", None)
    if location is None:  # in Node: where there is no page, nothing is kept from it
        return unreachable
    target, page = urlsplit(url), urlsplit(location.href)
    server = f"{target.scheme}://{target.netloc}"
    if page.scheme == "https" and target.scheme == "http" and not _is_loopback(target.hostname):
        return NetworkError(
            f"the browser blocks {server}, because this page came over https and the image "
            "would come over plain http",
            hint="Serve the image over https, or open this page over http.",
        )
    if getattr(js.navigator, "onLine", True) is False:
        return NetworkError(
            f"cannot reach {server}: this device is offline",
            hint="Connect to the network and try again.",
        )
    if (target.scheme, target.netloc) != (page.scheme, page.netloc) and await _answers(url):
        return CorsError(
            f"{server} is there, but does not let pages from {page.scheme}://{page.netloc} "
            "read from it",
            hint=f"Let {server} send the header Access-Control-Allow-Origin: * (and "
            "Access-Control-Allow-Headers: * for requests that need it) with its answers, "
            "redirects and errors included, or put the image on the server of this page.",
        )
    return unreachable


async def _answers(url: str) -> bool:
    """Tell whether a server answers at all: without CORS, that is all a page may know."""
    controller = js.AbortController.new()
    options = {"mode": "no-cors", "method": "HEAD", "cache": "no-store"}
    request = js.fetch(url, _to_object(options | {"signal": controller.signal}))
    try:
        await asyncio.wait_for(request, _PROBE_SECONDS)
    except (JsException, TimeoutError):
        return False
    finally:
        controller.abort()
    return True


def _is_loopback(host: str | None) -> bool:
    """Tell whether a host is this machine, which browsers trust without https."""
    if host is None:
        return False
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
