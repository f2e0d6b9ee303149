"""Which virtual machine runs an image: there is one of 32 bits and one of 64 bits."""

from __future__ import annotations

from typing import Literal

from browsermount.oci.platform import Platform

MachineKind = Literal["v86", "x64"]
"""``v86`` is the npm package's emulator of a 32-bit PC, ``x64`` our own of an x86-64 one."""

_LEVELS = (None, "v1", "v2")
"""The variants of amd64 (x86-64 psABI, microarchitecture levels) that the 64-bit machine has."""


def machine_for(platform: Platform) -> MachineKind:
    """Return the machine that runs an image's programs as they are, or by an interpreter."""
    own = (platform.os, platform.architecture) == ("linux", "amd64") and platform.variant in _LEVELS
    return "x64" if own else "v86"
