"""Credentials for a registry, and how they are asked for."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a person identifies with.

    Attributes:
        username: The account's name; empty where ``secret`` is an identity token.
        secret: The password, access token or identity token.
    """

    username: str
    secret: str = field(repr=False)

    def basic(self) -> str:
        """Return the value of an ``Authorization`` header: RFC 7617."""
        pair = f"{self.username}:{self.secret}".encode()
        return f"Basic {base64.b64encode(pair).decode()}"


@dataclass(frozen=True, slots=True)
class CredentialRequest:
    """For what credentials are wanted.

    Attributes:
        registry: The registry's host, with the port where there is one. The credentials go
            nowhere else than there and to the token server that it names.
        realm: What the registry calls the place that they are for, or its token server's URL;
            may be empty.
        refused: Whether the credentials that were given last were wrong.
        via: The host of the proxy that they pass through and that can read them; empty where
            there is none. A provider must not use it without the person's consent.
        mirrored: Whether a mirror or proxy asks instead of the registry that the image's name
            says. Where somebody else has chosen that, a provider must give nothing.
    """

    registry: str
    realm: str
    refused: bool
    via: str = ""
    mirrored: bool = False


class CredentialProvider(Protocol):
    """Knows credentials, or asks a person for them."""

    async def __call__(self, request: CredentialRequest) -> Credentials | None:
        """Return credentials, or None to go on without."""
