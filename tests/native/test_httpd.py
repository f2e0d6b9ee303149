"""The local web server over real HTTP, and the native fetch back-end against it."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from browsermount.errors import NetworkError
from browsermount.fetch import read_all
from browsermount.fetch.native import HttpxFetcher
from browsermount.httpd import address, listen, main
from browsermount.mount import mount

from ..core.client import Client
from ..core.images import Layout, member, tar
from ..servers import served


@pytest.fixture
def site(tmp_path: Path) -> Iterator[str]:
    folder = tmp_path / "site"
    folder.mkdir()
    (folder / "index.html").write_text("<p>page")
    (folder / "data.bin").write_bytes(bytes(range(256)))
    (folder / "app.mjs").write_text("export {}")
    (folder / "x.wasm").write_bytes(b"\0asm")
    (tmp_path / "secret").write_text("secret")
    (folder / "link").symlink_to(tmp_path / "secret")
    with served(folder) as url:
        yield url


def test_pages_and_types(site: str) -> None:
    assert httpx.get(site).text == "<p>page"
    assert httpx.get(f"{site}app.mjs").headers["content-type"].startswith("text/javascript")
    assert httpx.get(f"{site}x.wasm").headers["content-type"] == "application/wasm"
    assert httpx.get(f"{site}x.wasm").headers["cache-control"] == "no-cache"
    assert httpx.get(f"{site}no").status_code == 404


def test_range(site: str) -> None:
    response = httpx.get(f"{site}data.bin", headers={"Range": "bytes=10-19"})
    assert response.status_code == 206
    assert response.content == bytes(range(10, 20))
    assert response.headers["content-range"] == "bytes 10-19/256"
    assert httpx.get(f"{site}data.bin", headers={"Range": "bytes=999-"}).status_code == 416


def test_cors(site: str, tmp_path: Path) -> None:
    headers = {"Origin": "https://page.example"}
    response = httpx.get(f"{site}data.bin", headers=headers)
    assert response.headers["access-control-allow-origin"] == "*"
    assert "content-range" in response.headers["access-control-expose-headers"].lower()
    preflight = httpx.options(
        f"{site}data.bin",
        headers={
            **headers,
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "range",
        },
    )
    assert preflight.status_code == 200
    assert "range" in preflight.headers["access-control-allow-headers"]
    with served(tmp_path / "site", cors=False) as closed:
        response = httpx.get(f"{closed}data.bin", headers=headers)
        assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize("path", ["link", "../secret", "%2e%2e/secret", "..%2fsecret"])
def test_nothing_outside_is_served(site: str, path: str) -> None:
    with httpx.Client() as client:
        response = client.get(httpx.URL(site).copy_with(raw_path=f"/{path}".encode()))
    assert response.status_code == 404


def test_an_image_over_http(tmp_path: Path) -> None:
    layout = Layout().add(tar(member("hello", b"world" * 100_000)))
    folder = tmp_path / "image"
    for name, data in layout.index().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)

    async def read(url: str) -> bytes:
        async with HttpxFetcher() as fetcher:
            mounted = await mount(f"{url}images/it", fetcher=fetcher)
        return Client(mounted.tree.root).read(b"rootfs", b"hello")

    with served(tmp_path, it=folder) as url:
        assert asyncio.run(read(url)) == b"world" * 100_000


def test_a_server_that_is_not_there() -> None:
    bound = listen("127.0.0.1", 0)
    url = address(bound)
    bound.close()

    async def read() -> None:
        async with HttpxFetcher() as fetcher:
            await read_all(await fetcher.get(url), 100)

    with pytest.raises(NetworkError, match="cannot reach"):
        asyncio.run(read())


def test_a_connection_that_breaks() -> None:
    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nstart")
        await writer.drain()
        writer.close()

    async def read() -> None:
        async with (
            await asyncio.start_server(accept, "127.0.0.1", 0) as server,
            HttpxFetcher() as f,
        ):
            port = server.sockets[0].getsockname()[1]
            await read_all(await f.get(f"http://127.0.0.1:{port}/"), 10_000)

    with pytest.raises(NetworkError, match="broke"):
        asyncio.run(read())


def test_a_port_that_is_taken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with listen("127.0.0.1", 0) as bound:
        port = bound.getsockname()[1]
        assert main([str(tmp_path), "--port", str(port)]) == 1
    assert "--port" in capsys.readouterr().err
    assert main([str(tmp_path / "no")]) == 1
    assert "no folder" in capsys.readouterr().err


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("it works")
    command = [sys.executable, "-m", "browsermount.httpd", str(tmp_path), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[-1]
        try:
            assert httpx.get(url).text == "it works"
        finally:
            process.terminate()
