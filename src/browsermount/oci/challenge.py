"""What a server wants to see before it answers: RFC 9110, section 11.6.1."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from browsermount import limits

_TOKEN = r"[!#$%&'*+.^_`|~0-9A-Za-z-]+"
_PARAMETER = re.compile(rf'({_TOKEN})\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]+))')
# A scheme, and the value without a name that some have behind it.
_SCHEME = re.compile(rf"({_TOKEN})(?:\s+[A-Za-z0-9._~+/-]+=*(?=\s*(?:,|$)))?")
_SEPARATOR = re.compile(r"[\s,]*")


@dataclass(frozen=True, slots=True)
class Challenge:
    """One way to identify; names are in lower case."""

    scheme: str
    parameters: dict[str, str] = field(default_factory=dict)


def parse_challenges(header: str) -> list[Challenge]:
    """Read a ``WWW-Authenticate`` header; what cannot be read is left out."""
    header = header[: limits.MAX_CHALLENGE]
    found: list[Challenge] = []
    position = 0
    while True:
        match = _SEPARATOR.match(header, position)
        position = match.end() if match else position
        if found and (match := _PARAMETER.match(header, position)):
            quoted, plain = match[2], match[3]
            value = re.sub(r"\\(.)", r"\1", quoted) if quoted is not None else plain
            found[-1].parameters.setdefault(match[1].lower(), value)
        elif match := _SCHEME.match(header, position):
            found.append(Challenge(match[1].lower()))
        else:
            return found
        position = match.end()
