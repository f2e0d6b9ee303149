"""Attacks on what tells servers who the user is."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from browsermount.fetch.native import HttpxFetcher


def test_neither_cookies_nor_netrc_are_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login alice password secret\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    requests: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        redirect = b"Location: /next\r\n" if len(requests) == 1 else b""
        status = b"302 Found" if redirect else b"200 OK"
        writer.write(
            b"HTTP/1.1 "
            + status
            + b"\r\nSet-Cookie: id=1; Path=/\r\n"
            + redirect
            + b"Content-Length: 0\r\nConnection: close\r\n\r\n"
        )
        await writer.drain()
        writer.close()

    async def ask() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, HttpxFetcher() as fetcher:
            for _ in range(2):
                response = await fetcher.get(f"http://127.0.0.1:{port}/")
                await response.aclose()

    asyncio.run(ask())
    assert len(requests) == 3
    for request in requests:
        assert b"cookie:" not in request.lower()
        assert b"authorization:" not in request.lower()
