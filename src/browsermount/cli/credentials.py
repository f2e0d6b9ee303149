"""Credentials as docker keeps them: in its config.json, or with a credential helper.

https://docs.docker.com/reference/cli/docker/login/
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import json
import os
import shutil
from pathlib import Path
from typing import Any

from browsermount.errors import BrowsermountError
from browsermount.oci.credentials import CredentialRequest, Credentials
from browsermount.reference import DOCKER_HUB

_HUB_KEY = "https://index.docker.io/v1/"
_HUB_HOSTS = (DOCKER_HUB, "index.docker.io", "registry-1.docker.io")
_TOKEN_USER = "<token>"
_NOT_FOUND = "credentials not found in native keychain"


class InvalidCredentials(BrowsermountError):
    """Docker's configuration, or a credential helper, cannot be used."""

    code = "invalid-credentials"


class DockerCredentials:
    """A :class:`browsermount.oci.credentials.CredentialProvider` that asks nobody.

    Args:
        path: The configuration; by default where docker has it.
    """

    def __init__(self, path: Path | None = None) -> None:
        directory = os.environ.get("DOCKER_CONFIG") or Path.home() / ".docker"
        self._path = path or Path(directory) / "config.json"

    async def __call__(self, request: CredentialRequest) -> Credentials | None:
        """Return what docker would use for a registry, or None.

        Raises:
            InvalidCredentials: The configuration or the credential helper cannot be used.
        """
        if request.refused or request.via:
            return None  # there are no others, and nobody to ask whether a proxy may have them
        config = self._config()
        key = _HUB_KEY if request.registry in _HUB_HOSTS else request.registry
        helper = _text(_object(config, "credHelpers"), key) or _text(config, "credsStore")
        if helper:
            return await _ask(helper, key)
        for server, entry in _object(config, "auths").items():
            if _host(server) == _host(key) and isinstance(entry, dict):
                return self._entry(entry)
        return None

    def _config(self) -> dict[str, Any]:
        try:
            config = json.loads(self._path.read_bytes())
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            raise InvalidCredentials(f"cannot read {self._path}: {error}") from error
        return config if isinstance(config, dict) else {}

    def _entry(self, entry: dict[str, Any]) -> Credentials | None:
        if token := _text(entry, "identitytoken"):
            return Credentials("", token)
        username, password = _text(entry, "username"), _text(entry, "password")
        if auth := _text(entry, "auth"):
            try:
                username, colon, password = base64.b64decode(auth).decode().partition(":")
            except (binascii.Error, UnicodeDecodeError):
                colon = ""
            if not colon:
                raise InvalidCredentials(
                    f"{self._path} holds credentials that cannot be read",
                    hint="Log in once more, with: docker login",
                )
            # Docker's own writer pads with zeros.
            password = password.rstrip("\0")
        return Credentials(username, password) if username and password else None


async def _ask(helper: str, key: str) -> Credentials | None:
    """Ask a credential helper: https://github.com/docker/docker-credential-helpers."""
    name = f"docker-credential-{helper}"
    program = shutil.which(name)
    if program is None:
        raise InvalidCredentials(
            f"docker's configuration asks for {name}, which is not on PATH",
            hint="Install it, or change credsStore and credHelpers in ~/.docker/config.json.",
        )
    process = await asyncio.create_subprocess_exec(
        program,
        "get",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    output, errors = await process.communicate(key.encode())
    if process.returncode:
        # Helpers say what is wrong on standard output.
        said = (output or errors).decode(errors="replace").strip()
        if _NOT_FOUND in said:
            return None
        raise InvalidCredentials(f"{name} has failed: {said or process.returncode}")
    try:
        answer = json.loads(output)
        username, secret = str(answer["Username"]), str(answer["Secret"])
    except (ValueError, KeyError, TypeError):
        raise InvalidCredentials(f"{name} gave an answer that is not understood") from None
    if not secret:
        return None
    return Credentials("" if username == _TOKEN_USER else username, secret)


def _host(server: str) -> str:
    """Return the host of a key of docker's: it may be a URL."""
    return server.removeprefix("https://").removeprefix("http://").partition("/")[0]


def _object(config: dict[str, Any], key: str) -> dict[str, Any]:
    value = config.get(key)
    return value if isinstance(value, dict) else {}


def _text(config: dict[str, Any], key: str) -> str:
    value = config.get(key)
    return value if isinstance(value, str) else ""
