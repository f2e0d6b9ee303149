"""An image of a registry: OCI distribution specification 1.1, pulling.

https://github.com/opencontainers/distribution-spec/blob/v1.1.0/spec.md
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from urllib.parse import urlsplit

from browsermount.address import parse_address
from browsermount.errors import (
    AuthError,
    BrowsermountError,
    CorsError,
    FetchError,
    HttpStatusError,
    ImageNotFound,
    InvalidImage,
    NetworkError,
)
from browsermount.fetch import Fetcher, Response, read_document
from browsermount.oci.auth import Authorizer
from browsermount.oci.credentials import CredentialProvider
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.document import get, parse_object, strings
from browsermount.oci.elsewhere import NOT_FOUND, or_elsewhere
from browsermount.oci.manifest import (
    DOCKER_TYPES,
    INDEX_TYPES,
    MANIFEST_TYPES,
    MAX_DOCUMENT_SIZE,
    OCI_TYPES,
    Index,
    parse_manifest,
)
from browsermount.oci.mirror import Route
from browsermount.reference import DOCKER_HUB, RegistryReference

_OK = 200
_MAX_ATTEMPTS = 20
_MAX_MESSAGE = 200
_SHOWN_TAGS = 10

_ACCEPT = ", ".join((*OCI_TYPES, *DOCKER_TYPES))
# Up to 128 bytes of this header need no preflight request in a browser.
_SHORT_ACCEPTS = (",".join(OCI_TYPES), ",".join(DOCKER_TYPES))

REGISTRY_CONFIG = """\
# config.yml of the registry, section http:
http:
  headers:
    Access-Control-Allow-Origin: ["*"]
    Access-Control-Allow-Methods: [GET, HEAD, OPTIONS]
    Access-Control-Allow-Headers: ["*", Authorization]
    Access-Control-Expose-Headers: [Content-Range, Docker-Content-Digest, WWW-Authenticate]
"""
"""What lets pages read from docker-registry where it wants no credentials."""

PROXY_CONFIG = """\
# nginx in front of the registry:
location /v2/ {
    if ($request_method = OPTIONS) {
        add_header Access-Control-Allow-Origin *;
        add_header Access-Control-Allow-Methods "GET, HEAD";
        add_header Access-Control-Allow-Headers "Authorization, Accept, Range";
        add_header Access-Control-Max-Age 7200;
        return 204;
    }
    proxy_pass http://127.0.0.1:5000;
    proxy_set_header Host $http_host;
}
"""
"""What answers the browser's question whether a page may send credentials.

docker-registry itself wants credentials for that too, which browsers do not send.
"""


REDIRECT_CONFIG = """\
# config.yml of the registry, section storage: send blobs oneself instead of redirecting.
storage:
  redirect:
    disable: true
"""
"""What lets docker-registry send blobs that lie in a storage which pages may not read from."""


class RegistrySource:
    """A :class:`browsermount.oci.image.Source` that pulls from a registry.

    Args:
        fetcher: How bytes are fetched.
        reference: What is pulled.
        route: Where the registry is reached.
        credentials: Is asked when the registry wants to know who we are.
    """

    def __init__(
        self,
        fetcher: Fetcher,
        reference: RegistryReference,
        route: Route,
        *,
        credentials: CredentialProvider | None = None,
    ) -> None:
        self._fetcher = fetcher
        self._reference = reference
        self._route = route
        self._authorizer = Authorizer(fetcher, route, reference.repository, credentials)

    def __str__(self) -> str:
        return str(self._reference)

    async def manifests(self) -> tuple[Descriptor, ...]:
        """Return the one that the reference names, with its bytes embedded.

        See :meth:`browsermount.oci.image.Source.manifests`.
        """
        reference = self._reference
        url = self._url(f"manifests/{reference.version}")
        response = await self._get_manifest(url)
        if response.status != _OK:
            raise await self._manifest_failure(response)
        data = await read_document(response, MAX_DOCUMENT_SIZE)
        digest = reference.digest or _stated_digest(response) or Digest.of(data)
        media_type = response.headers.get("content-type", "").partition(";")[0].strip()
        if media_type not in INDEX_TYPES | MANIFEST_TYPES:
            # Some servers know only that it is JSON. What it is stands in the document.
            document = parse_manifest(data, f"manifest {digest}")
            media_type = OCI_TYPES[0 if isinstance(document, Index) else 1]
            declared = get(parse_object(data, url), "mediaType", str, url)
            media_type = declared or media_type
        return (Descriptor(media_type, digest, len(data), data=data),)

    async def get_blob(
        self, descriptor: Descriptor, *, headers: Mapping[str, str] | None = None
    ) -> Response:
        """Send one request; see :meth:`browsermount.oci.image.Source.get_blob`."""
        if descriptor.media_type in INDEX_TYPES | MANIFEST_TYPES:
            return await self._get_manifest(self._url(f"manifests/{descriptor.digest}"))
        response = await self._get(self._url(f"blobs/{descriptor.digest}"), dict(headers or {}))
        return await or_elsewhere(response, self._fetcher, descriptor, headers)

    async def missing(self, descriptors: Sequence[Descriptor]) -> tuple[Descriptor, ...]:
        """Return none: a registry takes no manifest whose blobs are not there."""
        return ()

    def failure(self, descriptor: Descriptor, response: Response) -> BrowsermountError:
        """Return the error for a status; see :meth:`browsermount.oci.image.Source.failure`."""
        if response.status in NOT_FOUND:
            return ImageNotFound(
                f"blob {descriptor.digest} is missing from {self._route.registry}",
                hint="Push the image once more: it is not complete there.",
            )
        return self._status_failure(response)

    def _url(self, path: str) -> str:
        url = f"{self._route.base}/v2/{self._reference.repository}/{path}"
        return self._route.through(url)

    async def _get_manifest(self, url: str) -> Response:
        try:
            return await self._get(url, {"Accept": _ACCEPT})
        except NetworkError as error:
            raise self._with_advice(error) from error
        except CorsError as refused:
            if refused.missing == "Access-Control-Allow-Origin":
                raise
            for accept in _SHORT_ACCEPTS:
                response = await self._fetcher.get(url, headers={"Accept": accept})
                if response.status == _OK:
                    return response
                await response.aclose()
                if response.status == 401:
                    break  # whoever answers no preflight request lets no credentials in
            raise

    async def _get(self, url: str, headers: dict[str, str]) -> Response:
        for _ in range(_MAX_ATTEMPTS):
            try:
                authorization = await self._authorizer.current()
                if authorization is not None:
                    headers["Authorization"] = authorization
                response = await self._fetcher.get(url, headers=headers)
                # Only the registry itself may ask for its credentials, not whom it sends us to.
                if not (
                    _origin(response.url) == _origin(url) != ("", "")
                    and self._authorizer.is_refusal(response, authorization)
                ):
                    self._authorizer.accepted(authorization)
                    return response
                await response.aclose()
                await self._authorizer.refused(response, authorization)
            except CorsError as error:
                raise self._with_remedy(error) from error
        raise AuthError(
            f"{self._route.registry} lets us in at one time and not at another",
            hint="Look into the registry's log.",
        )

    def _with_advice(self, error: NetworkError) -> NetworkError:
        registry = self._reference.registry
        hint = error.hint + self._folder_hint()
        if self._route.base == self._reference.url and ":" in registry:
            scheme, other = ("http", "https") if self._is_plain else ("https", "http")
            hint += (
                f" The registry was asked over {scheme}; if it is reached over {other}, name that "
                f"as its mirror: {registry}={other}://{registry}"
            )
        return NetworkError(error.message, hint=hint)

    @property
    def _is_plain(self) -> bool:
        return self._route.base.startswith("http://")

    def _folder_hint(self) -> str:
        """Return what to do where a folder beside the page was meant."""
        if self._reference.registry != DOCKER_HUB:
            return ""
        name = self._reference.repository.removeprefix("library/")
        return f" If you meant the folder {name} beside this page, write ./{name} instead."

    def _with_remedy(self, error: CorsError) -> CorsError:
        if error.missing == "redirect":
            return CorsError(
                error.message, hint=error.hint, missing=error.missing, example=REDIRECT_CONFIG
            )
        hint = (
            "If the server is yours, configure it as shown below. If not, name a mirror or proxy "
            "that lets pages read from it (docs/images.md), or copy the image to a web server of "
            "yours, for example with: "
            f"skopeo copy docker://{self._reference} oci:folder:latest."
            f"{self._folder_hint()}"
        )
        preflight = error.missing == "preflight"
        return CorsError(
            error.message,
            hint=hint,
            missing=error.missing,
            example=PROXY_CONFIG if preflight else REGISTRY_CONFIG,
        )

    async def _manifest_failure(self, response: Response) -> BrowsermountError:
        said = await _message(response)
        if response.status in NOT_FOUND:
            hint = "Check how the image's name and tag are spelled."
            if (tags := await self._tags()) and self._reference.digest is None:
                more = ", …" if len(tags) > _SHOWN_TAGS else ""
                hint = f"There are these tags: {', '.join(tags[:_SHOWN_TAGS])}{more}"
            return ImageNotFound(f"there is no image {self._reference}{said}", hint=hint)
        return self._status_failure(response, said)

    def _status_failure(self, response: Response, said: str = "") -> BrowsermountError:
        server = urlsplit(response.url).netloc
        if response.status in (401, 403):
            return AuthError(
                f"{server} does not let us read {self._reference}{said}",
                hint="Check that the account may pull this image, and how its name is spelled.",
            )
        if response.status == 429:
            hint = "The server limits how much is pulled from it: wait a while, and try again."
        elif response.status >= 500:
            hint = "The server is in trouble: try again later."
        else:
            hint = "Check that this is the address of a registry, and look into its log."
        return HttpStatusError(response.status, response.url, hint=hint)

    async def _tags(self) -> tuple[str, ...]:
        """Return the repository's tags, as far as they can be had."""
        url = self._url("tags/list?n=100")
        try:
            # Nobody is asked who they are just for a hint.
            authorization = await self._authorizer.current()
            headers = {"Authorization": authorization} if authorization else {}
            response = await self._fetcher.get(url, headers=headers)
            if response.status != _OK:
                await response.aclose()
                return ()
            data = await read_document(response, MAX_DOCUMENT_SIZE)
            return strings(parse_object(data, url), "tags", url)
        except (FetchError, InvalidImage):
            return ()


def _origin(url: str) -> tuple[str, str]:
    try:
        address = parse_address(url)
    except ValueError:
        return "", ""  # nobody's: nothing that it says counts as the registry's word
    return address.scheme, address.netloc


def _stated_digest(response: Response) -> Digest | None:
    """Return what the registry says that the digest is, where CORS lets us see it."""
    stated = response.headers.get("docker-content-digest")
    return Digest.parse(stated) if stated else None


async def _message(response: Response) -> str:
    """Return what the registry says about a failure: the specification's "Error Codes"."""
    try:
        document = parse_object(await read_document(response, MAX_DOCUMENT_SIZE), "the error")
        errors = get(document, "errors", list, "the error") or [{}]
        message = get(errors[0], "message", str, "the error") if isinstance(errors[0], dict) else ""
    except (InvalidImage, FetchError):
        return ""
    shown = re.sub(r"[^\x20-\x7e]+", " ", message or "")[:_MAX_MESSAGE].strip()
    return f": {shown}" if shown else ""
