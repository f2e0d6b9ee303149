"""What a person typed, read as a reference to an image.

Registry references are read as docker does, by the grammar of the distribution project:
https://pkg.go.dev/github.com/distribution/reference.  An ``http://`` or ``https://`` URL is an OCI
image layout, and so is a path, which is told from a registry reference by what no such
reference has: ``/``, ``./`` or ``../`` at its start, or ``/`` at its end.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import parse_qsl, quote, unquote, urlencode, urljoin, urlsplit, urlunsplit

from browsermount.errors import InvalidImage, InvalidReference
from browsermount.oci.digest import Digest

DOCKER_HUB = "docker.io"
"""The registry of references that name none."""

_HUB_ALIASES = ("docker.io", "index.docker.io")
_HUB_HOST = "registry-1.docker.io"

_NAME_PARAMETERS = ("org.opencontainers.image.ref.name", "tag")
"""The parameters of a layout's URL that choose one of its images."""

# A host with a port, and a name with a tag, look like a scheme: these are no images for sure.
_OTHER_SCHEME = re.compile(
    r"([a-z][a-z0-9+.-]*://|(?:javascript|data|blob|file|mailto|about):)", re.IGNORECASE
)
_HTTP = re.compile(r"https?:", re.IGNORECASE)
_ENCODED = re.compile(r"%(2f|3a)", re.IGNORECASE)
# Control characters and blanks: no reference has one, so one of them means a slip of the hand.
_BLANK = re.compile(r"[\x00-\x20\x7f]")

_DOMAIN_PART = r"[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_DOMAIN = re.compile(
    rf"(?:{_DOMAIN_PART}(?:\.{_DOMAIN_PART})*|\[[a-fA-F0-9:]+\])(?::[0-9]{{1,5}})?"
)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_REPOSITORY = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_IMAGE_ID = re.compile(r"[0-9a-f]{64}")
_MAX_REPOSITORY = 255
_MAX_PORT = 65535

_HINT = (
    "Name an image of a registry, such as debian, ghcr.io/owner/image:tag or localhost:5000/image, "
    "or give the URL of a folder that holds an OCI image layout, such as "
    "https://example.com/images/debian or ./images/debian."
)


_OTHER_PLACES = {
    "docker-daemon:": "Save the image to a file and give that: docker save -o image.tar NAME",
    "containers-storage:": "Save the image to a file and give that: podman save -o image.tar NAME",
    "docker-archive:": "A page reads no archives. Make a folder of it and put it on a web server: "
    "browsermount convert image.tar folder",
    "oci-archive:": "A page reads no archives. Make a folder of it and put it on a web server: "
    "browsermount convert image.tar folder",
}
"""What other tools read images from, by the prefixes that they have for it, and what to do."""


@dataclass(frozen=True, slots=True)
class LayoutReference:
    """An OCI image layout that an HTTP server holds.

    Attributes:
        url: The layout's folder: absolute, path ends with ``/``, no fragment.
        name: The ``org.opencontainers.image.ref.name`` wanted, or None for the only image.
    """

    url: str
    name: str | None = None

    def file(self, path: str) -> str:
        """Return the URL of a file of the layout; a query of the layout's URL is kept."""
        parts = urlsplit(self.url)
        return urlunsplit(parts._replace(path=parts.path + quote(path)))

    def __str__(self) -> str:
        return self.url if self.name is None else f"{self.url}#{quote(self.name)}"


@dataclass(frozen=True, slots=True)
class RegistryReference:
    """An image of a registry.

    Attributes:
        registry: As it is written: ``docker.io``, ``localhost:5000``.
        repository: The name within the registry: ``library/debian``.
        tag: The tag; None where only a digest was given.
        digest: The manifest's digest, which decides where there is a tag too.
    """

    registry: str
    repository: str
    tag: str | None = None
    digest: Digest | None = None

    @property
    def url(self) -> str:
        """Where the registry is reached: scheme, host and port, without a slash at the end."""
        host = _HUB_HOST if self.registry == DOCKER_HUB else self.registry
        return f"{'http' if is_loopback(urlsplit(f'//{host}').hostname) else 'https'}://{host}"

    @property
    def version(self) -> str:
        """What the manifest is asked for by: the digest, or else the tag."""
        return str(self.digest or self.tag)

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.registry}/{self.repository}{tag}{digest}"


Reference = LayoutReference | RegistryReference


def parse_reference(text: str, *, base: str | None = None) -> Reference:
    """Read what a person gave as the image.

    - ``http://`` and ``https://`` URLs are OCI image layouts, with or without a trailing slash;
      ``#name`` or a parameter ``tag`` chooses one of several images.
    - A path that starts with ``/``, ``./`` or ``../``, or ends with ``/``, is such a URL
      relative to ``base``.
    - All else is a registry reference as docker reads it: ``debian`` is
      ``docker.io/library/debian:latest``.

    Each may be percent-encoded as a whole.

    Args:
        text: As typed or as it stands in the page's address.
        base: The URL that a path is relative to, such as the page's.

    Raises:
        InvalidReference: The text is none of these; the hint says what to write instead.
    """
    given = text.strip()
    if _ENCODED.search(given) and not _HTTP.match(given) and not _is_path(given):
        given = unquote(given)
    if not given:
        raise InvalidReference("no image was given", hint=_HINT)
    if _BLANK.search(given):
        raise InvalidReference(
            f"{given!r} cannot be an image reference: it has blanks in it", hint=_HINT
        )
    if _HTTP.match(given):
        return _parse_layout(given)
    for prefix, hint in _OTHER_PLACES.items():
        if given.startswith(prefix):
            raise InvalidReference(
                f"images cannot be read from {prefix} as in {given!r}", hint=hint
            )
    if other := _OTHER_SCHEME.match(given):
        raise InvalidReference(
            f"images cannot be read from {other.group(1)} addresses, as in {given!r}",
            hint="Leave docker:// out." if given.startswith("docker://") else _HINT,
        )
    if not _is_path(given):
        return _parse_registry(given)
    if base is None:
        raise InvalidReference(
            f"{given!r} is a relative path, and there is no page that it could be relative to",
            hint=_HINT,
        )
    return _parse_layout(urljoin(base, given if given.startswith("/") else f"./{given}"))


def is_loopback(host: str | None) -> bool:
    """Tell whether a host is this very machine, which is trusted without https."""
    if host is None:
        return False
    if host.lower() == "localhost" or host.lower().endswith(".localhost"):
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _is_path(text: str) -> bool:
    before = re.split("[?#]", text, maxsplit=1)[0]
    return before.startswith(("/", "./", "../")) or before.endswith("/") or before in (".", "..")


def _parse_layout(given: str) -> LayoutReference:
    try:
        parts = urlsplit(given)
        _ = parts.port  # raises ValueError where it is not a number
    except ValueError as error:
        raise InvalidReference(f"{given!r} is not a URL: {error}", hint=_HINT) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidReference(f"{given!r} names no HTTP server", hint=_HINT)
    if parts.username is not None or parts.password is not None:
        raise InvalidReference(
            "the image's URL has a user name or password in it, which would be seen by others",
            hint="Leave them out: credentials are asked for when they are needed.",
        )
    query = parts.query
    name = unquote(parts.fragment)
    for key, value in parse_qsl(query):
        if key in _NAME_PARAMETERS:
            name = name or value
            rest = [(k, v) for k, v in parse_qsl(query, keep_blank_values=True) if k != key]
            query = urlencode(rest)
    path = parts.path.removesuffix("index.json").rstrip("/") + "/"
    return LayoutReference(
        url=urlunsplit(parts._replace(path=path, query=query, fragment="")), name=name or None
    )


def _parse_registry(given: str) -> RegistryReference:
    def invalid(why: str, hint: str = _HINT) -> InvalidReference:
        return InvalidReference(f"{given!r} cannot be an image reference: {why}", hint=hint)

    if "#" in given:
        name, _, tag = given.partition("#")
        raise invalid(
            "# chooses an image of a layout, not of a registry",
            f"For an image of a registry write {name}:{tag}, for a folder beside this page "
            f"./{name}#{tag}.",
        )
    rest, at, digest_text = given.partition("@")
    digest = None
    if at:
        try:
            digest = Digest.parse(digest_text)
        except InvalidImage as error:
            raise invalid(
                error.message, "A digest is sha256: and 64 digits of 0-9 and a-f."
            ) from None
    # A colon belongs to a port where a slash comes behind it.
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:
        name, colon, tag = rest, "", ""
    if colon and not _TAG.fullmatch(tag):
        raise invalid(
            f"{tag!r} is no tag",
            "A tag has up to 128 letters, digits, dots, dashes and underscores, and does not start "
            "with a dot or dash.",
        )
    first, slash, remainder = name.partition("/")
    if slash and (re.search("[.:]", first) or first == "localhost" or first != first.lower()):
        registry, repository = first, remainder
    else:
        registry, repository = DOCKER_HUB, name
    if not _DOMAIN.fullmatch(registry):
        raise invalid(f"{registry!r} is no registry's host")
    if (port := registry.rpartition("]")[2].partition(":")[2]) and int(port) > _MAX_PORT:
        raise invalid(f"there is no port {port}")
    if registry in _HUB_ALIASES:
        registry = DOCKER_HUB
        if "/" not in repository:
            repository = f"library/{repository}"
    if not _REPOSITORY.fullmatch(repository):
        if _REPOSITORY.fullmatch(repository.lower()):
            lower = given.replace(name, f"{first}/{remainder.lower()}" if slash else name.lower())
            raise invalid("names are written in lower case", f"Write {lower!r} instead.")
        raise invalid(f"{repository!r} is no name of a repository")
    if len(repository) > _MAX_REPOSITORY:
        raise invalid(f"its name is longer than {_MAX_REPOSITORY} characters")
    if _IMAGE_ID.fullmatch(name):
        raise invalid("it is an image ID", "Registries know images by their names.")
    if not tag and digest is None:
        tag = "latest"
    return RegistryReference(registry, repository, tag or None, digest)
