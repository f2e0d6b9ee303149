"""A registry that is played by a fetcher: what servers say, and what we answer."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from browsermount.errors import (
    AuthError,
    BrowsermountError,
    CorsError,
    DigestMismatch,
    HttpStatusError,
    ImageNotFound,
    InvalidImage,
    NetworkError,
)
from browsermount.fetch import read_all
from browsermount.oci.challenge import Challenge, parse_challenges
from browsermount.oci.choice import resolve
from browsermount.oci.credentials import CredentialRequest, Credentials
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.image import ResolvedImage, open_blob
from browsermount.oci.mirror import find_route
from browsermount.oci.platform import RUNNABLE
from browsermount.oci.registry import RegistrySource
from browsermount.oci.source import open_source
from browsermount.reference import RegistryReference, parse_reference

from .images import INDEX_TYPE, MANIFEST_TYPE, FakeResponse, Layout, sha256, tar
from .loop import run

HOST = "https://registry.example"
NAME = "registry.example/team/app"
REALM = "https://auth.example/token"
CHALLENGE = f'Bearer realm="{REALM}",service="registry.example",scope="repository:team/app:pull"'
ALICE = Credentials("alice", "secret")
IDENTITY = Credentials("", "identity")


class FakeRegistry:
    """Serves the images of a layout; ``auth`` is None, ``basic`` or ``bearer``."""

    def __init__(self, layout: Layout, auth: str | None = None, **options: Any) -> None:
        self.files = layout.files
        self.tags = {"latest": layout.manifests[-1]} if layout.manifests else {}
        self.auth = auth
        self.public = options.pop("public", False)
        self.readable = options.pop("readable", True)
        self.stated = options.pop("stated", None)
        self.content_type = options.pop("content_type", None)
        self.lifetime = options.pop("lifetime", 300)
        self.refused_status = options.pop("refused_status", 401)
        self.challenge = options.pop("challenge", CHALLENGE)
        self.query = options.pop(
            "query", {"service": ["registry.example"], "scope": ["repository:team/app:pull"]}
        )
        assert not options
        self.requests: list[tuple[str, dict[str, str]]] = []
        self.forms: list[dict[str, str]] = []
        self.tokens: list[str] = []
        self.valid: set[str] = set()

    async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FakeResponse:
        await asyncio.sleep(0)
        given = dict(headers or {})
        self.requests.append((url, given))
        parts = urlsplit(url)
        if url.startswith(REALM):
            return self._token(url, given.get("Authorization"))
        if f"{parts.scheme}://{parts.netloc}" != HOST:
            return FakeResponse(url, 404)
        if not self._admits(given.get("Authorization")):
            shown = {"www-authenticate": self._challenge()} if self.readable else {}
            body = b'{"errors": [{"code": "UNAUTHORIZED", "message": "who are you"}]}'
            return FakeResponse(url, self.refused_status, body, shown)
        return self._content(url, parts.path.removeprefix("/v2/team/app/"))

    async def post(self, url: str, *, form: Mapping[str, str]) -> FakeResponse:
        self.forms.append(dict(form))
        good = {("password", "secret"), ("refresh_token", "identity")}
        kind = form["grant_type"]
        if (kind, form[kind]) not in good:
            return FakeResponse(url, 401)
        return self._new_token(url)

    def _challenge(self) -> str:
        return self.challenge if self.auth == "bearer" else 'Basic realm="The \\"team\\""'

    def _admits(self, authorization: str | None) -> bool:
        if self.auth == "basic":
            return authorization == ALICE.basic()
        return self.auth is None or authorization in self.valid

    def _token(self, url: str, authorization: str | None) -> FakeResponse:
        assert parse_qs(urlsplit(url).query, keep_blank_values=True) == self.query
        if authorization != ALICE.basic() and not (self.public and authorization is None):
            return FakeResponse(url, 401)
        return self._new_token(url)

    def _new_token(self, url: str) -> FakeResponse:
        token = f"token{len(self.tokens)}"
        self.tokens.append(token)
        self.valid = {f"Bearer {token}"}
        body = json.dumps({"token": token, "expires_in": self.lifetime}).encode()
        return FakeResponse(url, 200, body)

    def _content(self, url: str, path: str) -> FakeResponse:
        kind, _, version = path.partition("/")
        if kind == "tags":
            return FakeResponse(url, 200, json.dumps({"tags": sorted(self.tags)}).encode())
        shown = {}
        if kind == "manifests" and version in self.tags:
            descriptor = self.tags[version]
            version = descriptor["digest"]
            shown["content-type"] = self.content_type or descriptor["mediaType"]
            if self.stated:
                shown["docker-content-digest"] = self.stated
        body = self.files.get(f"blobs/{version.replace(':', '/')}")
        if body is None:
            body = b'{"errors": [{"code": "MANIFEST_UNKNOWN", "message": "manifest unknown"}]}'
            return FakeResponse(url, 404, body)
        return FakeResponse(url, 200, body, shown)


class Person:
    """Answers questions for credentials with what was put down for them."""

    def __init__(self, *answers: Credentials | None) -> None:
        self.answers = list(answers)
        self.asked: list[CredentialRequest] = []

    async def __call__(self, request: CredentialRequest) -> Credentials | None:
        self.asked.append(request)
        await asyncio.sleep(0)
        return self.answers.pop(0)


def source(
    registry: Any, person: Person | None = None, name: str = NAME, mirror: str | None = None
) -> RegistrySource:
    found = open_source(parse_reference(name), registry, credentials=person, mirror=mirror)
    assert isinstance(found, RegistrySource)
    return found


def image() -> Layout:
    return Layout().add(tar(), config={"Cmd": ["it"]})


def resolved(registry: Any, *arguments: Any, **options: Any) -> ResolvedImage:
    return run(resolve(source(registry, *arguments, **options), NAME, RUNNABLE))


@pytest.mark.parametrize(
    ("challenge", "query", "form"),
    [
        ("", {"scope": ["repository:team/app:pull"]}, {"scope": "repository:team/app:pull"}),
        (
            ',service="s"',
            {"service": ["s"], "scope": ["repository:team/app:pull"]},
            {"service": "s", "scope": "repository:team/app:pull"},
        ),
        (',scope="aws"', {"scope": ["aws"]}, {"scope": "aws"}),
        (
            ',service="s",scope="repository:mirror/team/app:pull registry:catalog:*"',
            {"service": ["s"], "scope": ["repository:mirror/team/app:pull", "registry:catalog:*"]},
            {"service": "s", "scope": "repository:mirror/team/app:pull registry:catalog:*"},
        ),
    ],
)
def test_tokens_are_asked_for_as_the_challenge_has_it(
    challenge: str, query: dict[str, list[str]], form: dict[str, str]
) -> None:
    challenge = f'Bearer realm="{REALM}"{challenge}'
    registry = FakeRegistry(image(), "bearer", public=True, challenge=challenge, query=query)
    assert resolved(registry).config.cmd == ("it",)
    registry = FakeRegistry(image(), "bearer", challenge=challenge, query=query)
    assert resolved(registry, Person(IDENTITY)).config.cmd == ("it",)
    sent = {key: value for key, value in registry.forms[0].items() if key in ("service", "scope")}
    assert sent == form


@pytest.mark.parametrize("lifetime", [0, -5])
def test_a_token_that_is_said_to_be_dead_already(lifetime: int) -> None:
    registry = FakeRegistry(image(), "bearer", public=True, lifetime=lifetime)
    assert resolved(registry).config.cmd == ("it",)
    assert len(registry.tokens) == 1


@pytest.mark.parametrize("coding", ["gzip", "X-GZIP"])
def test_documents_that_are_compressed_for_the_transfer(coding: str) -> None:
    class Compressing(FakeRegistry):
        async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FakeResponse:
            response = await super().get(url, headers=headers)
            response.body = gzip.compress(response.body)
            response.headers = {**response.headers, "content-encoding": coding}
            return response

    class Unpacked(FakeRegistry):
        """As a browser has it, which unpacks what it gets and shows the header all the same."""

        async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FakeResponse:
            response = await super().get(url, headers=headers)
            response.headers = {**response.headers, "content-encoding": coding}
            return response

    for kind in (Compressing, Unpacked):
        assert resolved(kind(image())).config.cmd == ("it",)
        assert resolved(kind(image(), "bearer", public=True)).config.cmd == ("it",)


def test_a_document_that_is_a_bomb() -> None:
    class Bomb(FakeRegistry):
        async def get(self, url: str, *, headers: Mapping[str, str] | None = None) -> FakeResponse:
            body = gzip.compress(b"{" + b" " * (64 << 20))
            return FakeResponse(url, 200, body, {"content-encoding": "gzip"})

    with pytest.raises(InvalidImage, match="larger"):
        resolved(Bomb(image()))


def failure(kind: type[BrowsermountError], registry: Any, *arguments: Any, **options: Any) -> str:
    with pytest.raises(kind) as caught:
        resolved(registry, *arguments, **options)
    return f"{caught.value.message} | {caught.value.hint}"


@pytest.mark.parametrize(
    ("header", "challenges"),
    [
        ("", []),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        (r'basic Realm="a \"b\", c"', [Challenge("basic", {"realm": 'a "b", c'})]),
        ("Basic", [Challenge("basic")]),
        (
            'Bearer realm="https://a/t",service="s",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://a/t", "service": "s", "scope": "repository:a/b:pull,push"},
                )
            ],
        ),
        (
            'Negotiate abc==, Bearer realm = "r" , Basic realm=x, charset="UTF-8"',
            [
                Challenge("negotiate"),
                Challenge("bearer", {"realm": "r"}),
                Challenge("basic", {"realm": "x", "charset": "UTF-8"}),
            ],
        ),
        ('Basic realm="unfinished', [Challenge("basic")]),
        ('="', []),
    ],
)
def test_challenges(header: str, challenges: list[Challenge]) -> None:
    found = parse_challenges(header)
    assert found[: len(challenges)] == challenges


class TestManifests:
    @pytest.mark.parametrize("content_type", [None, "application/json", "text/plain; charset=x"])
    def test_by_tag(self, content_type: str | None) -> None:
        registry = FakeRegistry(image(), content_type=content_type)
        found = resolved(registry)
        assert found.config.cmd == ("it",)
        assert str(found.digest) == registry.tags["latest"]["digest"]
        url, headers = registry.requests[0]
        assert url == f"{HOST}/v2/team/app/manifests/latest"
        assert headers["Accept"].count("application/vnd.") == 4
        assert "Authorization" not in headers
        assert len(registry.requests) == 2  # the manifest is not fetched again by its digest

    def test_by_digest(self) -> None:
        registry = FakeRegistry(image())
        digest = registry.tags["latest"]["digest"]
        assert str(resolved(registry, name=f"{NAME}:other@{digest}").digest) == digest
        assert registry.requests[0][0] == f"{HOST}/v2/team/app/manifests/{digest}"

    def test_another_manifest_than_the_one_asked_for(self) -> None:
        layout = image()
        wrong = sha256(b"else")
        layout.files[f"blobs/{wrong.replace(':', '/')}"] = b'{"schemaVersion": 2, "manifests": []}'
        failure(DigestMismatch, FakeRegistry(layout), name=f"{NAME}@{wrong}")

    def test_a_stated_digest_is_checked(self) -> None:
        layout = image()
        stated = layout.manifests[0]["digest"]
        assert str(resolved(FakeRegistry(layout, stated=stated)).digest) == stated
        failure(DigestMismatch, FakeRegistry(layout, stated="sha256:" + "0" * 64))
        failure(InvalidImage, FakeRegistry(layout, stated="nonsense"))

    @pytest.mark.parametrize("content_type", [None, "application/json"])
    def test_an_index(self, content_type: str | None) -> None:
        layout = image()
        other = layout.image(tar(), platform="linux/arm64")
        index = {"schemaVersion": 2, "manifests": [other, *layout.manifests]}
        layout.manifests = [layout.document(index, INDEX_TYPE)]
        registry = FakeRegistry(layout, content_type=content_type)
        assert resolved(registry).config.cmd == ("it",)
        paths = [urlsplit(url).path.split("/")[4] for url, _ in registry.requests]
        assert paths == ["manifests", "manifests", "blobs"]

    def test_an_unknown_tag(self) -> None:
        registry = FakeRegistry(image())
        text = failure(ImageNotFound, registry, name=f"{NAME}:nope")
        assert f"{NAME}:nope" in text
        assert "manifest unknown" in text
        assert "latest" in text

    def test_nobody_is_asked_who_they_are_for_a_list_of_tags(self) -> None:
        class Hiding(FakeRegistry):
            def _content(self, url: str, path: str) -> FakeResponse:
                return FakeResponse(url, 401 if path.startswith("tags") else 404)

        person = Person(ALICE)
        failure(ImageNotFound, Hiding(image(), "bearer"), person)
        assert len(person.asked) == 1

    def test_what_is_no_manifest(self) -> None:
        layout = image()
        layout.manifests = [layout.blob(b"<!doctype html>", MANIFEST_TYPE)]
        assert "HTML" in failure(InvalidImage, FakeRegistry(layout))
        layout.manifests = [layout.document({"schemaVersion": 1}, MANIFEST_TYPE)]
        assert "schema 1" in failure(InvalidImage, FakeRegistry(layout))
        layout.manifests = [layout.blob(b" " * (5 << 20), MANIFEST_TYPE)]
        assert "larger" in failure(InvalidImage, FakeRegistry(layout))

    @pytest.mark.parametrize(("status", "said"), [(429, "wait"), (500, "later"), (418, "address")])
    def test_other_statuses(self, status: int, said: str) -> None:
        class Failing(FakeRegistry):
            async def get(self, url: str, **_: Any) -> FakeResponse:
                return FakeResponse(url, status)

        assert said in failure(HttpStatusError, Failing(image()))


class TestBlobs:
    def blob(self, registry: Any, descriptor: Descriptor, **headers: str) -> Any:
        async def read() -> tuple[int, bytes]:
            response = await source(registry).get_blob(descriptor, headers=headers or None)
            return response.status, await read_all(response, 1 << 20)

        return run(read())

    def test_any_status_comes_back(self) -> None:
        class Answering(FakeRegistry):
            async def get(self, url: str, *, headers: Any = None) -> FakeResponse:
                await super().get(url, headers=headers)
                return FakeResponse(url, 206 if "Range" in (headers or {}) else 503)

        registry = Answering(image())
        descriptor = Descriptor("", Digest.of(b"x"), 1)
        assert self.blob(registry, descriptor, Range="bytes=0-0")[0] == 206
        assert self.blob(registry, descriptor)[0] == 503
        assert registry.requests[0] == (
            f"{HOST}/v2/team/app/blobs/{descriptor.digest}",
            {"Range": "bytes=0-0"},
        )
        with pytest.raises(HttpStatusError):
            run(open_blob(source(registry), descriptor))

    def test_a_missing_blob(self) -> None:
        with pytest.raises(ImageNotFound, match="missing"):
            run(open_blob(source(FakeRegistry(image())), Descriptor("", Digest.of(b"x"), 1)))

    def test_other_addresses_get_no_credentials(self) -> None:
        class Elsewhere(FakeRegistry):
            async def get(self, url: str, *, headers: Any = None) -> FakeResponse:
                if "elsewhere" in url:
                    self.requests.append((url, dict(headers or {})))
                    return FakeResponse(url, 200 if "good" in url else 404, b"x")
                return await super().get(url, headers=headers)

        registry = Elsewhere(image(), auth="basic")
        urls = ("javascript:x", "https://elsewhere/bad", "https://elsewhere/good")
        descriptor = Descriptor("", Digest.of(b"x"), 1, urls=urls)

        async def read() -> bytes:
            response = await source(registry, Person(ALICE)).get_blob(
                descriptor, headers={"Range": "bytes=0-0"}
            )
            return await read_all(response, 1 << 20)

        assert run(read()) == b"x"
        assert registry.requests[-2:] == [
            ("https://elsewhere/bad", {"Range": "bytes=0-0"}),
            ("https://elsewhere/good", {"Range": "bytes=0-0"}),
        ]


class TestBasic:
    def test_asked_once_for_all_requests(self) -> None:
        registry, person = FakeRegistry(image(), "basic"), Person(ALICE)
        assert resolved(registry, person).config.cmd == ("it",)
        assert person.asked == [CredentialRequest("registry.example", 'The "team"', False)]
        assert [bool(h.get("Authorization")) for _, h in registry.requests] == [False, True, True]

    def test_asked_again_after_a_refusal(self) -> None:
        person = Person(Credentials("alice", "wrong"), ALICE)
        resolved(FakeRegistry(image(), "basic"), person)
        assert [request.refused for request in person.asked] == [False, True]

    def test_who_gives_the_same_again_is_not_asked_a_third_time(self) -> None:
        wrong = Credentials("bob", "wrong")
        text = failure(AuthError, FakeRegistry(image(), "basic"), Person(wrong, wrong))
        assert "bob" in text
        assert "wrong" not in text

    @pytest.mark.parametrize("answers", [(), (None,), (Credentials("a", "b"), None)])
    def test_without_credentials(self, answers: tuple[Credentials | None, ...]) -> None:
        person = Person(*answers) if answers else None
        text = failure(AuthError, FakeRegistry(image(), "basic"), person)
        assert "registry.example wants to know" in text

    def test_concurrent_requests_ask_once(self) -> None:
        layout = image()
        for answers in ((ALICE,), (None,)):
            registry, person = FakeRegistry(layout, "basic"), Person(*answers)
            shared = source(registry, person)
            descriptor = Descriptor.from_document(layout.manifests[0], "it")

            async def ask(shared: Any = shared, descriptor: Any = descriptor) -> list[Any]:
                requests = [shared.get_blob(descriptor) for _ in range(5)]
                return await asyncio.gather(*requests, return_exceptions=True)

            results = run(ask())
            assert len(person.asked) == 1
            assert len({type(result) for result in results}) == 1

    def test_not_over_plain_http(self) -> None:
        class Plain(FakeRegistry):
            async def get(self, url: str, **more: Any) -> FakeResponse:
                response = await super().get(url.replace("http://10.0.0.1", HOST), **more)
                response.url = url
                return response

        registry = Plain(image(), "basic")
        text = failure(AuthError, registry, Person(ALICE), mirror="http://10.0.0.1")
        assert "plain http" in text
        assert not any("Authorization" in headers for _, headers in registry.requests)

    def test_a_challenge_that_cannot_be_seen(self) -> None:
        registry = FakeRegistry(image(), "basic", readable=False)
        assert resolved(registry, Person(ALICE)).config.cmd == ("it",)
        wrong = Credentials("alice", "wrong")
        text = failure(AuthError, registry, Person(wrong, wrong))
        assert "Access-Control-Expose-Headers: WWW-Authenticate" in text

    def test_an_unknown_scheme(self) -> None:
        class Other(FakeRegistry):
            def _challenge(self) -> str:
                return "Negotiate"

        assert "negotiate" in failure(AuthError, Other(image(), "basic"), Person(ALICE))


class TestBearer:
    def test_anonymous(self) -> None:
        registry, person = FakeRegistry(image(), "bearer", public=True), Person()
        assert resolved(registry, person).config.cmd == ("it",)
        assert len(registry.tokens) == 1
        assert not person.asked

    @pytest.mark.parametrize("credentials", [ALICE, IDENTITY])
    def test_with_credentials(self, credentials: Credentials) -> None:
        registry, person = FakeRegistry(image(), "bearer"), Person(credentials)
        assert resolved(registry, person).config.cmd == ("it",)
        assert person.asked == [
            CredentialRequest("registry.example", REALM, False, token_server=urlsplit(REALM).netloc)
        ]
        # The registry itself sees the token only.
        secrets = {h.get("Authorization") for url, h in registry.requests if HOST in url}
        assert secrets == {None, "Bearer token0"}

    @pytest.mark.parametrize("wrong", [Credentials("alice", "wrong"), Credentials("", "wrong")])
    def test_asked_again_after_a_refusal(self, wrong: Credentials) -> None:
        person = Person(wrong, ALICE)
        resolved(FakeRegistry(image(), "bearer"), person)
        assert [request.refused for request in person.asked] == [False, True]

    @pytest.mark.parametrize("status", [401, 403])
    def test_an_anonymous_token_that_does_not_suffice(self, status: int) -> None:
        class Half(FakeRegistry):
            """Gives a token to everybody, but lets only those of known people in."""

            def _token(self, url: str, authorization: str | None) -> FakeResponse:
                self.public = True
                response = super()._token(url, authorization)
                if authorization is None:
                    self.valid = set()
                return response

            async def get(self, url: str, **more: Any) -> FakeResponse:
                response = await super().get(url, **more)
                if response.status == 401 and more.get("headers", {}).get("Authorization"):
                    response.status = status
                return response

        person = Person(ALICE)
        assert resolved(Half(image(), "bearer"), person).config.cmd == ("it",)
        assert [request.refused for request in person.asked] == [False]

    def test_a_token_that_has_expired_is_renewed_once(self) -> None:
        layout = image()
        registry, person = FakeRegistry(layout, "bearer"), Person(ALICE)
        shared = source(registry, person)
        descriptor = Descriptor.from_document(layout.manifests[0], "it")

        async def ask() -> list[int]:
            await shared.get_blob(descriptor)
            registry.valid = set()  # the server forgets it early
            requests = [shared.get_blob(descriptor) for _ in range(5)]
            return [response.status for response in await asyncio.gather(*requests)]

        assert run(ask()) == [200] * 5
        assert len(registry.tokens) == 2
        assert len(person.asked) == 1

    def test_a_token_is_renewed_before_it_expires(self) -> None:
        layout = image()
        registry = FakeRegistry(layout, "bearer", public=True, lifetime=100)
        now = 0.0
        shared = source(registry)
        shared._authorizer._clock = lambda: now
        descriptor = Descriptor.from_document(layout.manifests[0], "it")
        run(shared.get_blob(descriptor))
        now = 89.0
        run(shared.get_blob(descriptor))
        assert len(registry.tokens) == 1
        now = 91.0
        run(shared.get_blob(descriptor))
        assert len(registry.tokens) == 2

    def test_a_challenge_that_cannot_be_seen_of_a_known_registry(self) -> None:
        class Hub(FakeRegistry):
            async def get(self, url: str, *, headers: Any = None) -> FakeResponse:
                self.requests.append((url, dict(headers or {})))
                if url.startswith("https://auth.docker.io/token?"):
                    return self._new_token(url)
                if (headers or {}).get("Authorization") not in self.valid:
                    return FakeResponse(url, 401)
                return self._content(url, urlsplit(url).path.removeprefix("/v2/library/app/"))

        registry = Hub(image())
        assert resolved(registry, name="app").config.cmd == ("it",)
        query = parse_qs(urlsplit(registry.requests[1][0]).query)
        assert query == {
            "service": ["registry.docker.io"],
            "scope": ["repository:library/app:pull"],
        }

    @pytest.mark.parametrize(
        ("body", "said"),
        [
            (b"{}", "no token"),
            (b'{"token": "a\\r\\nX: y"}', "no token"),
            (b'{"token": 1}', "instead of a str"),
            (b"<html>", "HTML"),
        ],
    )
    def test_a_token_server_that_answers_nonsense(self, body: bytes, said: str) -> None:
        class Nonsense(FakeRegistry):
            def _token(self, url: str, authorization: str | None) -> FakeResponse:
                return FakeResponse(url, 200, body)

        assert said in failure(AuthError, Nonsense(image(), "bearer"))

    def test_a_token_server_that_fails(self) -> None:
        class Failing(FakeRegistry):
            fails = True

            def _token(self, url: str, authorization: str | None) -> FakeResponse:
                return FakeResponse(url, 503) if self.fails else super()._token(url, authorization)

        registry = Failing(image(), "bearer", public=True)
        shared = source(registry)
        with pytest.raises(NetworkError, match="503"):
            run(shared.manifests())
        registry.fails = False
        assert run(shared.manifests())

    @pytest.mark.parametrize("realm", ["javascript:x", "", "http://[", "ftp://x/"])
    def test_a_realm_that_is_no_address(self, realm: str) -> None:
        class Odd(FakeRegistry):
            def _challenge(self) -> str:
                return f'Bearer realm="{realm}"'

        failure(BrowsermountError, Odd(image(), "bearer"))

    def test_credentials_do_not_go_to_a_realm_over_plain_http(self) -> None:
        class Plain(FakeRegistry):
            def _challenge(self) -> str:
                return CHALLENGE.replace("https://auth", "http://auth")

            async def get(self, url: str, **more: Any) -> FakeResponse:
                return await super().get(url.replace("http://auth", "https://auth"), **more)

        registry = Plain(image(), "bearer")
        assert "credentials" in failure(AuthError, registry, Person(ALICE))
        assert not any("Authorization" in headers for _, headers in registry.requests)

    def test_a_proxy_gets_all_requests_and_is_told_of(self) -> None:
        class Proxied(FakeRegistry):
            async def get(self, url: str, **more: Any) -> FakeResponse:
                assert url.startswith("https://proxy.example/")
                response = await super().get(url.removeprefix("https://proxy.example/"), **more)
                response.url = url
                return response

        registry, person = Proxied(image(), "bearer"), Person(ALICE)
        found = resolved(registry, person, mirror="https://proxy.example/{url}")
        assert found.config.cmd == ("it",)
        assert person.asked == [
            CredentialRequest(
                "registry.example", REALM, False, "proxy.example", True, urlsplit(REALM).netloc
            )
        ]


class TestRedirects:
    def test_another_server_cannot_ask_for_the_registrys_credentials(self) -> None:
        class Redirecting(FakeRegistry):
            async def get(self, url: str, **more: Any) -> FakeResponse:
                response = await super().get(url, **more)
                if "/blobs/" in url:
                    response.url, response.status = "https://storage.example/x", 401
                    response.headers = {"www-authenticate": 'Basic realm="x"'}
                return response

        person = Person()
        text = failure(AuthError, Redirecting(image()), person)
        assert "storage.example" in text
        assert not person.asked


class TestCors:
    def registry(self, missing: str, auth: str | None = None) -> Any:
        class Refusing(FakeRegistry):
            async def get(self, url: str, *, headers: Any = None) -> FakeResponse:
                given = headers or {}
                simple = len(given.get("Accept", "")) <= 128 and "Authorization" not in given
                if missing == "Access-Control-Allow-Origin" or not simple:
                    raise CorsError("refused", missing=missing)
                return await super().get(url, headers=headers)

        return Refusing(image(), auth)

    def error(self, *arguments: Any, **options: Any) -> CorsError:
        with pytest.raises(CorsError) as caught:
            resolved(self.registry(*arguments), Person(ALICE), **options)
        return caught.value

    def test_the_error_shows_what_to_configure(self) -> None:
        error = self.error("Access-Control-Allow-Origin")
        assert "Access-Control-Allow-Origin" in error.example
        assert "docker-registry" not in error.hint
        assert "mirror" in error.hint
        assert error.to_dict()["missing"] == "Access-Control-Allow-Origin"

    def test_short_headers_where_no_permission_is_given(self) -> None:
        assert resolved(self.registry("preflight")).config.cmd == ("it",)

    def test_nobody_is_asked_where_credentials_could_not_be_sent(self) -> None:
        error = self.error("preflight", "basic")
        assert "OPTIONS" in error.example
        assert "nginx" in error.example

    def test_a_redirect_to_a_server_that_refuses(self) -> None:
        class Redirecting(FakeRegistry):
            async def get(self, url: str, *, headers: Any = None) -> FakeResponse:
                if "/blobs/" in url:
                    raise CorsError("sends us on", hint="there", missing="redirect")
                return await super().get(url, headers=headers)

        with pytest.raises(CorsError) as caught:
            resolved(Redirecting(image()))
        assert caught.value.hint == "there"
        assert "redirect" in caught.value.example

    def test_a_bare_name_may_have_meant_a_folder(self) -> None:
        assert "./app" in self.error("Access-Control-Allow-Origin", name="app").hint

    def test_a_token_server_that_allows_no_header_gets_a_form(self) -> None:
        class Strict(FakeRegistry):
            async def get(self, url: str, *, headers: Any = None) -> FakeResponse:
                if url.startswith(REALM) and "Authorization" in (headers or {}):
                    raise CorsError("refused", missing="Access-Control-Allow-Headers")
                return await super().get(url, headers=headers)

        registry = Strict(image(), "bearer")
        assert resolved(registry, Person(ALICE)).config.cmd == ("it",)
        assert registry.forms[0]["grant_type"] == "password"
        assert registry.forms[0]["username"] == "alice"


def test_secrets_are_not_shown() -> None:
    assert "secret" not in repr(ALICE)
    assert base64.b64decode(ALICE.basic().removeprefix("Basic ")) == b"alice:secret"


def test_a_server_that_is_not_there() -> None:
    class Gone:
        async def get(self, url: str, **_: Any) -> FakeResponse:
            raise NetworkError("gone")

    assert "http" not in failure(NetworkError, Gone())
    text = failure(NetworkError, Gone(), name="host:5000/x")
    assert "host:5000=http://host:5000" in text
    text = failure(NetworkError, Gone(), name="localhost:5000/x")
    assert "localhost:5000=https://localhost:5000" in text
    assert "./debian" in failure(NetworkError, Gone(), name="debian")
    assert "=http" not in failure(NetworkError, Gone(), name="host:1/x", mirror="https://m.example")


def test_route_of_a_reference() -> None:
    reference = parse_reference(NAME)
    assert isinstance(reference, RegistryReference)
    assert str(source(FakeRegistry(image()))) == f"{NAME}:latest"
    assert find_route(reference, None).base == HOST


@pytest.mark.parametrize(
    "realm",
    ["http://evil.example\\@localhost/token", "https://localhost@evil.example/", "http://127.1/t"],
)
def test_a_realm_that_two_parsers_understand_differently_gets_nothing(realm: str) -> None:
    class Evil(FakeRegistry):
        async def get(self, url: str, **more: Any) -> FakeResponse:
            assert url.startswith(HOST), url
            header = {"www-authenticate": f'Bearer realm="{realm}"'.replace("\\", "\\\\")}
            return FakeResponse(url, 401, b"", header)

    person = Person(ALICE)
    assert "token server" in failure(AuthError, Evil(image()), person)
    assert person.asked == []


def test_a_request_of_a_mirror_says_that_it_is_one() -> None:
    registry, person = FakeRegistry(image(), "bearer"), Person(ALICE)
    resolved(registry, person, mirror=HOST, name="ghcr.io/team/app")
    assert [(request.registry, request.mirrored) for request in person.asked] == [
        ("registry.example", True)
    ]
