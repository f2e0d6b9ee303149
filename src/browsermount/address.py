"""Addresses of servers, where it matters who gets what is sent there.

Python's ``urlsplit`` (RFC 3986) and the browser (https://url.spec.whatwg.org/) understand some
texts differently: for ``http://evil\\@localhost`` the one says that the host is localhost, the
other goes to evil.  Whatever they could disagree on is refused here instead of being guessed at, so
that what is decided about an address holds for whoever sends the request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address
from urllib.parse import quote, urlsplit

_DEFAULT_PORTS = {"http": 80, "https": 443}

_NAME = re.compile(r"(?=.{1,253}\.?\Z)[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_-]+)*\.?")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_BEGINNING = re.compile(r"(?i:https?)://[^/]")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server is.

    Attributes:
        scheme: ``http`` or ``https``.
        host: In lower case; an IPv6 address in brackets.
        port: Also where it is the scheme's own.
    """

    scheme: str
    host: str
    port: int

    @property
    def netloc(self) -> str:
        """The host, and the port unless it is the scheme's own."""
        if self.port == _DEFAULT_PORTS[self.scheme]:
            return self.host
        return f"{self.host}:{self.port}"


def parse_address(url: str) -> Address:
    """Return the server of a URL, which everybody who reads the URL agrees on.

    Raises:
        ValueError: It is no URL of HTTP, or may be understood in different ways; says why.
    """
    if any(character <= " " or character in "\\\x7f" for character in url):
        raise ValueError("it holds a backslash, a blank or a control character")
    if not _BEGINNING.match(url):
        raise ValueError("it does not begin with https://HOST or http://HOST")
    parts = urlsplit(url)
    if "@" in parts.netloc:
        raise ValueError("there is a user name in it")
    port = parts.port  # raises ValueError where it is no number
    host = parts.hostname or ""
    return Address(
        parts.scheme,
        _host(host, bracketed="[" in parts.netloc),
        port or _DEFAULT_PORTS[parts.scheme],
    )


def through_proxy(proxy: str, url: str) -> str:
    """Return the address at which a proxy is asked for a URL.

    Args:
        proxy: The proxy's address, with ``{url}`` in it. The URL stands there as it is, or as a
            parameter has it where that is behind a question mark.
        url: What is wanted.
    """
    before = proxy.partition("{url}")[0]
    return proxy.replace("{url}", quote(url, safe="") if "?" in before else url)


def _host(host: str, *, bracketed: bool) -> str:
    try:
        if bracketed and "%" not in host:
            return f"[{IPv6Address(host).compressed}]"
        # A browser takes a name with a number at its end for an IPv4 address: 127.1 or 0x7f000001.
        if _NUMBER.fullmatch(host.removesuffix(".").rpartition(".")[2]):
            return str(IPv4Address(host))
    except AddressValueError as error:
        raise ValueError(f"its host {host!r} is no usual IP address") from error
    if not _NAME.fullmatch(host):
        raise ValueError(
            f"its host {host!r} has other characters than letters, digits, '-' and '.'"
        )
    return host
