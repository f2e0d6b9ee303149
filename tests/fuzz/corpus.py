"""Inputs that failed once, or are easy to get wrong: files ``TARGET-DIGEST``, tried each time."""

from __future__ import annotations

import hashlib
from pathlib import Path

_CORPUS = Path(__file__).parent / "corpus"


def kept(name: str) -> list[Path]:
    """Return the inputs of a target."""
    return sorted(path for path in _CORPUS.iterdir() if path.name.rpartition("-")[0] == name)


def keep(name: str, data: bytes) -> Path:
    """Add an input of a target, and return its path."""
    path = _CORPUS / f"{name}-{hashlib.sha256(data).hexdigest()[:16]}"
    path.write_bytes(data)
    return path
