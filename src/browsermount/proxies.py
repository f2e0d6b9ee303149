"""Hosts that are reached through somebody else, as they do not let pages read from them."""

from __future__ import annotations

import re
from dataclasses import dataclass

from browsermount.address import parse_address, through_proxy
from browsermount.errors import InvalidProxy

_RULE = re.compile(r"(?:(?P<host>(?:\*\.)?[^=/?#{}*]+)=)?(?P<address>.+)")
_HINT = (
    "Write the address of a proxy, with {url} where the wanted address belongs, such as "
    "https://proxy.example.com/{url}, or of a server that has the same files. In front of it may "
    "stand the host that it is for: packages.example=https://proxy.example.com/{url}"
)


@dataclass(frozen=True, slots=True)
class Proxy:
    """One rule.

    Attributes:
        host: What it is for: a host, all hosts below one (``*.example.com``), or all where empty.
        address: Who is asked: a proxy, with ``{url}`` in it, or a server that has the same files.
        foreign: Whether somebody else than the page's owner has chosen it, who must get nothing
            that is secret.
    """

    host: str
    address: str
    foreign: bool = False

    @property
    def server(self) -> str:
        """The host that is asked."""
        return parse_address(self.address.replace("{url}", "url")).host

    def fits(self, host: str) -> bool:
        """Tell whether the rule is for a host, whose name is in lower case."""
        if self.host.startswith("*."):
            return host.endswith(self.host[1:])
        return self.host in {"", host}

    def through(self, url: str) -> str:
        """Return the address at which ``url`` is to be asked for."""
        if "{url}" in self.address:
            return through_proxy(self.address, url)
        path = url.split("://", 1)[1].partition("/")[2]
        return f"{self.address.rstrip('/')}/{path}"


def parse_proxies(rules: str, *, foreign: bool = False) -> tuple[Proxy, ...]:
    """Read rules with blanks between them, of which the first that fits counts.

    Args:
        rules: Each is ``[HOST=]ADDRESS``; see :class:`Proxy`.
        foreign: Whether somebody else than the page's owner has chosen them.

    Raises:
        InvalidProxy: A rule cannot be read.
    """
    proxies = []
    for rule in rules.split():
        match = _RULE.fullmatch(rule)
        address = match["address"] if match else ""
        try:
            parse_address(address.replace("{url}", "url"))
        except ValueError as error:
            raise InvalidProxy(f"{rule!r} names no proxy: {error}", hint=_HINT) from None
        if address.count("{url}") > 1 or not _is_behind_host(address):
            raise InvalidProxy(f"{rule!r} must have {{url}} once, behind the host", hint=_HINT)
        assert match is not None
        proxies.append(Proxy((match["host"] or "").lower(), address, foreign))
    return tuple(proxies)


def _is_behind_host(address: str) -> bool:
    """Tell whether what is filled in cannot change who is asked."""
    return "{url}" not in address.split("/", 3)[2]
