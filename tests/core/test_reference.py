import pytest

from browsermount.errors import InvalidReference
from browsermount.reference import parse_reference

PAGE = "https://page.example/app/index.html?image=x"


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
        ("images/debian", "https://page.example/app/images/debian/"),
        ("./images/debian", "https://page.example/app/images/debian/"),
        ("../debian/", "https://page.example/debian/"),
        ("/debian", "https://page.example/debian/"),
        ("//host/debian", "https://host/debian/"),
        ("http://localhost:5000/x", "http://localhost:5000/x/"),
        ("https://host/x?token=a/b", "https://host/x/?token=a/b"),
    ],
)
def test_url(text: str, url: str) -> None:
    assert parse_reference(text, base=PAGE).url == url


def test_name_is_what_stands_behind_the_hash() -> None:
    reference = parse_reference("https://host/x#v1%2B2")
    assert (reference.url, reference.name) == ("https://host/x/", "v1+2")
    assert str(reference) == "https://host/x/#v1%2B2"
    assert parse_reference(str(reference)) == reference


def test_file_keeps_the_query() -> None:
    reference = parse_reference("https://host/x?token=1")
    assert reference.file("blobs/sha256/ab") == "https://host/x/blobs/sha256/ab?token=1"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "javascript:alert(1)",
        "file:///etc/passwd",
        "data:text/html,x",
        "ftp://host/x",
        "https://",
        "https:///path",
        "https://host:port/",
        "https://host/a b",
        "https://host/a\tb",
        "https://[::1/",
    ],
)
def test_refused(text: str) -> None:
    with pytest.raises(InvalidReference) as caught:
        parse_reference(text, base=PAGE)
    assert caught.value.hint


def test_relative_needs_a_base() -> None:
    with pytest.raises(InvalidReference, match="relative"):
        parse_reference("images/debian")
