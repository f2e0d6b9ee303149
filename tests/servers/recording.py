"""Servers that take note of what they are asked: one of the page, and one with made-up answers."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import uvicorn
from starlette.datastructures import Headers, MutableHeaders

from browsermount.httpd import address, application, listen


@dataclass(frozen=True)
class Request:
    """What a server was asked: ``headers`` by their names in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes = b""


@dataclass
class Answer:
    """What a server says; ``cors`` is whether all pages may read it."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    cors: bool = True


class Recorded:
    """A server that runs.

    Attributes:
        url: Its address, with a slash at the end.
        requests: What it was asked.
    """

    def __init__(self) -> None:
        self.url = ""
        self.requests: list[Request] = []

    @property
    def host(self) -> str:
        return self.url.split("/")[2]

    @property
    def port(self) -> int:
        return int(self.host.split(":")[1])

    def asked(self, path: str) -> list[Request]:
        """Return the requests for what is below a path, without the questions for permission."""
        return [r for r in self.requests if r.path.startswith(path) and r.method != "OPTIONS"]


@contextmanager
def page_server(
    directory: Path, headers: Mapping[str, str] | None = None, *, cors: bool = True, **images: Path
) -> Iterator[Recorded]:
    """Serve a site as ``served`` does.

    Args:
        directory: The site.
        headers: What all answers have beside their own headers.
        cors: Whether pages of other origins may read from it.
        images: Further directories, below ``/images/``.
    """
    record = Recorded()
    app = application(directory, images, cors=cors)

    async def recording(scope: Any, receive: Any, send: Any) -> None:
        body = b""

        async def receive_too() -> Any:
            nonlocal body
            message = await receive()
            body += message.get("body", b"")
            return message

        async def send_more(message: Any) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(headers or {})
            await send(message)

        if scope["type"] != "http":
            await app(scope, receive, send)
            return
        if scope["method"] == "POST":
            while (await receive_too()).get("more_body"):
                pass
        found = Headers(scope=scope)
        record.requests.append(Request(scope["method"], scope["path"], dict(found), body))
        await app(scope, receive, send_more)

    bound = listen("127.0.0.1", 0)
    server = uvicorn.Server(uvicorn.Config(recording, log_level="warning"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    record.url = address(bound)
    try:
        yield record
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def answering(answer: Callable[[Request], Answer]) -> Iterator[Recorded]:
    """Run a server that says what ``answer`` makes up."""
    record = Recorded()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers.get("content-length", "0")))
            request = Request(self.command, self.path, headers, body)
            record.requests.append(request)
            said = Answer(204) if self.command == "OPTIONS" else answer(request)
            self.send_response(said.status)
            for name in ("Origin", "Headers") if said.cors else ():
                self.send_header(f"Access-Control-Allow-{name}", "*")
            self.send_header("Access-Control-Expose-Headers", "WWW-Authenticate")
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(said.body)

        do_HEAD = do_OPTIONS = do_POST = do_GET

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        record.url = f"http://127.0.0.1:{server.server_port}/"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield record
        finally:
            server.shutdown()
            thread.join()
