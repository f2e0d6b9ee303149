"""Debian's nginx, serving files or standing in front of a registry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.program import Program, free_port

# One process, which can be killed as a whole; nothing outside the directory is written.
_CONFIG = """\
daemon off;
master_process off;
pid {work}/nginx.pid;
error_log {work}/error.log;
events {{}}
http {{
    access_log {work}/access.log combined;
    log_format authorization '$request_method $request_uri "$http_authorization"';
    access_log {work}/requests.log authorization;
    types {{ application/json json; }}
    default_type application/octet-stream;
    client_body_temp_path {work}/body;
    proxy_temp_path {work}/proxy;
    fastcgi_temp_path {work}/fastcgi;
    uwsgi_temp_path {work}/uwsgi;
    scgi_temp_path {work}/scgi;
    client_max_body_size 0;
    server {{
        listen 127.0.0.1:{port};
{server}
    }}
}}
"""


class Nginx(Program):
    """A running nginx; ``requests`` are those that it has answered."""

    def __init__(self, work: Path, server: str) -> None:
        self.work = work
        port = free_port()
        config = work / "nginx.conf"
        config.write_text(_CONFIG.format(work=work, port=port, server=server))
        command = ["/usr/sbin/nginx", "-p", str(work), "-c", str(config), "-e", "stderr"]
        super().__init__(command, port, work / "output.log")

    @property
    def requests(self) -> list[str]:
        """Lines of method, path and quoted Authorization header (- for none)."""
        return (self.work / "requests.log").read_text().splitlines()

    @property
    def answers(self) -> list[tuple[str, int, int]]:
        """Path, status and size of the body in bytes of each answer; those under way are not in."""
        lines = (self.work / "access.log").read_text().splitlines()
        found = (re.search(r'"[A-Z]+ (\S+) [^"]*" (\d+) (\d+)', line) for line in lines)
        return [(m[1], int(m[2]), int(m[3])) for m in found if m]


@contextmanager
def _running(work: Path, server: str) -> Iterator[Nginx]:
    work.mkdir(parents=True, exist_ok=True)
    nginx = Nginx(work, server)
    nginx.start()
    try:
        yield nginx
    finally:
        nginx.kill()


@contextmanager
def nginx(
    work: Path,
    directory: Path,
    *,
    cors: bool = True,
    ranges: bool = True,
    rate: str | None = None,
) -> Iterator[Nginx]:
    """Serve a directory.

    Args:
        work: A directory of the server's own.
        directory: What is served.
        cors: Whether pages of other origins may read from it.
        ranges: Whether it answers requests for a part of a file with that part.
        rate: How many bytes of a second each answer gets, such as ``200k``.
    """
    lines = [f"root {directory};"]
    if cors:
        lines += [
            "add_header Access-Control-Allow-Origin * always;",
            'add_header Access-Control-Expose-Headers "Content-Range, ETag" always;',
        ]
    if not ranges:
        lines += ["max_ranges 0;"]
    if rate is not None:
        lines += [f"limit_rate {rate};"]
    with _running(work, "\n".join(f"        {line}" for line in lines)) as server:
        yield server


@contextmanager
def forwarder(work: Path) -> Iterator[Nginx]:
    """Forward what is asked for at ``/URL``, and let pages read from it."""
    server = """
        merge_slashes off;
        location / {
            if ($request_method = OPTIONS) {
                add_header Access-Control-Allow-Origin *;
                add_header Access-Control-Allow-Headers "Authorization, Accept, Range";
                return 204;
            }
            add_header Access-Control-Allow-Origin * always;
            add_header Access-Control-Expose-Headers "Content-Range, WWW-Authenticate" always;
            rewrite ^/(http://[^/]+)(/.*)$ $2 break;
            proxy_pass $1;
        }
    """
    with _running(work, server) as running:
        yield running


@contextmanager
def registry_front(
    work: Path,
    registry: str,
    *,
    allow_headers: str = "Authorization, Accept, Range",
    blobs: str | None = None,
    rate: str | None = None,
) -> Iterator[Nginx]:
    """Stand in front of a registry and answer the browser's questions for permission.

    Args:
        work: A directory of the server's own.
        registry: The registry's URL.
        allow_headers: The request headers that pages may send.
        blobs: The URL of another server that blobs are redirected to.
        rate: How many bytes of a second each answer gets, such as ``200k``.
    """
    permission = f"""
            if ($request_method = OPTIONS) {{
                add_header Access-Control-Allow-Origin *;
                add_header Access-Control-Allow-Methods "GET, HEAD";
                add_header Access-Control-Allow-Headers "{allow_headers}";
                return 204;
            }}"""
    redirect = ""
    if blobs is not None:
        redirect = f"""
        location ~ ^/v2/.*/blobs/sha256:(?<hex>[0-9a-f]+)$ {{{permission}
            add_header Access-Control-Allow-Origin * always;
            if ($request_method = GET) {{ return 307 {blobs}/$hex; }}
            proxy_pass {registry};
        }}"""
    server = f"""
        location / {{{permission}
            proxy_pass {registry};
            proxy_set_header Host $http_host;
            {f"limit_rate {rate};" if rate else ""}
        }}{redirect}
    """
    with _running(work, server) as running:
        yield running
