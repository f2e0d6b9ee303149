"""Reading JSON documents that somebody else wrote."""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar

from browsermount.errors import InvalidImage

T = TypeVar("T")

MAX_DEPTH = 100
"""How deep documents may be nested; the specification's are less than 10 deep.

In Pyodide, Python's own limit comes after the JavaScript stack's, which ends everything.
"""

_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"?', re.DOTALL)
_ONE_KIND = bytes.maketrans(b"{}", b"[]")
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))


def parse_object(data: bytes, what: str) -> dict[str, Any]:
    """Read a JSON object.

    Args:
        data: The document's bytes.
        what: How to name the document in errors, such as its URL.

    Raises:
        InvalidImage: The document is not a JSON object; the message says what it is instead.
    """
    if _depth(data) > MAX_DEPTH:
        raise InvalidImage(f"{what} is nested more than {MAX_DEPTH} deep")
    try:
        value = json.loads(data)
    except ValueError:
        raise InvalidImage(
            f"{what} is not JSON: {_describe(data)}",
            hint="Check that the address is that of an OCI image layout's folder, the one that "
            "holds the file index.json, and not of a web page about it.",
        ) from None
    if not isinstance(value, dict):
        raise InvalidImage(f"{what} holds a JSON {type(value).__name__} instead of an object")
    return value


def _depth(data: bytes) -> int:
    """Return how deep a JSON document is nested, or a little more where it is none."""
    # By whole passes over the data, since tables of contents have millions of tokens.
    brackets = _STRING.sub(b"", data).translate(_ONE_KIND, _NO_BRACKETS)
    depth = 0
    while brackets and depth <= MAX_DEPTH:
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
