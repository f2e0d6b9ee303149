"""Credentials for a registry, and how they are asked for."""

from __future__ import annotations

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


@dataclass(frozen=True, slots=True)
class CredentialRequest:
    """For what credentials are wanted.

    Attributes:
        registry: The registry's host, with the port where there is one; they go nowhere else
            than there and to the token server that it names.
        realm: What the server calls the place that they are for; may be empty.
        refused: Whether the credentials that were given last were wrong.
    """

    registry: str
    realm: str
    refused: bool


class CredentialProvider(Protocol):
    """Knows credentials, or asks a person for them."""

    async def __call__(self, request: CredentialRequest) -> Credentials | None:
        """Return credentials, or None to go on without."""
