"""Which machine runs which image."""

from __future__ import annotations

import pytest

from browsermount.machines import machine_for
from browsermount.oci.platform import Platform


@pytest.mark.parametrize(
    ("platform", "machine"),
    [
        ("linux/386", "v86"),
        ("linux/amd64", "x64"),
        ("linux/amd64/v2", "x64"),
        ("linux/amd64/v3", "v86"),
        ("linux/arm64/v8", "v86"),
        ("linux/riscv64", "v86"),
    ],
)
def test_the_machine_of_a_platform(platform: str, machine: str) -> None:
    assert machine_for(Platform.parse(platform)) == machine
