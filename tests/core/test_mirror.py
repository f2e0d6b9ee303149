import pytest

from browsermount.errors import InvalidMirror
from browsermount.oci.mirror import Route, find_route
from browsermount.reference import RegistryReference, parse_reference

TARGET = "https://ghcr.io/v2/o/x/blobs/y"


def route(text: str, mirror: str | None) -> Route:
    reference = parse_reference(text)
    assert isinstance(reference, RegistryReference)
    return find_route(reference, mirror)


def test_without_a_mirror() -> None:
    for mirror in (None, "", "  "):
        found = route("debian", mirror)
        assert found == Route("registry-1.docker.io", "https://registry-1.docker.io")
        assert found.through(TARGET) == TARGET
        assert found.via == ""


def test_a_mirror_is_whom_credentials_are_for() -> None:
    assert route("debian", "https://m.example/") == Route(
        "m.example", "https://m.example", mirrored=True
    )
    assert route("debian", "http://m.example:5000/hub") == Route(
        "m.example:5000", "http://m.example:5000/hub", mirrored=True
    )


def test_rules_for_one_registry() -> None:
    rules = (
        "docker.io=https://hub.example localhost:5000=http://10.0.0.1 https://{registry}.m.example"
    )
    assert route("debian", rules).base == "https://hub.example"
    assert route("localhost:5000/x", rules).base == "http://10.0.0.1"
    assert route("ghcr.io/o/x", rules).base == "https://ghcr.io.m.example"
    assert route("ghcr.io/o/x", "docker.io=https://hub.example").base == "https://ghcr.io"


@pytest.mark.parametrize(
    ("proxy", "url"),
    [
        ("https://p.example/{url}", f"https://p.example/{TARGET}"),
        (
            "https://p.example/?to={url}&x=1",
            "https://p.example/?to=https%3A%2F%2Fghcr.io%2Fv2%2Fo%2Fx%2Fblobs%2Fy&x=1",
        ),
    ],
)
def test_a_proxy(proxy: str, url: str) -> None:
    found = route("ghcr.io/o/x", proxy)
    assert (found.registry, found.base, found.via) == ("ghcr.io", "https://ghcr.io", "p.example")
    assert found.through(TARGET) == url


@pytest.mark.parametrize("mirror", ["mirror.example", "ftp://x", "https://", "docker.io=", "=x"])
def test_refused(mirror: str) -> None:
    with pytest.raises(InvalidMirror) as caught:
        route("debian", mirror)
    assert caught.value.hint
