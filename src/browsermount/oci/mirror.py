"""Where a registry is reached: at its own address, at a mirror's, or through a proxy."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from browsermount.address import parse_address, through_proxy
from browsermount.errors import InvalidMirror
from browsermount.reference import RegistryReference

_RULE = re.compile(r"(?:(?P<registry>[^=/?#{}]+)=)?(?P<address>.+)")
_HINT = (
    "Write the address of a registry that mirrors others, such as https://mirror.example.com, or "
    "of a proxy, with {url} where the registry's own address belongs, such as "
    "https://proxy.example.com/{url}. In front of it may stand the registry that it is for: "
    "docker.io=https://mirror.example.com"
)


@dataclass(frozen=True, slots=True)
class Route:
    """How one registry is reached.

    Attributes:
        registry: The host that credentials are for.
        base: What stands in front of ``/v2/`` in the registry's URLs.
        proxy: The proxy's address with ``{url}`` in it; empty where there is none.
        mirrored: Whether somebody else than the registry itself is asked.
    """

    registry: str
    base: str
    proxy: str = ""
    mirrored: bool = False

    @property
    def via(self) -> str:
        """The proxy's host; empty where there is none."""
        return urlsplit(self.proxy).netloc

    def through(self, url: str) -> str:
        """Return the address at which ``url`` is to be asked for."""
        return through_proxy(self.proxy, url) if self.proxy else url


def find_route(reference: RegistryReference, mirror: str | None) -> Route:
    """Return how the registry of a reference is reached.

    Args:
        reference: What is to be pulled.
        mirror: Rules with blanks between them, of which the first that fits counts:
            ``[REGISTRY=]ADDRESS``. An address with ``{url}`` is a proxy's, any other one a
            registry's that is asked instead; ``{registry}`` in it becomes the registry's name.
            Without ``REGISTRY=`` a rule is for all registries.

    Raises:
        InvalidMirror: A rule cannot be read.
    """
    own = reference.url
    for rule in (mirror or "").split():
        match = _RULE.fullmatch(rule)
        address = match["address"] if match else ""
        try:
            # The registry's name may be a part of the host.
            parse_address(address.replace("{registry}", "registry"))
        except ValueError as error:
            raise InvalidMirror(
                f"{rule!r} names no mirror and no proxy of registries: {error}", hint=_HINT
            ) from None
        if match and match["registry"] not in (None, reference.registry):
            continue
        address = address.replace("{registry}", reference.registry)
        if "{url}" in address:
            return Route(urlsplit(own).netloc, own, address, mirrored=True)
        return Route(urlsplit(address).netloc, address.rstrip("/"), mirrored=True)
    return Route(urlsplit(own).netloc, own)
