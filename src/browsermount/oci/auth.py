"""Identifying to a registry: distribution's token specification and HTTP's Basic scheme.

https://distribution.github.io/distribution/spec/auth/token/
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import urlencode, urljoin, urlsplit, urlunsplit

from browsermount.address import parse_address
from browsermount.errors import AuthError, CorsError, InvalidImage, NetworkError
from browsermount.fetch import Fetcher, FormFetcher, Response, read_document
from browsermount.oci.challenge import parse_challenges
from browsermount.oci.credentials import CredentialProvider, CredentialRequest, Credentials
from browsermount.oci.document import get, parse_object
from browsermount.oci.mirror import Route
from browsermount.reference import is_loopback

_OK = 200
_REFUSED = (401, 403)
_MAX_TOKEN_DOCUMENT = 1 << 20
_CLIENT_ID = "browsermount"

_DEFAULT_LIFETIME = 60.0
"""Seconds that a token lives whose server does not say how long."""

_USABLE_PART = 0.9
"""The part of a token's life in which it is used, so that it does not end on its way."""

_TOKEN = re.compile(r"[\x21-\x7e]+")


@dataclass(frozen=True, slots=True)
class TokenServer:
    """Who gives tokens for a registry: the parameters of a Bearer challenge.

    Attributes:
        realm: The server's URL.
        service: What it calls the registry; empty where it need not be told.
        scope: What a token has to be asked for, with blanks between several; empty where that
            was not said.
    """

    realm: str
    service: str = ""
    scope: str = ""


KNOWN_TOKEN_SERVERS = {
    "registry-1.docker.io": TokenServer("https://auth.docker.io/token", "registry.docker.io"),
    "ghcr.io": TokenServer("https://ghcr.io/token", "ghcr.io"),
    "quay.io": TokenServer("https://quay.io/v2/auth", "quay.io"),
    "registry.gitlab.com": TokenServer("https://gitlab.com/jwt/auth", "container_registry"),
}
"""By the registry's host: for when CORS or a proxy keeps ``WWW-Authenticate`` from us."""


class Authorizer:
    """Knows which ``Authorization`` header a registry wants for pulling from one repository.

    Args:
        fetcher: How tokens are fetched.
        route: Where the registry is.
        repository: What is pulled.
        credentials: Is asked when the registry wants to know who we are.
        clock: Returns seconds that only ever grow.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        route: Route,
        repository: str,
        credentials: CredentialProvider | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._fetcher = fetcher
        self._route = route
        self._repository = repository
        self._provider = credentials
        self._clock = clock
        # One at a time: requests that are refused together need only one token and one person.
        self._lock = asyncio.Lock()
        self._credentials: Credentials | None = None
        self._server: TokenServer | None = None
        self._realm = ""
        self._challenge_seen = True
        self._authorization: str | None = None
        self._expires = float("inf")
        self._worked = False
        self._failure: AuthError | None = None

    async def current(self) -> str | None:
        """Return the value of the header for the next request, or None to send none.

        Raises:
            AuthError, FetchError: A token has expired and no other one can be had.
        """
        if self._clock() >= self._expires:
            async with self._lock:
                if self._clock() >= self._expires:
                    await self._identify(asking=False)
        return self._authorization

    def accepted(self, authorization: str | None) -> None:
        """Take note that a request with this header was let in."""
        if authorization == self._authorization:
            self._worked = True

    def is_refusal(self, response: Response, authorization: str | None) -> bool:
        """Tell whether a response to a request with this header asks for another one."""
        if response.status == _REFUSED[0]:
            return True
        # Some registries forbid where others ask who an anonymous client is.
        anonymous = authorization is not None and self._credentials is None
        return response.status == _REFUSED[1] and anonymous and self._provider is not None

    async def refused(self, response: Response, authorization: str | None) -> None:
        """Get another header after a refusal of a request with this one.

        Returns when the request is worth another try.

        Raises:
            AuthError: There is nothing more that could be tried.
            FetchError: The token server cannot be reached, or is in trouble.
        """
        async with self._lock:
            if self._failure is not None:
                raise self._failure
            if self._authorization != authorization:
                return  # another request has got a new one in the meantime
            if authorization is None:
                self._read_challenge(response)
            await self._identify(asking=authorization is not None and not self._worked)

    def _read_challenge(self, response: Response) -> None:
        registry = self._route.registry
        header = response.headers.get("www-authenticate", "")
        challenges = {c.scheme: c.parameters for c in reversed(parse_challenges(header))}
        self._challenge_seen = bool(challenges)
        if "bearer" in challenges:
            parameters = challenges["bearer"]
            self._realm = self._token_server_url(parameters.get("realm", ""))
            self._server = TokenServer(
                self._realm, parameters.get("service", ""), parameters.get("scope", "")
            )
        elif "basic" in challenges:
            self._realm = challenges["basic"].get("realm", "")
        elif challenges:
            raise AuthError(
                f"{registry} wants us to identify by {', '.join(sorted(challenges))}, "
                "of which only Basic and Bearer are supported"
            )
        else:
            self._server = KNOWN_TOKEN_SERVERS.get(registry)
            self._realm = self._server.realm if self._server else ""

    def _token_server_url(self, realm: str) -> str:
        try:
            if not realm:
                raise ValueError("it is empty")
            url = urljoin(f"{self._route.base}/v2/", realm)
            parse_address(url)
        except ValueError as error:
            raise AuthError(
                f"{self._route.registry} names no token server that can be asked: {realm!r} "
                f"({error})",
                hint="Check the registry's configuration.",
            ) from None
        return url

    async def _identify(self, *, asking: bool) -> None:
        """Set a header that has not been refused yet.

        Args:
            asking: Whether another person than the present one, if any, is needed for it.
        """
        while True:
            if asking or (self._server is None and self._credentials is None):
                try:
                    self._credentials = await self._ask()
                except AuthError as error:
                    # Who has nothing to say to one request is not asked for the others.
                    self._failure = error
                    raise
            if self._server is None:
                assert self._credentials is not None
                self._check_secure(self._route.through(self._route.base))
                self._authorization, self._expires = self._credentials.basic(), float("inf")
                break
            if await self._take_token(self._server):
                break
            asking = True
        self._worked = False

    async def _ask(self) -> Credentials:
        registry, before = self._route.registry, self._credentials
        if self._provider is None:
            raise AuthError(
                f"{registry} wants to know who pulls {self._repository}, "
                "and there are no credentials for it",
                hint="Give credentials for this registry; or if the image should be public, check "
                "how its name is spelled.",
            )
        request = CredentialRequest(
            registry, self._realm, before is not None, self._route.via, self._route.mirrored
        )
        given = await self._provider(request)
        if given is None:
            raise AuthError(
                f"{registry} wants to know who pulls {self._repository}, "
                "and no credentials were given",
                hint="Try again and sign in; or if the image should be public, check how its name "
                f"is spelled.{self._mirror_hint()}{self._exposure_hint()}",
            )
        if given == before:
            raise AuthError(
                f"{registry} refuses the credentials of {given.username or 'the token'}, or they "
                f"do not suffice to pull {self._repository}",
                hint=f"Check the user name and the password or token.{self._exposure_hint()}",
            )
        return given

    def _mirror_hint(self) -> str:
        if not self._route.mirrored:
            return ""
        return (
            " A mirror or proxy that the page's address names is given no credentials: name it in "
            "the page itself."
        )

    def _exposure_hint(self) -> str:
        if self._challenge_seen:
            return ""
        return (
            f" How {self._route.registry} wants us to sign in cannot be seen, so that only a user "
            "name and password were tried: if it works with tokens, let it send the header "
            "Access-Control-Expose-Headers: WWW-Authenticate."
        )

    def _check_secure(self, url: str) -> None:
        try:
            server = parse_address(url)
        except ValueError as error:
            raise AuthError(
                f"credentials for {self._route.registry} are not sent to {url!r}: {error}",
                hint="Check the address of the registry, and of its mirror.",
            ) from None
        if server.scheme != "https" and not is_loopback(server.host.strip("[]")):
            raise AuthError(
                f"credentials for {self._route.registry} are not sent to {server.netloc}, which "
                "would get them over plain http",
                hint="Let the server be reached over https.",
            )

    async def _take_token(self, server: TokenServer) -> bool:
        """Fetch a token and use it; False where the server refuses the credentials, or none."""
        response = await self._request_token(server)
        if response.status in _REFUSED:
            await response.aclose()
            return False
        place = urlsplit(server.realm).netloc
        if response.status != _OK:
            await response.aclose()
            said = (
                f"{place}, which gives the tokens for {self._route.registry}, "
                f"answered {response.status}"
            )
            if response.status >= 500 or response.status == 429:
                raise NetworkError(said, hint="Try again later.")
            raise AuthError(said, hint="Check the registry's configuration.")
        what = f"the answer of the token server {place}"
        try:
            document = parse_object(await read_document(response, _MAX_TOKEN_DOCUMENT), what)
            token = get(document, "token", str, what) or get(document, "access_token", str, what)
            lifetime = document.get("expires_in")
        except InvalidImage as error:
            raise AuthError(error.message) from error
        if not token or not _TOKEN.fullmatch(token):
            raise AuthError(f"{what} holds no token")
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or lifetime <= 0:
            lifetime = _DEFAULT_LIFETIME
        self._authorization = f"Bearer {token}"
        self._expires = self._clock() + lifetime * _USABLE_PART
        return True

    async def _request_token(self, server: TokenServer) -> Response:
        scopes = server.scope.split() or [f"repository:{self._repository}:pull"]
        service = {"service": server.service} if server.service else {}
        parts = urlsplit(server.realm)
        query = urlencode({**service, "scope": scopes}, doseq=True)
        query = f"{parts.query}&{query}" if parts.query else query
        url = self._route.through(urlunsplit(parts._replace(query=query, fragment="")))
        credentials = self._credentials
        if credentials is None:
            return await self._fetcher.get(url)
        self._check_secure(url)
        form = {**service, "scope": " ".join(scopes), "client_id": _CLIENT_ID}
        if not credentials.username:
            form |= {"grant_type": "refresh_token", "refresh_token": credentials.secret}
            return await self._send_form(server, form)
        try:
            return await self._fetcher.get(url, headers={"Authorization": credentials.basic()})
        except CorsError as error:
            # A form needs no permission for a header.
            form |= {
                "grant_type": "password",
                "username": credentials.username,
                "password": credentials.secret,
            }
            response = await self._send_form(server, form)
            if response.status == _OK or response.status in _REFUSED:
                return response
            await response.aclose()
            raise error

    async def _send_form(self, server: TokenServer, form: Mapping[str, str]) -> Response:
        if not isinstance(self._fetcher, FormFetcher):
            raise AuthError(
                f"the token server of {self._route.registry} wants a form, and none can be sent",
                hint="Use a user name and password instead of an identity token.",
            )
        return await self._fetcher.post(self._route.through(server.realm), form=form)
