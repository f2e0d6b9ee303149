"""Names and variants of CPU architectures, read and ordered as containerd does.

https://pkg.go.dev/github.com/containerd/platforms
"""

from __future__ import annotations

import re

_ARCHITECTURES = {
    "i386": ("386", ""),
    "i686": ("386", ""),
    "x86_64": ("amd64", None),
    "x86-64": ("amd64", None),
    "aarch64": ("arm64", None),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
}
"""Other names of architectures, with the variant that each of them means; None for any."""

_DEFAULTS = {"amd64": "v1", "arm": "v7", "arm64": "v8"}
"""The variant that is meant where none is written, for architectures that have an order."""

_VERSION = re.compile(r"v?([0-9]{1,3})(?:\.([0-9]{1,3}))?")


def normalize(architecture: str, variant: str | None) -> tuple[str, str]:
    """Return an architecture and variant by the names that Go has for them.

    Args:
        architecture: Such as ``arm64``, ``aarch64`` or ``armhf``.
        variant: Such as ``v8`` or ``8``; None or empty for the one that is meant without.
    """
    architecture, variant = architecture.lower(), (variant or "").lower()
    if architecture in _ARCHITECTURES:
        architecture, meant = _ARCHITECTURES[architecture]
        variant = variant if meant is None else meant
    variant = variant or _DEFAULTS.get(architecture, "")
    if architecture in _DEFAULTS and (version := _VERSION.fullmatch(variant)):
        minor = int(version[2] or 0)
        variant = f"v{int(version[1])}" + (f".{minor}" if minor else "")
    return architecture, variant


def rank(built: str, wanted: str, architecture: str) -> int | None:
    """Tell how well a program runs that was built for one variant, where another is wanted.

    Args:
        built: The variant that the program needs, normalized.
        wanted: The variant that is there, normalized.
        architecture: Of both.

    Returns:
        0 for what fits best, larger numbers for older variants, and None for what does not run.
    """
    if built == wanted:
        return 0
    if architecture not in _DEFAULTS:
        # Nothing is known of an order; without a variant, any or none is meant.
        return None if built and wanted else 1
    has, needs = _VERSION.fullmatch(wanted), _VERSION.fullmatch(built)
    if has is None or needs is None:
        return None
    steps = _number(has) - _number(needs)
    return steps if steps > 0 else None


def _number(version: re.Match[str]) -> int:
    return int(version[1]) * 1000 + int(version[2] or 0)
