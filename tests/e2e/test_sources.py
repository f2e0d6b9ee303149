"""Images from real registries and web servers of other origins, in headless Chromium."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote

import pytest

from tests.e2e.browser import Page
from tests.e2e.signing import FORM, sign_in, wait_form
from tests.fixtures import fixture
from tests.servers.nginx import forwarder, nginx, registry_front
from tests.servers.recording import Answer, Request, answering
from tests.servers.registry import FULL_CORS, NO_CORS, Registry, registry
from tests.servers.tokens import TokenServer, token_server

USERS = {"alice": "secret"}

# What a page does that has an element with a mirror of its own.
REPLACE = """
const terminal = document.createElement("container-terminal");
terminal.setAttribute("mirror", arguments[0]);
terminal.setAttribute("image", arguments[1]);
document.querySelector("container-terminal").replaceWith(terminal);
"""


def layout() -> Path:
    return fixture("configs") / "layout"


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="module")
def opened(work: Path) -> Iterator[Registry]:
    """A registry with no more CORS headers than it takes."""
    with registry(work / "open") as server:
        server.push(layout(), "exit-code", "team/app:v1")
        yield server


@pytest.fixture(scope="module")
def basic(work: Path) -> Iterator[Registry]:
    """A registry with htpasswd, which pages can reach only through a server in front of it."""
    with registry(work / "basic", users=USERS) as server:
        server.push(layout(), "exit-code", "team/app:latest", "alice:secret")
        yield server


@pytest.fixture(scope="module")
def tokens() -> Iterator[TokenServer]:
    public = frozenset({"team/public"})
    with token_server(USERS, identities=frozenset({"identity"}), public=public) as server:
        yield server


@pytest.fixture(scope="module")
def bearer(work: Path, tokens: TokenServer) -> Iterator[Registry]:
    with registry(work / "bearer", cors=FULL_CORS, tokens=tokens) as server:
        for name in ("team/app", "team/public"):
            server.push(layout(), "exit-code", f"{name}:latest", "alice:secret")
        yield server


def runs(page: Page, url: str) -> None:
    """Open a page and see its image run."""
    page.open(url)
    ran(page)


def ran(page: Page) -> None:
    page.wait_state("exited")
    assert "exit code 42" in page.visible


class TestRegistry:
    def test_with_the_fewest_headers(self, page: Page, site: str, opened: Registry) -> None:
        # As a whole percent-encoded, too.
        runs(page, f"{site}?image={opened.host.replace(':', '%3A')}%2Fteam%2Fapp%3Av1")

    def test_a_mirror(self, page: Page, site: str, opened: Registry) -> None:
        runs(page, f"{site}?mirror={opened.url}&image=registry.invalid/team/app:v1")
        # It may give another image under that name.
        assert f"The link to this page has the image read from: {opened.url}" in page.visible

    def test_a_proxy(self, page: Page, site: str, work: Path) -> None:
        with (
            registry(work / "behind", cors=NO_CORS, users=USERS) as server,
            forwarder(work / "forwarder") as proxy,
        ):
            server.push(layout(), "exit-code", "team/app:v1", "alice:secret")
            mirror, image = f"{server.host}={proxy.url}/{{url}}", f"{server.host}/team/app:v1"
            # Whoever made a link may read what passes through the proxy that it names.
            text = page.failure(f"{site}?mirror={quote(mirror)}&image={image}")
            assert "the page's address names is given no credentials" in text
            assert not page.script(f"return {FORM}")
            assert not any("GET /token" in line for line in proxy.requests)
            page.script(REPLACE, mirror, image)
            assert f"passes through {proxy.host}" in wait_form(page)
            sign_in(page, "alice", "secret")
            ran(page)

    def test_what_is_not_there(self, page: Page, site: str, opened: Registry) -> None:
        text = page.failure(f"{site}?image={opened.host}/team/app:v2")
        assert "manifest unknown" in text
        assert "v1" in text

    def test_no_permission_to_read(self, page: Page, site: str, work: Path) -> None:
        with registry(work / "closed", cors=NO_CORS) as server:
            server.push(layout(), "exit-code", "team/app:v1")
            text = page.failure(f"{site}?image={server.host}/team/app:v1")
        assert f"{server.url} is there" in text
        assert "no header Access-Control-Allow-Origin" in text
        assert 'Access-Control-Allow-Origin: ["*"]' in text
        assert "mirror" in text

    def test_permission_without_headers(self, page: Page, site: str, work: Path) -> None:
        # Such a server is a plain folder of files: it can be read, but not asked with headers.
        cors = {"Access-Control-Allow-Origin": ["*"]}
        with registry(work / "plain", cors=cors) as server:
            server.push(layout(), "exit-code", "team/app:v1")
            runs(page, f"{site}?image={server.host}/team/app:v1")


class TestBasic:
    def test_signing_in(self, page: Page, site: str, work: Path, basic: Registry) -> None:
        with registry_front(work / "front", basic.url) as front:
            page.open(f"{site}?image={front.host}/team/app")
            text = wait_form(page)
            assert f"Sign in to {front.host}" in text
            assert page.script("return document.activeElement.type") == "text"
            sign_in(page, "alice", "wrong")
            assert "refused" in wait_form(page, refused=True)
            assert page.script("return document.activeElement.type") == "password"
            sign_in(page, "alice", "secret")
            ran(page)
            # This tab remembers it, and another one does not.
            page.script("document.querySelector('container-terminal').open()")
            ran(page)
            page.open(f"{site}?image={front.host}/team/app")
            wait_form(page)
            page.script("document.querySelector('container-terminal').open()")
            wait_form(page)
            assert page.script("return document.querySelectorAll('.bm-credentials').length") == 1
            page.script(f"{FORM}.querySelector('button[type=button]').click()")
            page.failed()
            assert "no credentials were given" in page.visible
            assert not any("secret" in line for line in front.requests)

    def test_where_pages_may_not_send_credentials(
        self, page: Page, site: str, work: Path, basic: Registry
    ) -> None:
        text = page.failure(f"{site}?image={basic.host}/team/app")
        assert "OPTIONS" in text
        assert "location /v2/" in text
        # Chromium takes * for Authorization, as the standard does not; so this one allows all else.
        others = "Accept, Range, X-Browsermount"
        with registry_front(work / "others", basic.url, allow_headers=others) as front:
            page.open(f"{site}?image={front.host}/team/app")
            wait_form(page)
            sign_in(page, "alice", "secret")
            page.failed()
        assert "does not name Authorization, which * does not cover" in page.visible

    def test_redirects_get_no_credentials(
        self, fresh: Page, site: str, work: Path, basic: Registry
    ) -> None:
        blobs = work / "blobs"
        blobs.mkdir()
        for path in (work / "basic").rglob("blobs/sha256/*/*/data"):
            (blobs / path.parent.name).write_bytes(path.read_bytes())
        with (
            nginx(work / "closed", blobs, cors=False) as storage,
            registry_front(work / "redirecting", basic.url, blobs=storage.url) as front,
        ):
            fresh.open(f"{site}?image={front.host}/team/app")
            wait_form(fresh)
            sign_in(fresh, "alice", "secret")
            fresh.failed()
        assert "sends us on to another one" in fresh.visible
        assert "redirect:" in fresh.visible
        with (
            nginx(work / "storage", blobs) as storage,
            registry_front(work / "redirecting-2", basic.url, blobs=storage.url) as front,
        ):
            fresh.open(f"{site}?image={front.host}/team/app")
            wait_form(fresh)
            sign_in(fresh, "alice", "secret")
            ran(fresh)
            assert any("GET" in line and "Basic" in line for line in front.requests)
            requests = [line for line in storage.requests if line.startswith("GET")]
            assert len(requests) >= 2
            assert all(line.endswith('"-"') for line in requests)


class TestWhoGetsCredentials:
    def test_a_mirror_of_the_address_gets_none(
        self, page: Page, site: str, work: Path, basic: Registry
    ) -> None:
        with registry_front(work / "mirror", basic.url) as front:
            image = "ghcr.invalid/team/app"
            text = page.failure(f"{site}?mirror={front.url}&image={image}")
            assert "the page's address names is given no credentials" in text
            assert not page.script(f"return {FORM}")
            assert front.requests
            assert all(line.endswith('"-"') for line in front.requests)
            # A mirror of the page's own choice may ask: in its own name, not the registry's.
            page.script(REPLACE, front.url, image)
            text = wait_form(page)
            assert f"Sign in to {front.host}" in text
            assert f"is sent to {front.host}. " in text
            assert "ghcr.invalid" not in text
            sign_in(page, "alice", "secret")
            ran(page)

    def test_a_realm_with_the_name_of_another_server_is_not_believed(
        self, page: Page, site: str
    ) -> None:
        challenge = {"WWW-Authenticate": 'Basic realm="https://ghcr.io/token"'}
        with answering(lambda _: Answer(401, headers=challenge)) as server:
            page.open(f"{site}?image={server.host}/team/app")
            text = wait_form(page)
        assert f"is sent to {server.host}. " in text
        assert "ghcr.io" not in text

    def test_another_token_server_is_asked_about_anew(self, page: Page, site: str) -> None:
        with ExitStack() as stack:
            refusing = [stack.enter_context(answering(lambda _: Answer(401))) for _ in range(2)]
            given = iter(refusing)

            def answer(_: Request) -> Answer:
                challenge = f'Bearer realm="{next(given).url}token"'
                return Answer(401, headers={"WWW-Authenticate": challenge})

            server = stack.enter_context(answering(answer))
            page.open(f"{site}?image={server.host}/team/app")
            assert f"is sent to {refusing[0].host}, which the registry names" in wait_form(page)
            sign_in(page, "alice", "secret")
            # Refused, which it says at once; what was entered is not for the second one.
            wait_form(page, refused=True)
            sign_in(page, "alice", "other")
            wait_form(page, refused=True)
            assert any("authorization" in r.headers for r in refusing[0].requests)
            page.script("document.querySelector('container-terminal').open()")
            assert f"is sent to {refusing[1].host}, which the registry names" in wait_form(page)
            assert not any("authorization" in r.headers for r in refusing[1].requests)


class TestToken:
    @pytest.fixture(scope="class")
    def front(self, work: Path, bearer: Registry) -> Iterator[str]:
        with ExitStack() as stack:
            front = stack.enter_context(registry_front(work / "token-front", bearer.url))
            yield front.host

    def test_anonymous(self, page: Page, site: str, front: str) -> None:
        runs(page, f"{site}?image={front}/team/public")

    @pytest.mark.parametrize(("user", "secret"), [("alice", "secret"), ("", "identity")])
    def test_signing_in(
        self, page: Page, site: str, front: str, tokens: TokenServer, user: str, secret: str
    ) -> None:
        page.open(f"{site}?image={front}/team/app")
        text = wait_form(page)
        assert front in text
        assert tokens.url.split("/")[2] in text
        sign_in(page, user, "wrong")
        wait_form(page, refused=True)
        sign_in(page, user, secret)
        ran(page)

    def test_a_token_server_that_allows_no_header(self, page: Page, site: str, work: Path) -> None:
        with (
            token_server(USERS, allow_headers="X-Other") as strict,
            registry(work / "strict", cors=FULL_CORS, tokens=strict) as server,
            registry_front(work / "strict-front", server.url) as front,
        ):
            server.push(layout(), "exit-code", "team/app:latest", "alice:secret")
            page.open(f"{site}?image={front.host}/team/app")
            wait_form(page)
            sign_in(page, "alice", "wrong")
            wait_form(page, refused=True)
            sign_in(page, "alice", "secret")
            ran(page)


class TestLayout:
    @pytest.mark.parametrize("ranges", [True, False])
    def test_nginx(self, page: Page, site: str, work: Path, ranges: bool) -> None:
        with nginx(work / f"nginx-{ranges}", layout(), ranges=ranges) as server:
            runs(page, f"{site}?image={server.url}?tag=exit-code")

    def test_no_permission_to_read(self, page: Page, site: str, work: Path) -> None:
        with nginx(work / "nginx-closed", layout(), cors=False) as server:
            text = page.failure(f"{site}?image={server.url}#exit-code")
        assert "no header Access-Control-Allow-Origin" in text
