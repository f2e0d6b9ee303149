"""Numbers of bytes, as people read and write them."""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+)([bkmg]?)(?:i?b)?", re.IGNORECASE)
_UNITS = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def human_size(size: int) -> str:
    """Return a number of bytes as a person reads it, such as ``45.9 MiB``."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if amount < 1024:
            return f"{size} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1024
    return f"{amount:.1f} GiB"


def read_size(text: str) -> int:
    """Return the number of bytes that a person means, by docker's units: ``512m``, ``1g``.

    Raises:
        ValueError: It is no size.
    """
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{text!r} is not a size such as 512m or 1g")
    return int(match[1]) * _UNITS[match[2].lower()]
