"""Web servers of files, within the process of the test."""

from __future__ import annotations

import functools
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import uvicorn

from browsermount.httpd import address, application, listen


@contextmanager
def served(directory: Path, *, cors: bool = True, **images: Path) -> Iterator[str]:
    bound = listen("127.0.0.1", 0)
    server = uvicorn.Server(
        uvicorn.Config(application(directory, images, cors=cors), log_level="warning")
    )
    thread = threading.Thread(target=server.run, kwargs={"sockets": [bound]})
    thread.start()
    try:
        yield address(bound)
    finally:
        server.should_exit = True
        thread.join()


class _Breaking(SimpleHTTPRequestHandler):
    """Breaks the connection in the middle of every large file."""

    limit = 1 << 20

    def end_headers(self) -> None:
        self.send_header("Access-Control-Allow-Origin", "*")
        super().end_headers()

    def copyfile(self, source: Any, outputfile: Any) -> None:
        outputfile.write(source.read(self.limit))
        if source.read(1):
            self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def breaking(directory: Path) -> Iterator[str]:
    """Serve a directory, as a server does that goes away while it is read from."""
    handler = functools.partial(_Breaking, directory=str(directory))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()
