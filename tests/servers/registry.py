"""Debian's docker-registry: open, with htpasswd, or behind a token server."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bcrypt
import httpx

from tests.servers.program import Program, free_port
from tests.servers.tokens import TokenServer

_INDEX = "application/vnd.oci.image.index.v1+json"

NO_CORS: Mapping[str, list[str]] = {}
MINIMAL_CORS = {
    "Access-Control-Allow-Origin": ["*"],
    "Access-Control-Allow-Headers": ["*"],
    "Access-Control-Expose-Headers": ["Content-Range"],
    "X-Content-Type-Options": ["nosniff"],
}
"""What pages need at least of a registry that wants no credentials."""
FULL_CORS = {
    **MINIMAL_CORS,
    "Access-Control-Expose-Headers": [
        "Content-Range",
        "Docker-Content-Digest",
        "WWW-Authenticate",
    ],
}


class Registry(Program):
    """A running registry."""

    def set_users(self, users: Mapping[str, str]) -> None:
        """Let these be the users of a registry that has some, with their passwords."""
        lines = [
            f"{name}:{bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)).decode()}\n"
            for name, password in users.items()
        ]
        self.log.with_name("htpasswd").write_text("".join(lines))

    def push(self, layout: Path, tag: str, name: str, credentials: str | None = None) -> None:
        """Let skopeo push an image, all platforms of it.

        Args:
            layout: An OCI image layout.
            tag: Which image of it; empty for the only one.
            name: Repository and tag that it gets.
            credentials: ``user:password``.
        """
        command = ["skopeo", "--insecure-policy", "copy", "--quiet", "--all", "--preserve-digests"]
        command += ["--dest-tls-verify=false"]
        command += [f"--dest-creds={credentials}"] if credentials else ["--dest-no-creds"]
        command += [f"oci:{layout}:{tag}", f"docker://{self.host}/{name}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    def push_index(self, layout: Path, name: str) -> None:
        """Push all images of a layout as one index, which may be nested as skopeo has none.

        Args:
            layout: An OCI image layout.
            name: Repository and tag that the layout's own index gets.
        """
        repository, _, tag = name.partition(":")
        with httpx.Client(base_url=f"{self.url}/v2/{repository}/") as client:
            for path in (layout / "blobs" / "sha256").iterdir():
                upload = client.post("blobs/uploads/").raise_for_status().headers["location"]
                digest = {"digest": f"sha256:{path.name}"}
                url = httpx.URL(upload).copy_merge_params(digest)
                client.put(url, content=path.read_bytes()).raise_for_status()
            self._put(client, layout, (layout / "index.json").read_bytes(), _INDEX, tag)

    def _put(
        self, client: httpx.Client, layout: Path, document: bytes, media_type: str, version: str
    ) -> None:
        for child in json.loads(document).get("manifests", []):
            content = layout.joinpath("blobs", *child["digest"].split(":")).read_bytes()
            self._put(client, layout, content, child["mediaType"], child["digest"])
        headers = {"Content-Type": media_type}
        url = f"manifests/{version}"
        client.put(url, content=document, headers=headers).raise_for_status()


@contextmanager
def registry(
    work: Path,
    *,
    cors: Mapping[str, list[str]] = MINIMAL_CORS,
    users: Mapping[str, str] | None = None,
    tokens: TokenServer | None = None,
    remote: str | None = None,
) -> Iterator[Registry]:
    """Run a registry.

    Args:
        work: A directory of its own, with what is pushed.
        cors: The headers that it adds to all answers.
        users: Passwords by name, for HTTP's Basic scheme.
        tokens: Who gives tokens for it, for the Bearer scheme.
        remote: The URL of the registry that it is a cache of.
    """
    work.mkdir(parents=True, exist_ok=True)
    port = free_port()
    config: dict[str, Any] = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": True}, "level": "warn"},
        "storage": {"filesystem": {"rootdirectory": str(work / "data")}},
        "http": {"addr": f"127.0.0.1:{port}", "headers": dict(cors)},
    }
    if users is not None:
        config["auth"] = {"htpasswd": {"realm": "tests", "path": str(work / "htpasswd")}}
    if tokens is not None:
        (work / "tokens.pem").write_bytes(tokens.certificate)
        config["auth"] = {
            "token": {
                "realm": tokens.url,
                "service": tokens.service,
                "issuer": tokens.issuer,
                "rootcertbundle": str(work / "tokens.pem"),
            }
        }
    if remote is not None:
        config["proxy"] = {"remoteurl": remote}
    # JSON is YAML, too.
    (work / "config.yml").write_text(json.dumps(config))
    command = ["docker-registry", "serve", str(work / "config.yml")]
    program = Registry(command, port, work / "registry.log")
    if users is not None:
        program.set_users(users)
    program.start()
    try:
        yield program
    finally:
        program.kill()
