"""Attacks by addresses that two parsers understand differently."""

from __future__ import annotations

import pytest

from browsermount.address import parse_address
from browsermount.errors import InvalidMirror
from browsermount.oci.mirror import find_route
from browsermount.reference import RegistryReference, parse_reference


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("http://LOCALHOST/token", "http://localhost"),
        ("https://registry.example:443/v2/", "HTTPS://Registry.Example/token"),
        ("http://[0:0::1]:80", "http://[::1]/"),
    ],
)
def test_spellings_of_one_server(one: str, other: str) -> None:
    assert parse_address(one) == parse_address(other)


def test_ports_tell_servers_apart() -> None:
    assert parse_address("https://host:444").netloc == "host:444"
    assert parse_address("https://host:80").netloc == "host:80"
    assert parse_address("https://host:443").netloc == "host"


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example\\@localhost/token",
        "http://evil.example\\.localhost/",
        "http://localhost@evil.example/",
        "http://user:secret@evil.example/",
        "http://@localhost/",
        "http://local\thost/",
        "http://evil.example/\n",
        " http://localhost/",
        "http:/localhost",
        "http:localhost",
        "http:///localhost",
        "ftp://localhost/",
        "javascript:alert(1)",
        "http://%6cocalhost/",
        "http://ⓛocalhost/",
        "http://127.1/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://0177.0.0.1/",
        "http://127.0.0.1./",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://localhost:99999/",
        "http://localhost:x/",
        "http://evil.example%00.localhost/",
        "https://",
        "",
    ],
)
def test_ambiguous_addresses_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_address(url)


def test_a_mirror_with_a_backslash_is_refused() -> None:
    reference = parse_reference("ghcr.io/team/app")
    assert isinstance(reference, RegistryReference)
    with pytest.raises(InvalidMirror, match="backslash"):
        find_route(reference, "http://evil.example\\@localhost")


def test_a_mirror_is_told_from_the_registry() -> None:
    reference = parse_reference("ghcr.io/team/app")
    assert isinstance(reference, RegistryReference)
    assert not find_route(reference, None).mirrored
    assert not find_route(reference, "docker.io=https://evil.example").mirrored
    assert find_route(reference, "https://evil.example").mirrored
    assert find_route(reference, "https://evil.example/{url}").mirrored
