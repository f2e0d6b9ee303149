"""Platforms: OCI image specification, image-index.md, property ``platform``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from browsermount.errors import InvalidImage, InvalidPlatform
from browsermount.oci.document import get
from browsermount.oci.variant import normalize, rank


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
        """Read an object with ``os`` and ``architecture``; None where both are missing.

        Raises:
            InvalidImage: A property has the wrong type.
        """
        os = get(document, "os", str, what)
        architecture = get(document, "architecture", str, what)
        if not os and not architecture:
            return None
        if not os or not architecture:
            raise InvalidImage(f"{what}: a platform needs both os and architecture")
        return cls(os, architecture, get(document, "variant", str, what) or None)

    def satisfies(self, wanted: Platform) -> bool:
        """Tell whether an image for this platform runs where ``wanted`` is asked for."""
        return self.rank(wanted) is not None

    def rank(self, wanted: Platform) -> int | None:
        """Tell how well an image for this platform runs where ``wanted`` is asked for.

        Returns:
            0 for the best, larger numbers for older variants of the CPU, None for not at all.
        """
        architecture, variant = normalize(self.architecture, self.variant)
        expected, wanted_variant = normalize(wanted.architecture, wanted.variant)
        if (self.os.lower(), architecture) != (wanted.os.lower(), expected):
            return None
        return rank(variant, wanted_variant, architecture)

    def __str__(self) -> str:
        return "/".join(filter(None, (self.os, self.architecture, self.variant)))


NATIVE = Platform("linux", "386")
"""What the virtual machine runs by itself."""

RUNNABLE: Sequence[Platform] = (
    NATIVE,
    # What needs less of a processor first: more is slower to translate.
    Platform("linux", "amd64"),
    Platform("linux", "amd64", "v3"),
    Platform("linux", "arm64"),
    Platform("linux", "arm64", "v9"),
    Platform("linux", "riscv64"),
)
"""What the virtual machine runs, the best first; all but the native one by translation."""


def choose_platforms(text: str | None) -> Sequence[Platform]:
    """Return what may be run, the best first, where a person asks for one platform or none.

    Args:
        text: ``os/architecture[/variant]`` or just an architecture; None or "" for any.

    Raises:
        InvalidPlatform: It has another form, or the virtual machine cannot run it.
    """
    if not text:
        return RUNNABLE
    parts = text.lower().split("/")
    if len(parts) == 1:
        parts.insert(0, "linux")
    hint = f"There are: {', '.join(map(str, RUNNABLE))}."
    try:
        platform = Platform.parse("/".join(parts))
    except ValueError as error:
        raise InvalidPlatform(str(error), hint=hint) from None
    if not any(platform.satisfies(runnable) for runnable in RUNNABLE):
        raise InvalidPlatform(f"images for {platform} cannot be run here", hint=hint)
    return (platform,)
