"""What a web server says to a container's clients: a greeting, data, the digest of what came."""

from __future__ import annotations

import hashlib
import random

from tests.servers.recording import Answer, Request

DATA = random.Random(1).randbytes(3_000_000)
DIGEST = hashlib.sha256(DATA).hexdigest()
"""Of :data:`DATA`."""


def answer(request: Request) -> Answer:
    """Answer a request, in a way that pages may read unless it is for /closed."""
    if request.method == "POST":
        return Answer(body=hashlib.sha256(request.body).hexdigest().encode() + b"\n")
    return Answer(
        body=DATA if request.path == "/data" else b"hello\n", cors=request.path != "/closed"
    )
