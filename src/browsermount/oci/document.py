"""Reading JSON documents that somebody else wrote."""

from __future__ import annotations

import codecs
import json
import re
from typing import Any, TypeVar

from browsermount import limits
from browsermount.errors import InvalidImage
from browsermount.steps import Steps, finish

T = TypeVar("T")

# What may be half of a surrogate pair, which no text can hold.
_HALVES = re.compile(rb"\\u[dD][89a-fA-F]|\xed[\xa0-\xbf]")
_BLANK = re.compile(r"[ \t\n\r]*")
_STEP = 1 << 18
_AT_ONCE = 1 << 17
"""Bytes of a document that are read in one step: most are shorter."""
_ITEMS = 250
"""Items of a list that are read in one step."""
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
    data = data.removeprefix(codecs.BOM_UTF8)
    finish(_check_structure(data, what))
    try:
        value = json.loads(_decoded(data))
    except ValueError:
        raise _no_json(data, what) from None
    if not keep_halves and _HALVES.search(data):
        value = _without_halves(value)
    if not isinstance(value, dict):
        raise InvalidImage(f"{what} holds a JSON {type(value).__name__} instead of an object")
    return value


def parse_object_in_steps(data: bytes, what: str) -> Steps[dict[str, Any]]:
    """Read a JSON object that has long lists in it, in steps of some milliseconds.

    Halves of surrogate pairs stay in strings.

    Raises:
        InvalidImage: As for :func:`parse_object`.
    """
    if len(data) <= _AT_ONCE:
        return parse_object(data, what, keep_halves=True)
    data = data.removeprefix(codecs.BOM_UTF8)
    yield from _check_structure(data, what)
    try:
        return (yield from _members(_decoded(data)))
    except (ValueError, IndexError):
        raise _no_json(data, what) from None


def _members(text: str) -> Steps[dict[str, Any]]:
    """Read an object whose lists are read item by item.

    Raises:
        ValueError, IndexError: It is none.
    """
    decode = json.JSONDecoder().raw_decode
    result: dict[str, Any] = {}
    at = _after(text, _after(text, 0, ""), "{")
    while text[at] != "}":
        if result:
            at = _after(text, at, ",")
        key, at = decode(text, at)
        if not isinstance(key, str):
            raise ValueError("a name that is no text")
        at = _after(text, _after(text, at, ""), ":")
        if text[at] != "[":
            result[key], at = decode(text, at)
        else:
            items: list[Any] = []
            at = _after(text, at, "[")
            while text[at] != "]":
                if items:
                    at = _after(text, at, ",")
                item, at = decode(text, at)
                items.append(item)
                at = _after(text, at, "")
                if len(items) % _ITEMS == 0:
                    yield
            result[key] = items
            at += 1
        at = _after(text, at, "")
    if _after(text, at, "}") != len(text):
        raise ValueError("more than an object")
    return result


def _after(text: str, at: int, mark: str) -> int:
    """Return where the next token begins behind a mark, which has to be there."""
    if not text.startswith(mark, at):
        raise ValueError(f"no {mark}")
    blank = _BLANK.match(text, at + len(mark))
    assert blank is not None
    return blank.end()


def _decoded(data: bytes) -> str:
    """Return the text of a document.

    JSON is UTF-8 (RFC 8259, section 8.1). Python would take UTF-16 for it, too, in which nothing of
    what is checked here is where it is looked for.
    """
    return data.decode("utf-8", "surrogatepass")


def _no_json(data: bytes, what: str) -> InvalidImage:
    return InvalidImage(
        f"{what} is not JSON: {_describe(data)}",
        hint="Check that the address is that of an OCI image layout's folder, the one that "
        "holds the file index.json, and not of a web page about it.",
    )


def _without_halves(value: Any) -> Any:
    """Return a document with U+FFFD in place of halves of surrogate pairs, as Go reads it."""
    text = json.dumps(value, ensure_ascii=False).encode("utf-16-le", "surrogatepass")
    return json.loads(text.decode("utf-16-le", "replace"))


def _check_structure(data: bytes, what: str) -> Steps[None]:
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
        yield
    if commas + len(brackets) // 2 > limits.MAX_DOCUMENT_VALUES:
        raise InvalidImage(f"{what} holds more than {limits.MAX_DOCUMENT_VALUES} values")
    if (yield from _depth(bytes(brackets))) > limits.MAX_DOCUMENT_DEPTH:
        raise InvalidImage(f"{what} is nested more than {limits.MAX_DOCUMENT_DEPTH} deep")


def _depth(brackets: bytes) -> Steps[int]:
    """Return how deep brackets are nested, or a little more where they do not match."""
    depth = 0
    while brackets and depth <= limits.MAX_DOCUMENT_DEPTH:
        outer = brackets.replace(b"[]", b"")
        if len(outer) == len(brackets):
            return depth + outer.count(b"[")
        brackets = outer
        depth += 1
        yield
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
