"""Rules for hosts that do not let pages read from them."""

from __future__ import annotations

import pytest

from browsermount.errors import InvalidProxy
from browsermount.proxies import parse_proxies


def through(rules: str, host: str, path: str = "/a?b=c") -> str:
    for proxy in parse_proxies(rules):
        if proxy.fits(host):
            return proxy.through(f"https://{host}{path}")
    return ""


@pytest.mark.parametrize(
    ("rules", "host", "expected"),
    [
        ("", "a.example", ""),
        ("b.example=https://p.example/{url}", "a.example", ""),
        ("https://p.example/{url}", "a.example", "https://p.example/https://a.example/a?b=c"),
        ("A.example=https://p/{url}", "a.example", "https://p/https://a.example/a?b=c"),
        ("*.example=https://p/{url}", "a.b.example", "https://p/https://a.b.example/a?b=c"),
        ("*.example=https://p/{url}", "example", ""),
        ("https://p/?u={url}&x=1", "a.b", "https://p/?u=https%3A%2F%2Fa.b%2Fa%3Fb%3Dc&x=1"),
        ("a.b=https://m.example/files/", "a.b", "https://m.example/files/a?b=c"),
        ("a.b=https://m.example", "a.b", "https://m.example/a?b=c"),
        ("a.b=https://one/{url} a.b=https://two/{url}", "a.b", "https://one/https://a.b/a?b=c"),
    ],
)
def test_who_is_asked(rules: str, host: str, expected: str) -> None:
    assert through(rules, host) == expected


@pytest.mark.parametrize(
    "rule",
    [
        *("p.example/{url}", "a.b=", "=https://p/{url}", "ftp://p/{url}", "https://u@p/{url}"),
        *("https://{url}", "https://p{url}/", "https://p.example:{url}", "https://p/{url}{url}"),
        *("a*b=https://p/{url}", "*=https://p/{url}"),
    ],
)
def test_refused(rule: str) -> None:
    with pytest.raises(InvalidProxy) as caught:
        parse_proxies(rule)
    assert "https://proxy.example.com/{url}" in caught.value.hint


def test_the_server_that_is_asked() -> None:
    (proxy,) = parse_proxies("https://P.example:8443/?to={url}", foreign=True)
    assert (proxy.server, proxy.foreign) == ("p.example", True)
