"""Platforms: OCI image specification, image-index.md, property ``platform``."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from browsermount.errors import InvalidPlatform
from browsermount.oci.document import get
from browsermount.oci.variant import normalize, rank

_LINUX = "linux"
_UNKNOWN = "unknown"
_SYSTEMS = ("linux", "windows", "freebsd", "darwin", "wasi", "wasip1")


@dataclass(frozen=True, slots=True)
class Platform:
    """What an image was built for, in Go's names: ``linux``, ``386``, ``v7``."""

    os: str
    architecture: str
    variant: str | None = None

    @classmethod
    def parse(cls, text: str) -> Platform:
        """Read ``os/architecture[/variant]``.

        Raises:
            ValueError: The text has another form.
        """
        parts = text.split("/")
        if len(parts) not in (2, 3) or not all(parts):
            raise ValueError(f"{text!r} is not a platform such as linux/386")
        return cls(*parts)

    @classmethod
    def from_document(cls, document: dict[str, Any], what: str) -> Platform | None:
        """Read an object with ``os`` and ``architecture``; None where they do not say enough.

        Without ``os``, Linux is meant, as Docker has it.

        Raises:
            InvalidImage: A property has the wrong type.
        """
        os = get(document, "os", str, what) or _LINUX
        architecture = get(document, "architecture", str, what)
        variant = get(document, "variant", str, what)
        if not architecture:
            return None if os.lower() == _LINUX else cls(os, _UNKNOWN)
        return cls(os, architecture, variant or None)

    @property
    def is_known(self) -> bool:
        """Whether it is one at all: attestations and the like have ``unknown/unknown``."""
        return (self.os, self.architecture) != (_UNKNOWN, _UNKNOWN)

    def satisfies(self, wanted: Platform) -> bool:
        """Tell whether an image for this platform runs where ``wanted`` is asked for."""
        return self.rank(wanted) is not None

    def rank(self, wanted: Platform) -> int | None:
        """Tell how well an image for this platform runs where ``wanted`` is asked for.

        Returns:
            0 for the best, larger numbers for older variants of the CPU, None for not at all.
        """
        if wanted == ANYTHING:
            return 0 if self.is_known else None
        architecture, variant = normalize(self.architecture, self.variant)
        expected, wanted_variant = normalize(wanted.architecture, wanted.variant)
        if (self.os.lower(), architecture) != (wanted.os.lower(), expected):
            return None
        return rank(variant, wanted_variant, architecture)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


ANYTHING = Platform("*", "*")
"""Asked for in the place of a platform: whatever there is."""

RUNNABLE: Sequence[Platform] = (
    # What one of the virtual machines runs by itself. 386 comes last: the 32-bit machine is not
    # right in all floating point, see docs/platforms.md.
    Platform("linux", "amd64"),
    Platform("linux", "amd64", "v2"),
    Platform("linux", "amd64", "v3"),
    Platform("linux", "386"),
    # What is translated.
    Platform("linux", "arm64"),
    Platform("linux", "arm64", "v9"),
    Platform("linux", "riscv64"),
)
"""What the virtual machines run, the best first."""


def read_platform(text: str) -> Platform:
    """Read a platform as people write it: also without the system, and by other names.

    Args:
        text: Such as ``linux/amd64``, ``x86_64``, ``arm64/v8`` or ``windows/amd64``.

    Raises:
        ValueError: It has another form.
    """
    parts = text.strip().lower().split("/")
    # arm64/v8 has no system in front: no system is called like a version of a processor.
    if len(parts) == 1 or (len(parts) == 2 and re.fullmatch(r"v[0-9]+(\.[0-9]+)?", parts[1])):
        parts.insert(0, _LINUX)
    platform = Platform.parse("/".join(parts))
    if platform.architecture in _SYSTEMS:
        raise ValueError(f"{text!r} names no processor: write it as in {platform.architecture}/386")
    variant = platform.variant
    architecture, meant = normalize(platform.architecture, variant)
    if architecture == platform.architecture:
        return platform
    # Another name of an architecture may mean one of its variants.
    implied = meant if meant != normalize(architecture, None)[1] else None
    return Platform(platform.os, architecture, variant or implied)


def can_run(platform: Platform) -> bool:
    """Tell whether the virtual machine runs images for a platform."""
    return any(platform.satisfies(runnable) for runnable in RUNNABLE)


def choose_platforms(text: str | None) -> Sequence[Platform]:
    """Return what may be run, the best first, where a person asks for one platform or none.

    Args:
        text: See :func:`read_platform`; None or "" for any.

    Raises:
        InvalidPlatform: It has another form, or the virtual machine cannot run it.
    """
    if not text:
        return RUNNABLE
    hint = f"There are: {', '.join(map(str, RUNNABLE))}."
    try:
        platform = read_platform(text)
    except ValueError as error:
        raise InvalidPlatform(str(error), hint=hint) from None
    if not can_run(platform):
        raise InvalidPlatform(f"images for {platform} cannot be run here", hint=hint)
    return (platform,)
