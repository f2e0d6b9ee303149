"""Web servers for tests, each an origin of its own."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

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
