import pytest

from browsermount.errors import InvalidReference
from browsermount.reference import (
    LayoutReference,
    RegistryReference,
    is_loopback,
    parse_reference,
)

PAGE = "https://page.example/app/index.html?image=x"
HEX = "0123456789abcdef" * 4


def layout(text: str) -> LayoutReference:
    reference = parse_reference(text, base=PAGE)
    assert isinstance(reference, LayoutReference)
    return reference


def registry(text: str) -> RegistryReference:
    reference = parse_reference(text, base=PAGE)
    assert isinstance(reference, RegistryReference)
    return reference


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("https://host/images/debian", "https://host/images/debian/"),
        ("https://host/images/debian/", "https://host/images/debian/"),
        ("https://host/images/debian//", "https://host/images/debian/"),
        ("  https://host/x \n", "https://host/x/"),
        ("https://host", "https://host/"),
        ("https%3A%2F%2Fhost%2Fimages%2Fdebian", "https://host/images/debian/"),
        ("HTTPS%3a//host/x", "https://host/x/"),
        ("https://host/images/index.json", "https://host/images/"),
        ("https://host/with%20blank/x", "https://host/with%20blank/x/"),
        ("images/debian/", "https://page.example/app/images/debian/"),
        ("images%2Fdebian%2F", "https://page.example/app/images/debian/"),
        ("debian/", "https://page.example/app/debian/"),
        ("Debian/", "https://page.example/app/Debian/"),
        ("localhost:5000/", "https://page.example/app/localhost:5000/"),
        ("debian/?x=1", "https://page.example/app/debian/?x=1"),
        ("./images/debian", "https://page.example/app/images/debian/"),
        (".%2Fimages%2Fdebian", "https://page.example/app/images/debian/"),
        (".", "https://page.example/app/"),
        ("../debian", "https://page.example/debian/"),
        ("/debian", "https://page.example/debian/"),
        ("//host/debian", "https://host/debian/"),
        ("http://localhost:5000/x", "http://localhost:5000/x/"),
        ("https://host/x?token=a/b", "https://host/x/?token=a/b"),
    ],
)
def test_layout(text: str, url: str) -> None:
    assert layout(text).url == url


@pytest.mark.parametrize(
    ("text", "url", "name"),
    [
        ("https://host/x#v1%2B2", "https://host/x/", "v1+2"),
        ("https://host/x?tag=v1", "https://host/x/", "v1"),
        ("https://host/x?tag=v1&token=a", "https://host/x/?token=a", "v1"),
        ("https://host/x?org.opencontainers.image.ref.name=a%2Fb:c", "https://host/x/", "a/b:c"),
        ("https://host/x?tag=v1#v2", "https://host/x/", "v2"),
        ("./x#v1", "https://page.example/app/x/", "v1"),
        ("x/#v1", "https://page.example/app/x/", "v1"),
    ],
)
def test_one_of_several_images_of_a_layout(text: str, url: str, name: str) -> None:
    reference = layout(text)
    assert (reference.url, reference.name) == (url, name)
    assert parse_reference(str(reference)) == reference


def test_file_keeps_the_query() -> None:
    reference = layout("https://host/x?token=1")
    assert reference.file("blobs/sha256/ab") == "https://host/x/blobs/sha256/ab?token=1"


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("ubuntu", "docker.io/library/ubuntu:latest"),
        ("ubuntu:22.04", "docker.io/library/ubuntu:22.04"),
        ("library/ubuntu", "docker.io/library/ubuntu:latest"),
        ("docker.io/ubuntu", "docker.io/library/ubuntu:latest"),
        ("index.docker.io/ubuntu", "docker.io/library/ubuntu:latest"),
        ("owner/image", "docker.io/owner/image:latest"),
        ("a/b/c", "docker.io/a/b/c:latest"),
        ("ghcr.io/owner/image:v1", "ghcr.io/owner/image:v1"),
        ("localhost/x", "localhost/x:latest"),
        ("localhost:5000/x", "localhost:5000/x:latest"),
        ("localhost:5000/ubuntu:22.04", "localhost:5000/ubuntu:22.04"),
        ("localhost%3A5000%2Fubuntu%3A22.04", "localhost:5000/ubuntu:22.04"),
        ("127.0.0.1:5000/x", "127.0.0.1:5000/x:latest"),
        ("[::1]:5000/x:y", "[::1]:5000/x:y"),
        ("host:443/x", "host:443/x:latest"),
        ("Host/x", "Host/x:latest"),
        ("x_y__z---a/b.c", "docker.io/x_y__z---a/b.c:latest"),
        ("localhost:5000", "docker.io/library/localhost:5000"),
        (f"x@sha256:{HEX}", f"docker.io/library/x@sha256:{HEX}"),
        (f"host.example/x:tag@sha256:{HEX}", f"host.example/x:tag@sha256:{HEX}"),
        (f"x:{'t' * 128}", f"docker.io/library/x:{'t' * 128}"),
    ],
)
def test_registry(text: str, full: str) -> None:
    reference = registry(text)
    assert str(reference) == full
    assert parse_reference(full) == reference


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("ubuntu", "https://registry-1.docker.io"),
        ("ghcr.io/o/x", "https://ghcr.io"),
        ("host:5000/x", "https://host:5000"),
        ("localhost:5000/x", "http://localhost:5000"),
        ("127.1.2.3/x", "http://127.1.2.3"),
        ("[::1]:5000/x", "http://[::1]:5000"),
        ("registry.localhost/x", "http://registry.localhost"),
        ("192.168.1.2:5000/x", "https://192.168.1.2:5000"),
        ("localhost.example/x", "https://localhost.example"),
    ],
)
def test_where_a_registry_is_reached(text: str, url: str) -> None:
    assert registry(text).url == url


def test_a_digest_wins_over_a_tag() -> None:
    assert registry(f"x:tag@sha256:{HEX}").version == f"sha256:{HEX}"
    assert registry("x:tag").version == "tag"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "no image"),
        ("   ", "no image"),
        ("javascript:alert(1)", "javascript:"),
        ("JavaScript:alert(1)", "JavaScript:"),
        ("javascript%3Aalert(1)", "javascript:"),
        ("file:///etc/passwd", "file:"),
        ("data:text/html,x", "data:"),
        ("ftp://host/x", "ftp:"),
        ("docker://debian", "docker:"),
        ("https://", "no HTTP server"),
        ("https:///path", "no HTTP server"),
        ("https:x", "no HTTP server"),
        ("https://host:port/", "not a URL"),
        ("https://[::1/", "not a URL"),
        ("https://user:secret@host/x", "user name"),
        ("https://host/a b", "blanks"),
        ("https://host/a\tb", "blanks"),
        ("a b", "blanks"),
        ("Ubuntu", "'ubuntu'"),
        ("ghcr.io/Owner/Image:Tag", "'ghcr.io/owner/image:Tag'"),
        ("x:", "tag"),
        ("x:-tag", "tag"),
        (f"x:{'t' * 129}", "tag"),
        ("x@sha256:12", "malformed"),
        (f"x@md5:{HEX}", "supported"),
        (f"x@sha256:{HEX.upper()}", "malformed"),
        ("x@", "digest"),
        (HEX, "image ID"),
        ("x..y", "no name"),
        ("-x", "no name"),
        ("a//b", "no name"),
        ("host..example/x", "host"),
        ("host:99999/x", "port"),
        ("x#tag", "x:tag"),
        ("a" * 256, "longer"),
    ],
)
def test_refused(text: str, said: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_reference(text, base=PAGE)
    assert caught.value.hint
    assert said in f"{caught.value.message} {caught.value.hint}"
    assert "secret" not in caught.value.message


def test_a_path_needs_a_base() -> None:
    with pytest.raises(InvalidReference, match="relative"):
        parse_reference("./images/debian")
    assert str(parse_reference("images/debian")) == "docker.io/images/debian:latest"


def test_loopback() -> None:
    for host in ("localhost", "LOCALHOST", "a.localhost", "127.0.0.1", "127.9.9.9", "::1"):
        assert is_loopback(host)
    for host in (None, "", "localhost.example", "10.0.0.1", "::2", "example"):
        assert not is_loopback(host)
