"""Odd input that raised errors of Python's own: it is refused by ours, or read as others do."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsermount.errors import BrowsermountError, InvalidImage, InvalidProcess, InvalidReference
from browsermount.oci.challenge import parse_challenges
from browsermount.oci.config import parse_config
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.document import parse_object
from browsermount.oci.manifest import parse_manifest
from browsermount.reference import parse_reference
from browsermount.runtime.user import resolve_user


@pytest.mark.parametrize("number", ["²", "٣", "9" * 5000, "-1", "1e3", ""])
def test_odd_numbers_in_passwd(number: str) -> None:
    passwd = f"odd:x:{number}:{number}::/:\nroot:x:0:0::/root:\n".encode()
    assert resolve_user("root", passwd, passwd).home == "/root"
    assert resolve_user("5", passwd, None).uid == 5
    with pytest.raises(InvalidProcess):
        resolve_user("odd", passwd, None)


@given(st.text(), st.binary(), st.binary())
def test_any_user(text: str, passwd: bytes, group: bytes) -> None:
    try:
        user = resolve_user(text, passwd, group)
    except InvalidProcess:
        return
    assert 0 <= user.uid < 1 << 31
    json.dumps([user.uid, user.gid, user.home])


@pytest.mark.parametrize("size", ["1e400", "-1", str(1 << 62), "9" * 400, "NaN", "true", '"1"'])
def test_odd_sizes(size: str) -> None:
    text = f'{{"digest": "{Digest.of(b"")}", "size": {size}}}'.encode()
    with pytest.raises(InvalidImage):
        Descriptor.from_document(parse_object(text, "it"), "it")


def test_embedded_data_that_is_no_ascii() -> None:
    document = {"digest": str(Digest.of(b"")), "size": 1, "data": "é"}
    with pytest.raises(InvalidImage, match="not base64"):
        Descriptor.from_document(document, "it")


@pytest.mark.parametrize("data", [rb'{"a": "\ud800"}', b'{"a": "\xed\xa0\x80"}'])
def test_halves_of_surrogate_pairs(data: bytes) -> None:
    assert parse_object(data, "it") == {"a": "\ufffd"}
    assert parse_object(rb'{"a": "\ud83d\ude00"}', "it") == {"a": "\U0001f600"}


@pytest.mark.parametrize(
    "text", ["http://[", "http://[::1/", "//[", "\udcff", "./\udcff", "http://a/#\udcff"]
)
def test_odd_references(text: str) -> None:
    with pytest.raises(InvalidReference) as raised:
        parse_reference(text, base="https://page.example/")
    assert raised.value.hint


@given(st.text(st.characters()))
def test_any_reference(text: str) -> None:
    with contextlib.suppress(InvalidReference):
        str(parse_reference(text, base="https://page.example/dir/"))


@given(st.text())
def test_any_challenge(header: str) -> None:
    for challenge in parse_challenges(header):
        assert challenge.scheme == challenge.scheme.lower()


def test_a_challenge_without_end() -> None:
    assert len(parse_challenges("Basic " + 'a="' * 100_000)) < 10_000


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters()),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(
                ["manifests", "layers", "config", "size", "digest", "data", "Env", "User"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=20,
)


@pytest.mark.parametrize(
    "parse",
    [
        lambda data: parse_manifest(data, "it"),
        lambda data: parse_config(data, "it"),
        lambda data: Descriptor.from_document(parse_object(data, "it"), "it"),
    ],
)
@given(_JSON)
def test_any_document(parse: Callable[[bytes], Any], value: Any) -> None:
    document = {"schemaVersion": 2, **value} if isinstance(value, dict) else value
    try:
        str(parse(json.dumps(document).encode()))
    except BrowsermountError as error:
        error.message.encode()
