"""The browser's fetch as a :class:`browsermount.fetch.Fetcher`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from typing import Any
from urllib.parse import urlencode, urlsplit

import js
from pyodide.ffi import JsException, to_js

from browsermount.errors import CorsError, NetworkError
from browsermount.fetch import STALL_SECONDS
from browsermount.reference import is_loopback

_HINT = "Check the address and the network connection, and try again."

# How long the question whether a server is there at all may take.
_PROBE_SECONDS = 10.0

# The page's cookies and what the browser knows of its user are for the page's own server.
# Registries choose where we go next, so that these must never be sent, whoever is asked.
_ANONYMOUS = {"credentials": "omit", "cache": "no-store"}

# Asked for to see whether a server allows headers in general.
_HEADER = "X-Browsermount"


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
        return await self._send(url, {"headers": dict(headers or {})})

    async def post(self, url: str, *, form: Mapping[str, str]) -> BrowserResponse:
        """Send a form; see :meth:`browsermount.fetch.Fetcher.post`."""
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        body = urlencode(dict(form))
        options = {"method": "POST", "headers": headers, "body": body, "redirect": "error"}
        return await self._send(url, options)

    async def _send(self, url: str, options: dict[str, Any]) -> BrowserResponse:
        controller = js.AbortController.new()
        # What is worth keeping is kept by digest: the browser's own cache would keep it once
        # more, and would give a name's old meaning.
        request = options | _ANONYMOUS | {"signal": controller.signal}
        try:
            response = await asyncio.wait_for(js.fetch(url, _to_object(request)), STALL_SECONDS)
        except TimeoutError:
            controller.abort()
            raise NetworkError(
                f"{url} has not answered for {STALL_SECONDS:.0f} seconds", hint=_HINT
            ) from None
        except JsException as error:
            # The browser says no more than "Failed to fetch", whatever went wrong.
            raise await _explain(url, options["headers"], error) from error
        except asyncio.CancelledError:
            controller.abort()
            raise
        return BrowserResponse(response, controller, url)


def _to_object(value: Any) -> Any:
    return to_js(value, dict_converter=js.Object.fromEntries)


async def _explain(
    url: str, headers: Mapping[str, str], error: JsException
) -> NetworkError | CorsError:
    """Find out why the browser gave no response for ``url``."""
    unreachable = NetworkError(f"cannot reach {url}: {error.message}", hint=_HINT)
    location = getattr(js, "location", None)
    if location is None:  # in Node: where there is no page, nothing is kept from it
        return unreachable
    target, page = urlsplit(url), urlsplit(location.href)
    server = f"{target.scheme}://{target.netloc}"
    if page.scheme == "https" and target.scheme == "http" and not is_loopback(target.hostname):
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
        origin = f"{page.scheme}://{page.netloc}"
        return await _refusal(url, server, origin, headers) or unreachable
    return unreachable


async def _refusal(
    url: str, server: str, origin: str, headers: Mapping[str, str]
) -> CorsError | None:
    """Find out which header is missing in the answers of a server that is there.

    The browser tells no script, but lets it try: without what needs permission, without
    following redirects, and with a header that ``*`` allows. No credentials are sent.
    """
    refusing = f"the server {server} is there, but does not let pages from {origin} read from it"
    first = await _probe(url, {"redirect": "manual"})
    if first is None:
        return CorsError(
            f"{refusing}: its answers have no header Access-Control-Allow-Origin",
            hint=f"Let {server} send the header Access-Control-Allow-Origin: * with its answers, "
            "errors included, or put the image on the server of this page.",
            missing="Access-Control-Allow-Origin",
        )
    if first == "opaqueredirect" and await _probe(url, {}) is None:
        return CorsError(
            f"the server {server} sends us on to another one, which does not let pages from "
            f"{origin} read from it: its answers have no header Access-Control-Allow-Origin",
            hint="Let that server send the header Access-Control-Allow-Origin: *, or let "
            f"{server} answer without a redirect.",
            missing="redirect",
        )
    wanted = ", ".join(sorted(headers))
    if "Authorization" in headers and await _probe(url, {"headers": {_HEADER: "1"}}) is not None:
        return CorsError(
            f"the server {server} does not let pages from {origin} send credentials: its header "
            "Access-Control-Allow-Headers does not name Authorization, which * does not cover",
            hint=f"Let {server} answer OPTIONS requests with the header "
            f"Access-Control-Allow-Headers: {wanted}",
            missing="Access-Control-Allow-Headers",
        )
    if not headers:
        return None
    return CorsError(
        f"the server {server} does not let pages from {origin} send the request header {wanted}: "
        "it does not answer the OPTIONS request by which the browser asks for permission, or "
        "without the header Access-Control-Allow-Headers",
        hint=f"Let {server} answer OPTIONS requests with status 204, without asking for "
        "credentials, and with the headers Access-Control-Allow-Origin: * and "
        f"Access-Control-Allow-Headers: {wanted}",
        missing="preflight",
    )


async def _probe(url: str, options: dict[str, Any]) -> str | None:
    """Return the type of a response that the browser lets us read, or None."""
    controller = js.AbortController.new()
    options = {**options, **_ANONYMOUS, "signal": controller.signal}
    try:
        response = await asyncio.wait_for(js.fetch(url, _to_object(options)), _PROBE_SECONDS)
    except (JsException, TimeoutError):
        return None
    finally:
        controller.abort()
    return str(response.type)


async def _answers(url: str) -> bool:
    """Tell whether a server answers at all: without CORS, that is all a page may know."""
    controller = js.AbortController.new()
    options = {"mode": "no-cors", "method": "HEAD", **_ANONYMOUS}
    request = js.fetch(url, _to_object(options | {"signal": controller.signal}))
    try:
        await asyncio.wait_for(request, _PROBE_SECONDS)
    except (JsException, TimeoutError):
        return False
    finally:
        controller.abort()
    return True
