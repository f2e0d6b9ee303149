"""Which virtual machine runs an image: there is one of 32 bits and one of 64 bits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from browsermount.errors import InvalidMachine, InvalidPlatform
from browsermount.oci.platform import (
    ANYTHING,
    RUNNABLE,
    Platform,
    choose_platforms,
    read_platform,
)
from browsermount.oci.variant import normalize

MachineKind = Literal["v86", "x64"]
"""``v86`` is the npm package's emulator of a 32-bit PC, ``x64`` our own of an x86-64 one."""

_BITS: dict[str, MachineKind] = {"32": "v86", "64": "x64"}

_LEVEL_3 = "v3"


def machine_for(platform: Platform, wanted: MachineKind | None = None) -> MachineKind:
    """Return the machine that runs an image's programs as they are, or by an interpreter.

    Args:
        platform: The image's.
        wanted: The machine that a person asks for, which runs it: see :func:`runnable`.
    """
    if wanted is not None:
        return wanted
    return "v86" if _is_386(platform) else "x64"


def _is_386(platform: Platform) -> bool:
    return (platform.os, platform.architecture) == ("linux", "386")


def level_for(*platforms: Platform) -> int | None:
    """Return the level of the x86-64 psABI that a 64-bit machine's programs are told of.

    By itself the machine tells them of level 2: docs/platforms.md says what was measured.

    Args:
        platforms: The image's, and those that a person asks for.

    Returns:
        None where it is the machine's own one.
    """
    variants = [normalize(p.architecture, p.variant) for p in platforms]
    return 3 if ("amd64", _LEVEL_3) in variants else None


def choose_machine(text: str | None) -> MachineKind | None:
    """Return the machine that a person asks for by its bits, ``32`` or ``64``; None for any.

    Raises:
        InvalidMachine: There is no such machine.
    """
    if not text:
        return None
    if text not in _BITS:
        raise InvalidMachine(
            f"there is no machine {text!r}",
            hint="There is one of 32 bits, called 32, and one of 64 bits, called 64.",
        )
    return _BITS[text]


def runnable(platform: str | None = None, machine: MachineKind | None = None) -> Sequence[Platform]:
    """Return what may be run, the best first.

    Args:
        platform: The one that a person asks for, see
            :func:`~browsermount.oci.platform.read_platform`; None or "" for any.
        machine: The machine that is asked for.

    Raises:
        InvalidPlatform: The platform has another form, or cannot be run on the machine.
    """
    platforms = choose_platforms(platform)
    if machine != "v86":
        return platforms
    native = [p for p in platforms if _is_386(p)]
    if not native:
        raise InvalidPlatform(
            f"images for {platforms[0]} cannot be run on the 32-bit machine",
            hint="Leave out which machine is meant: the 64-bit one runs them.",
        )
    return native


def for_others(platform: str | None = None) -> Sequence[Platform]:
    """Return what is looked for on behalf of a machine of others, the best first.

    Such machines are mostly for amd64. What they run else, nobody knows but who has made them.

    Args:
        platform: The one that a person asks for; None or "" for any.

    Raises:
        InvalidPlatform: It has another form.
    """
    if not platform:
        return (RUNNABLE[0], *RUNNABLE, ANYTHING)
    try:
        return (read_platform(platform),)
    except ValueError as error:
        raise InvalidPlatform(str(error), hint="Platforms are such as linux/amd64.") from None
