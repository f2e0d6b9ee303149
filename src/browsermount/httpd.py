"""A local web server for the page and for images: static files, with Range and CORS.

Run it with ``python -m browsermount.httpd DIR``.
"""

from __future__ import annotations

import argparse
import mimetypes
import socket
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.responses import Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

DEFAULT_PORT = 8080

# What the system's own list may lack or have wrong; modules and Wasm need the right type.
_TYPES = {
    ".js": "text/javascript",
    ".mjs": "text/javascript",
    ".wasm": "application/wasm",
    ".json": "application/json",
    ".whl": "application/zip",
    ".gz": "application/gzip",
    ".zst": "application/zstd",
}


class _Files(StaticFiles):
    """Static files that a browser asks about each time, as they are being worked on."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "no-cache"
        return response


def application(
    directory: Path, images: Mapping[str, Path] | None = None, *, cors: bool = True
) -> Starlette:
    """Return an ASGI application that serves a directory, and images below ``/images/``.

    Args:
        directory: What is served at ``/``; symlinks that lead out of it are not followed.
        images: Further OCI layouts, served at ``/images/<name>/``.
        cors: Whether pages of other origins may read what is served.
    """
    for suffix, kind in _TYPES.items():
        mimetypes.add_type(kind, suffix)
    routes = [
        Mount(f"/images/{name}", _Files(directory=path)) for name, path in (images or {}).items()
    ]
    routes.append(Mount("/", _Files(directory=directory, html=True)))
    middleware = [
        Middleware(
            CORSMiddleware,
            allow_origins=["*"],
            allow_methods=["GET", "HEAD"],
            allow_headers=["*"],
            expose_headers=["Content-Range", "Content-Length", "ETag"],
        )
    ]
    return Starlette(routes=routes, middleware=middleware if cors else [])


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket; port 0 takes any that is free.

    Raises:
        OSError: The address cannot be had, for example since the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.create_server((host, port), family=family)
    # Connections inherit it. Without it a small answer takes 40 ms: its body waits until the
    # other side has acknowledged the headers. asyncio sees to that for its own sockets only.
    bound.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return bound


def address(bound: socket.socket) -> str:
    """Return the URL at which a bound socket is reached."""
    host, port = bound.getsockname()[:2]
    return f"http://{f'[{host}]' if ':' in host else host}:{port}/"


def serve(app: Starlette, bound: socket.socket) -> None:
    """Serve until the process is told to stop."""
    config = uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run(sockets=[bound])


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the server as a command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m browsermount.httpd",
        description="Serve a folder on this machine, with Range and CORS.",
    )
    parser.add_argument("directory", type=Path, help="what to serve, such as a built site")
    parser.add_argument("--host", default="127.0.0.1", help="default: this machine only")
    parser.add_argument(
        "--port", type=int, default=DEFAULT_PORT, help="default: %(default)s; 0 takes a free one"
    )
    parser.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="NAME=DIR",
        help="serve an OCI image layout at images/NAME; may be repeated",
    )
    parser.add_argument("--no-cors", action="store_true", help="send no CORS headers")
    options = parser.parse_args(arguments)
    images: dict[str, Path] = {}
    for text in options.image:
        name, equals, path = text.partition("=")
        if not equals or not name or "/" in name:
            parser.error(f"--image takes NAME=DIR, not {text!r}")
        images[name] = Path(path)
    for path in (options.directory, *images.values()):
        if not path.is_dir():
            print(f"There is no folder {path}.", file=sys.stderr)
            return 1
    app = application(options.directory, images, cors=not options.no_cors)
    try:
        bound = listen(options.host, options.port)
    except (OSError, OverflowError) as error:
        print(
            f"Cannot listen on {options.host}, port {options.port}: {error}.\n"
            "Choose another port with --port, or let --port 0 find a free one.",
            file=sys.stderr,
        )
        return 1
    print(f"Serving {options.directory} at {address(bound)}", flush=True)
    for name in images:
        print(f"  {address(bound)}?image=images/{name}/", flush=True)
    serve(app, bound)
    return 0


if __name__ == "__main__":
    sys.exit(main())
