"""What a person typed, read as a reference to an image."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urljoin, urlsplit, urlunsplit

from browsermount.errors import InvalidReference

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)
# A host with a port looks like a scheme: what follows the colon tells them apart.
_HOST_PORT = re.compile(r"[a-z0-9.-]+:[0-9]+(/|$)", re.IGNORECASE)
_ENCODED_SCHEME = re.compile(r"https?%3a", re.IGNORECASE)
# Control characters and blanks: a URL has none, so one of them means a slip of the hand.
_BLANK = re.compile(r"[\x00-\x20\x7f]")

_HINT = (
    "Give the URL of a folder that holds an OCI image layout, for example "
    "https://example.com/images/debian or ./images/debian."
)


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


def parse_reference(text: str, *, base: str | None = None) -> LayoutReference:
    """Read what a person gave as the image.

    Absolute and relative URLs are taken, percent-encoded as a whole or not, with
    or without a trailing slash, and with ``#name`` where the layout holds several images.

    Args:
        text: As typed or as it stands in the page's address.
        base: The URL that a relative reference is relative to, such as the page's.

    Raises:
        InvalidReference: The text is empty, has blanks in it, is relative where
            there is no base, or has a scheme other than http and https.
    """
    given = text.strip()
    if _ENCODED_SCHEME.match(given):
        given = unquote(given)
    if not given:
        raise InvalidReference("no image was given", hint=_HINT)
    if _BLANK.search(given):
        raise InvalidReference(f"the image reference {given!r} has blanks in it", hint=_HINT)
    if (
        (scheme := _SCHEME.match(given))
        and not _HOST_PORT.match(given)
        and scheme.group().lower() not in ("http:", "https:")
    ):
        raise InvalidReference(
            f"images cannot be read from {scheme.group()} addresses, as in {given!r}", hint=_HINT
        )
    if scheme is None or _HOST_PORT.match(given):
        if base is None:
            raise InvalidReference(
                f"{given!r} is relative, and there is no page that it could be relative to",
                hint=_HINT,
            )
        given = urljoin(base, given if scheme is None else f"./{given}")
    try:
        parts = urlsplit(given)
        _ = parts.port  # raises ValueError where it is not a number
    except ValueError as error:
        raise InvalidReference(f"{given!r} is not a URL: {error}", hint=_HINT) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise InvalidReference(f"{given!r} names no HTTP server", hint=_HINT)
    path = parts.path.removesuffix("index.json").rstrip("/") + "/"
    return LayoutReference(
        url=urlunsplit(parts._replace(path=path, fragment="")),
        name=unquote(parts.fragment) or None,
    )
