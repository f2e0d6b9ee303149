"""A token server for registries: distribution's token authentication specification."""

from __future__ import annotations

import base64
import json
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass
class TokenServer:
    """What a token server knows, and what it was asked.

    Attributes:
        users: Passwords by name. Each user may pull and push everything.
        identities: Identity tokens that stand for a user.
        public: Repositories that everybody may pull from.
        lifetime: Seconds that a token is valid.
        redirect: Where forms are sent on to, as no token server should.
        allow_headers: The request headers that pages may send.
        given: The tokens that were given.
    """

    users: Mapping[str, str]
    identities: frozenset[str] = frozenset()
    public: frozenset[str] = frozenset()
    lifetime: int = 300
    allow_headers: str = "Authorization"
    service: str = "registry for tests"
    issuer: str = "issuer for tests"
    url: str = ""
    redirect: str = ""
    given: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, self.issuer)])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        self.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        der = certificate.public_bytes(serialization.Encoding.DER)
        self._chain = [base64.b64encode(der).decode()]

    def token(self, user: str | None, scopes: list[str]) -> str:
        """Sign what a user, or nobody in particular, may do of what is asked for."""
        access = []
        for scope in scopes:
            kind, name, actions = scope.split(":")
            allowed = {"pull", "push"} if user else {"pull"} if name in self.public else set()
            access.append(
                {"type": kind, "name": name, "actions": sorted(allowed & set(actions.split(",")))}
            )
        now = datetime.now(UTC)
        claims = {
            "iss": self.issuer,
            "sub": user or "",
            "aud": self.service,
            "exp": now + timedelta(seconds=self.lifetime),
            "nbf": now - timedelta(seconds=10),
            "iat": now,
            "jti": str(uuid.uuid4()),
            "access": access,
        }
        return jwt.encode(claims, self._key, algorithm="ES256", headers={"x5c": self._chain})

    def user_of(self, authorization: str | None) -> str | None:
        """Return who an Authorization header is of, or None where it is wrong."""
        scheme, _, value = (authorization or "").partition(" ")
        name, _, password = base64.b64decode(value).decode().partition(":")
        right = scheme == "Basic" and self.users.get(name) == password
        return name if right else None


class _Handler(BaseHTTPRequestHandler):
    tokens: TokenServer

    def do_OPTIONS(self) -> None:
        self._answer(204, None)

    def do_GET(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        authorization = self.headers.get("Authorization")
        user = self.tokens.user_of(authorization)
        if authorization and user is None:
            self._answer(401, {"errors": [{"code": "UNAUTHORIZED"}]})
        else:
            self._give(user, query)

    def do_POST(self) -> None:
        if self.tokens.redirect:
            self.send_response(307)
            self.send_header("Location", self.tokens.redirect)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        body = self.rfile.read(int(self.headers["Content-Length"])).decode()
        form = parse_qs(body)
        kind = form["grant_type"][0]
        user = None
        if kind == "refresh_token" and form["refresh_token"][0] in self.tokens.identities:
            user = "identity"
        elif (
            kind == "password" and self.tokens.users.get(form["username"][0]) == form["password"][0]
        ):
            user = form["username"][0]
        if user is None:
            self._answer(401, {"error": "invalid_grant"})
        else:
            self._give(user, form)

    def _give(self, user: str | None, query: dict[str, list[str]]) -> None:
        if query.get("service") != [self.tokens.service]:
            self._answer(400, {"error": "another service"})
            return
        scopes = [part for scope in query.get("scope", []) for part in scope.split()]
        token = self.tokens.token(user, scopes)
        self.tokens.given.append(token)
        self._answer(200, {"token": token, "expires_in": self.tokens.lifetime})

    def _answer(self, status: int, document: Any) -> None:
        body = b"" if document is None else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", self.tokens.allow_headers)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def token_server(users: Mapping[str, str], **options: Any) -> Iterator[TokenServer]:
    """Run a token server; ``options`` are the attributes of :class:`TokenServer`."""
    tokens = TokenServer(users, **options)
    handler = type("Handler", (_Handler,), {"tokens": tokens})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        tokens.url = f"http://127.0.0.1:{server.server_port}/token"
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield tokens
        finally:
            server.shutdown()
            thread.join()
