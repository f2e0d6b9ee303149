"""Reading JSON documents that somebody else wrote."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, TypeVar

from browsermount import limits
from browsermount.errors import InvalidImage

T = TypeVar("T")

# What may be half of a surrogate pair, which no text can hold.
_HALVES = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_STEP = 1 << 18
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse_object(data: bytes, what: str, *, keep_halves: bool = False) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        data: The document's bytes.
        what: How to name the document in errors, such as its URL.
        keep_halves: Whether halves of surrogate pairs, which no text can hold, stay in strings.

    Raises:
        InvalidImage: The document is not a JSON object; the message says what it is instead.
    """
    # JSON is UTF-8 (RFC 8259, section 8.1). Python would take UTF-16 for it, too, in which nothing
    # of what is checked here is where it is looked for.
    data = data.removeprefix(codecs.BOM_UTF8)
    _check_structure(data, what)
    try:
        value = json.loads(data.decode("utf-8", "surrogatepass"))
    except ValueError:
        raise InvalidImage(
            f"{what} is not JSON: {_describe(data)}",
            hint="Check that the address is that of an OCI image layout's folder, the one that "
            "holds the file index.json, and not of a web page about it.",
        ) from None
    if not keep_halves and _HALVES.search(data):
        value = _without_halves(value)
    if not isinstance(value, dict):
        raise InvalidImage(f"{what} holds a JSON {type(value).__name__} instead of an object")
    return value


def _without_halves(value: Any) -> Any:
    """Return a document with U+FFFD in place of halves of surrogate pairs, as Go reads it."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
    return json.loads(text.decode("utf-16-le", "replace"))


def _check_structure(data: bytes, what: str) -> None:
    """Refuse what would cost more to read than documents do.

    By whole passes over the data, since tables of contents have millions of tokens.
    """
    if b"\\" in data:
        # From the left, so that of several backslashes in a row the last one is where it belongs.
        data = data.replace(b"\\\\", b"").replace(b'\\"', b"")
    commas, brackets, inside = 0, bytearray(), 0
    for start in range(0, len(data), _STEP):
        parts = data[start : start + _STEP].split(b'"')
        structure = b"".join(parts[inside::2])
        inside ^= (len(parts) - 1) & 1
        commas += structure.count(b",")
        brackets += structure.translate(_ONE_KIND, _NO_BRACKETS)
    if commas + len(brackets) // 2 > limits.MAX_DOCUMENT_VALUES:
        raise InvalidImage(f"{what} holds more than {limits.MAX_DOCUMENT_VALUES} values")
    if _depth(bytes(brackets)) > limits.MAX_DOCUMENT_DEPTH:
        raise InvalidImage(f"{what} is nested more than {limits.MAX_DOCUMENT_DEPTH} deep")


def _depth(brackets: bytes) -> int:
    """Return how deep brackets are nested, or a little more where they do not match."""
    depth = 0
    while brackets and depth <= limits.MAX_DOCUMENT_DEPTH:
        outer = brackets.replace(b"[]", b"")
        if len(outer) == len(brackets):
            return depth + outer.count(b"[")
        brackets = outer
        depth += 1
    return depth


def _describe(data: bytes) -> str:
    start = data.lstrip()[:200].lower()
    if not start:
        return "it is empty"
    if start.startswith((b"<!doctype html", b"<html")):
        return "the server answered with an HTML page"
    if start.startswith(b"<"):
        return "the server answered with an XML or HTML document"
    if start.startswith(b"\x1f\x8b"):
        return "the server answered with gzip data"
    text = data[:60].decode("utf-8", "replace")
    return f"it starts with {text!r}"


def get(document: dict[str, Any], key: str, kind: type[T], what: str) -> T | None:
    """Return ``document[key]``, or None where it is missing or null.

    Raises:
        InvalidImage: The value has another type than ``kind``.
    """
    value = document.get(key)
    if value is None:
        return None
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise InvalidImage(
            f"{what}: {key} is a {type(value).__name__} instead of a {kind.__name__}"
        )
    return value


def strings(document: dict[str, Any], key: str, what: str) -> tuple[str, ...]:
    """Return a list of strings as a tuple; empty where it is missing or null.

    A null in it is an empty string, as Go reads it.

    Raises:
        InvalidImage: The value is not a list of strings.
    """
    values = ["" if value is None else value for value in get(document, key, list, what) or []]
    if not all(isinstance(value, str) for value in values):
        raise InvalidImage(f"{what}: {key} is not a list of strings")
    return tuple(values)


def string_map(document: dict[str, Any], key: str, what: str) -> dict[str, str]:
    """Return an object whose values are strings; empty where it is missing or null.

    A null in it is an empty string, as Go reads it.

    Raises:
        InvalidImage: The value is not such an object.
    """
    given = get(document, key, dict, what) or {}
    values = {name: "" if value is None else value for name, value in given.items()}
    if not all(isinstance(value, str) for value in values.values()):
        raise InvalidImage(f"{what}: {key} is not an object of strings")
    return values
