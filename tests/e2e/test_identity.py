"""Who the page says that its user is, when registries and images choose where it asks.

Cookies of 127.0.0.1 are the same at all its ports, so that each server here would get them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cli.test_reading import write
from tests.core.images import Layout, member, tar
from tests.e2e.browser import Page
from tests.servers.recording import Answer, Recorded, Request, answering, page_server

SITE = Path(__file__).resolve().parents[2] / "dist" / "site"
# The second is one that no script can see.
COOKIES = ("seen=by-scripts", "session=secret")


@pytest.fixture(scope="module")
def private(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of the page's own server that are for its user only."""
    folder = tmp_path_factory.mktemp("private")
    (folder / "token").write_text('{"token": "private"}')
    write(layout(), folder / "layout")
    return folder


def layout(**more: object) -> Layout:
    """An image that cannot run: what it asks for before is what counts."""
    made = Layout()
    made.add(tar(member("bin/sh", b"no program", mode=0o755)))
    return made


@pytest.fixture(scope="module")
def own(site: str, private: Path) -> Iterator[Recorded]:
    """The page's server, which knows its user by a cookie."""
    headers = {"Set-Cookie": f"{COOKIES[1]}; HttpOnly; Path=/"}
    with page_server(SITE, headers, private=private) as server:
        yield server


@pytest.fixture
def known(fresh: Page, own: Recorded) -> Page:
    """A browser that the page's server knows, and sends its cookies where nothing forbids it."""
    fresh.driver.get(f"{own.url}LICENSE.txt")
    fresh.script(f"document.cookie = {COOKIES[0]!r}")
    own.requests.clear()
    fresh.driver.get(f"{own.url}LICENSE.txt")
    assert all(cookie in own.asked("/LICENSE.txt")[0].headers["cookie"] for cookie in COOKIES)
    own.requests.clear()
    return fresh


def anonymous(server: Recorded, path: str) -> None:
    """See that a server was asked for something, and not told by whom."""
    requests = server.asked(path)
    assert requests, f"nobody has asked for {path}"
    for request in requests:
        assert "cookie" not in request.headers, request
        assert "authorization" not in request.headers, request


def registry_of(realm: Callable[[], str]) -> Callable[[Request], Answer]:
    """A registry that sends whoever comes to a token server of its choice."""

    def answer(request: Request) -> Answer:
        if request.path.startswith("/elsewhere"):
            return Answer(302, headers={"Location": realm()})
        if request.headers.get("authorization") == "Bearer private":
            return Answer(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')
        return Answer(401, headers={"WWW-Authenticate": f'Bearer realm="{realm()}"'})

    return answer


def test_a_token_realm_at_the_page_itself_gets_no_cookies(known: Page, own: Recorded) -> None:
    with answering(registry_of(lambda: f"{own.url}images/private/token")) as registry:
        known.failure(f"{own.url}?image={registry.host}/team/app")
        anonymous(own, "/images/private/token")
        # What the page's server answers is sent to the registry: it is for nobody in particular.
        assert not [r for r in registry.requests if "cookie" in r.headers]


def test_a_token_server_that_redirects_to_the_page_gets_no_cookies(
    known: Page, own: Recorded
) -> None:
    target = f"{own.url}images/private/token"
    with answering(registry_of(lambda: target)) as token_server:
        realm = f"{token_server.url}elsewhere"
        with answering(registry_of(lambda: realm)) as registry:
            known.failure(f"{own.url}?image={registry.host}/team/app")
        anonymous(token_server, "/elsewhere")
    anonymous(own, "/images/private/token")


@pytest.mark.parametrize("redirected", [False, True])
def test_layer_urls_at_the_page_itself_get_no_cookies(
    known: Page, own: Recorded, redirected: bool
) -> None:
    target = f"{own.url}images/private/secret-layer"
    made = layout()
    files = made.index()
    manifest = json.loads(files[f"blobs/{made.manifests[0]['digest'].replace(':', '/')}"])
    layer = manifest["layers"][0]
    del made.files[f"blobs/{layer['digest'].replace(':', '/')}"]

    def answer(request: Request) -> Answer:
        path = request.path.lstrip("/").partition("?")[0]
        if path == "elsewhere":
            return Answer(302, headers={"Location": target})
        found = files.get(path)
        return Answer(404) if found is None else Answer(200, found)

    with answering(answer) as server:
        layer["urls"] = [f"{server.url}elsewhere" if redirected else target]
        made.manifests = [made.document(manifest, manifest["mediaType"])]
        files.clear()
        files.update(made.index())
        known.failure(f"{own.url}?image={server.url}")
        anonymous(server, "/")
    anonymous(own, "/images/private/secret-layer")


def test_an_image_at_the_page_itself_is_read_without_cookies(known: Page, own: Recorded) -> None:
    known.failure(f"{own.url}?image=images/private/layout/")
    anonymous(own, "/images/private/layout/index.json")
    anonymous(own, "/images/private/layout/blobs/")


def test_an_image_that_redirects_to_the_page_is_read_without_cookies(
    known: Page, own: Recorded
) -> None:
    def answer(request: Request) -> Answer:
        return Answer(302, headers={"Location": f"{own.url}images/private/layout{request.path}"})

    with answering(answer) as server:
        known.failure(f"{own.url}?image={server.url}")
        anonymous(server, "/index.json")
    anonymous(own, "/images/private/layout/index.json")
    anonymous(own, "/images/private/layout/blobs/")


def test_finding_out_why_a_server_cannot_be_read_sends_no_cookies(
    known: Page, own: Recorded, private: Path
) -> None:
    # Probes have options of their own.
    with page_server(private, cors=False) as closed:
        assert "Access-Control-Allow-Origin" in known.failure(f"{own.url}?image={closed.url}")
        assert len(closed.asked("/index.json")) > 1
        anonymous(closed, "/")
