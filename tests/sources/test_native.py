"""Images from Debian's docker-registry and nginx, over httpx."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from browsermount.errors import AuthError, ImageNotFound, NetworkError, NoMatchingPlatform
from browsermount.fetch import read_all
from browsermount.fetch.native import HttpxFetcher
from browsermount.mount import mount, read_file
from browsermount.oci.choice import resolve
from browsermount.oci.credentials import CredentialRequest, Credentials
from browsermount.oci.image import ResolvedImage
from browsermount.oci.platform import RUNNABLE
from browsermount.oci.source import open_source
from browsermount.reference import parse_reference
from tests.fixtures import fixture
from tests.servers.nginx import forwarder, nginx, registry_front
from tests.servers.registry import NO_CORS, Registry, registry
from tests.servers.tokens import TokenServer, token_server

USERS = {"alice": "secret"}
ALICE = Credentials("alice", "secret")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def opened(work: Path) -> Iterator[Registry]:
    """A registry that wants no credentials."""
    with registry(work / "open", cors=NO_CORS) as server:
        layouts = fixture("platforms")
        for name in ("docker", "docker-list", "no-platform"):
            server.push(layouts / name, "", f"team/{name}:v1")
        for name in ("two-platforms", "nested", "not-for-us"):
            server.push_index(layouts / name, f"team/{name}:v1")
        server.push(fixture("debian") / "layout", "latest", "debian:12")
        yield server


@pytest.fixture(scope="module")
def basic(work: Path) -> Iterator[Registry]:
    with registry(work / "basic", users=USERS) as server:
        server.push(fixture("platforms") / "docker-list", "", "team/app", "alice:secret")
        yield server


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    with token_server(
        USERS, identities=frozenset({"identity"}), public=frozenset({"team/public"})
    ) as server:
        yield server


@pytest.fixture(scope="module")
def bearer(work: Path, tokens: TokenServer) -> Iterator[Registry]:
    with registry(work / "bearer", tokens=tokens) as server:
        for name in ("team/app", "team/public"):
            server.push(fixture("platforms") / "docker-list", "", name, "alice:secret")
        yield server


class Person:
    def __init__(self, *answers: Credentials | None) -> None:
        self.answers = list(answers)
        self.asked: list[CredentialRequest] = []

    async def __call__(self, request: CredentialRequest) -> Credentials | None:
        self.asked.append(request)
        return self.answers.pop(0)


def which(image: str, person: Person | None = None, mirror: str | None = None) -> str:
    """Mount an image and say what is in its /which."""

    async def read() -> bytes | None:
        async with HttpxFetcher() as fetcher:
            mounted = await mount(image, fetcher=fetcher, credentials=person, mirror=mirror)
            return await read_file(mounted.rootfs, b"which")

    content = asyncio.run(read())
    assert content is not None
    return content.decode().strip()


def resolved(image: str) -> ResolvedImage:
    async def find() -> ResolvedImage:
        async with HttpxFetcher() as fetcher:
            return await resolve(open_source(parse_reference(image), fetcher), image, RUNNABLE)

    return asyncio.run(find())


@pytest.mark.parametrize(
    "url",
    [
        "https://\N{SNOWMAN}.invalid/",
        "https://xn--/",
        "https://[::1]x/",
        "http://127.0.0.1:1/",
        "https://a..b",
    ],
)
def test_addresses_of_no_server(url: str) -> None:
    with pytest.raises(NetworkError) as caught:
        which(url)
    assert caught.value.hint


class TestOpenRegistry:
    def test_by_tag_and_by_digest(self, opened: Registry) -> None:
        image = f"{opened.host}/team/two-platforms"
        assert which(f"{image}:v1") == "amd64"
        digest = resolved(f"{image}:v1").digest
        assert which(f"{image}@{digest}") == "amd64"
        assert which(f"{image}:no-such-tag@{digest}") == "amd64"

    @pytest.mark.parametrize(
        ("name", "image"),
        [("docker", "docker"), ("docker-list", "amd64"), ("no-platform", "386"), ("nested", "386")],
    )
    def test_documents_of_all_kinds(self, opened: Registry, name: str, image: str) -> None:
        assert which(f"{opened.host}/team/{name}:v1") == image

    def test_a_whole_debian(self, opened: Registry) -> None:
        async def read() -> bytes | None:
            async with HttpxFetcher() as fetcher:
                mounted = await mount(f"{opened.host}/debian:12", fetcher=fetcher)
                return await read_file(mounted.rootfs, b"etc/debian_version")

        assert (asyncio.run(read()) or b"").startswith(b"12.")

    def test_what_is_not_there(self, opened: Registry) -> None:
        with pytest.raises(ImageNotFound) as caught:
            which(f"{opened.host}/team/two-platforms:v2")
        assert "v1" in caught.value.hint
        with pytest.raises(ImageNotFound):
            which(f"{opened.host}/team/nothing")
        with pytest.raises(NoMatchingPlatform, match="linux/arm64"):
            which(f"{opened.host}/team/not-for-us:v1")

    def test_parts_of_a_blob(self, opened: Registry) -> None:
        async def read() -> tuple[int, bytes, bytes, str]:
            async with HttpxFetcher() as fetcher:
                image = f"{opened.host}/debian:12"
                source = open_source(parse_reference(image), fetcher)
                layer = (await resolve(source, image, RUNNABLE)).manifest.layers[0]
                whole = await read_all(await source.get_blob(layer), layer.size)
                part = await source.get_blob(layer, headers={"Range": "bytes=1000-1999"})
                body = await read_all(part, 1000)
                return part.status, whole[1000:2000], body, part.headers["content-range"]

        status, expected, body, content_range = asyncio.run(read())
        assert status == 206
        assert body == expected
        assert content_range.startswith("bytes 1000-1999/")

    def test_a_registry_that_went_away_and_came_back(self, opened: Registry) -> None:
        opened.kill()
        with pytest.raises(NetworkError, match="cannot reach"):
            which(f"{opened.host}/team/docker-list:v1")
        opened.start()
        assert which(f"{opened.host}/team/docker-list:v1") == "amd64"

    def test_through_a_mirror(self, opened: Registry) -> None:
        assert which("registry.invalid/team/docker-list:v1", mirror=opened.url) == "amd64"
        rules = f"registry.invalid={opened.url}"
        assert which("registry.invalid/team/docker-list:v1", mirror=rules) == "amd64"

    def test_through_a_cache(self, work: Path, opened: Registry) -> None:
        with registry(work / "cache", remote=opened.url) as cache:
            assert which("registry.invalid/team/docker-list:v1", mirror=cache.url) == "amd64"

    def test_through_a_proxy(self, work: Path, bearer: Registry, tokens: TokenServer) -> None:
        with forwarder(work / "forwarder") as proxy:
            person = Person(ALICE)
            image = f"{bearer.host}/team/app"
            assert which(image, person, mirror=f"{proxy.url}/{{url}}") == "amd64"
            assert person.asked == [
                CredentialRequest(
                    bearer.host, tokens.url, False, proxy.host, True, tokens.url.split("/")[2]
                )
            ]
            assert any(f"GET /{tokens.url}?" in line for line in proxy.requests)


class TestCredentials:
    def test_basic(self, basic: Registry) -> None:
        person = Person(Credentials("alice", "wrong"), ALICE)
        assert which(f"{basic.host}/team/app", person) == "amd64"
        assert person.asked == [
            CredentialRequest(basic.host, "tests", refused=False),
            CredentialRequest(basic.host, "tests", refused=True),
        ]

    def test_basic_without_credentials(self, basic: Registry) -> None:
        with pytest.raises(AuthError, match=basic.host):
            which(f"{basic.host}/team/app")

    def test_an_anonymous_token(self, bearer: Registry, tokens: TokenServer) -> None:
        tokens.given.clear()
        assert which(f"{bearer.host}/team/public") == "amd64"
        assert len(tokens.given) == 1

    @pytest.mark.parametrize("right", [ALICE, Credentials("", "identity")])
    def test_a_token_for_a_user(
        self, bearer: Registry, tokens: TokenServer, right: Credentials
    ) -> None:
        person = Person(Credentials("alice", "wrong"), right)
        assert which(f"{bearer.host}/team/app", person) == "amd64"
        # The anonymous token did not suffice, which is no refusal of anybody's credentials.
        assert [request.refused for request in person.asked] == [False, True]
        assert {request.realm for request in person.asked} == {tokens.url}

    def test_tokens_that_expire(self, work: Path) -> None:
        with (
            token_server(USERS, lifetime=1, public=frozenset({"team/app"})) as tokens,
            registry(work / "expiring", tokens=tokens) as server,
        ):
            server.push(fixture("platforms") / "docker-list", "", "team/app", "alice:secret")
            tokens.given.clear()

            async def read() -> list[int]:
                async with HttpxFetcher() as fetcher:
                    source = open_source(parse_reference(f"{server.host}/team/app"), fetcher)
                    layer = (await resolve(source, "it", RUNNABLE)).manifest.layers[0]
                    await asyncio.sleep(1.1)
                    requests = [source.get_blob(layer) for _ in range(4)]
                    responses = await asyncio.gather(*requests)
                    for response in responses:
                        await response.aclose()
                    return [response.status for response in responses]

            assert asyncio.run(read()) == [200] * 4
            assert len(tokens.given) == 2

    def test_redirects_get_no_credentials(self, work: Path, basic: Registry) -> None:
        blobs = work / "blobs"
        blobs.mkdir()
        for path in (work / "basic").rglob("blobs/sha256/*/*/data"):
            (blobs / path.parent.name).write_bytes(path.read_bytes())
        with (
            nginx(work / "storage", blobs) as storage,
            registry_front(work / "redirecting", basic.url, blobs=storage.url) as front,
        ):
            assert which(f"{front.host}/team/app", Person(ALICE)) == "amd64"
            assert any("Basic" in line for line in front.requests)
            assert len(storage.requests) == 2
            assert all(line.endswith('"-"') for line in storage.requests)

    def test_a_form_is_not_sent_on(self, work: Path, tokens: TokenServer) -> None:
        # The other server would take the identity token, if it came there.
        with (
            token_server(USERS, redirect=tokens.url) as misleading,
            registry(work / "misled", tokens=misleading) as server,
        ):
            tokens.given.clear()
            with pytest.raises(AuthError, match="307"):
                which(f"{server.host}/team/app", Person(Credentials("", "identity")))
            assert not tokens.given


class TestLayouts:
    @pytest.mark.parametrize("ranges", [True, False])
    def test_nginx(self, tmp_path: Path, ranges: bool) -> None:
        with nginx(tmp_path / "nginx", fixture("platforms"), ranges=ranges) as server:
            assert which(f"{server.url}/two-platforms") == "amd64"
            assert which(f"{server.url}/several-refs?tag=v1") == "v1"
            assert which(f"{server.url}/several-refs#1.0-rc.1") == "1.0-rc.1"

            async def part() -> tuple[int, bytes]:
                async with HttpxFetcher() as fetcher:
                    headers = {"Range": "bytes=0-1"}
                    url = f"{server.url}/two-platforms/index.json"
                    response: Any = await fetcher.get(url, headers=headers)
                    return response.status, await read_all(response, 1 << 20)

            status, body = asyncio.run(part())
            assert (status, len(body) == 2) == ((206, True) if ranges else (200, False))
