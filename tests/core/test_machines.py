"""Which machine runs which image."""

from __future__ import annotations

import pytest

from browsermount.errors import InvalidMachine, InvalidPlatform
from browsermount.machines import choose_machine, level_for, machine_for, runnable
from browsermount.oci.platform import RUNNABLE, Platform, read_platform


@pytest.mark.parametrize(
    ("platform", "machine"),
    [
        ("linux/386", "v86"),
        ("linux/amd64", "x64"),
        ("linux/amd64/v2", "x64"),
        ("linux/amd64/v3", "x64"),
        ("linux/arm64/v8", "x64"),
        ("linux/riscv64", "x64"),
    ],
)
def test_the_machine_of_a_platform(platform: str, machine: str) -> None:
    assert machine_for(Platform.parse(platform)) == machine


def test_a_machine_that_is_asked_for() -> None:
    i386 = Platform.parse("linux/386")
    assert machine_for(i386, choose_machine("64")) == "x64"
    assert machine_for(i386, choose_machine("32")) == "v86"


@pytest.mark.parametrize(
    ("image", "asked", "level"),
    [
        ("linux/amd64", None, None),
        ("linux/amd64/v2", "linux/amd64", None),
        ("linux/amd64", "amd64/v3", 3),
        ("linux/amd64/v3", None, 3),
        ("linux/arm64/v8", None, None),
    ],
)
def test_what_programs_are_told_of_the_processor(
    image: str, asked: str | None, level: int | None
) -> None:
    platforms = [Platform.parse(image), *([read_platform(asked)] if asked else [])]
    assert level_for(*platforms) == level


def test_no_machine_is_asked_for() -> None:
    assert choose_machine("") is choose_machine(None) is None
    assert runnable() == RUNNABLE


def test_no_such_machine() -> None:
    with pytest.raises(InvalidMachine) as raised:
        choose_machine("16")
    assert "'16'" in raised.value.message


def test_what_a_machine_runs() -> None:
    assert [str(p) for p in runnable(None, "v86")] == ["linux/386"]
    assert runnable(None, "x64") == RUNNABLE
    assert [str(p) for p in runnable("i386", "x64")] == ["linux/386"]


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/amd64"])
def test_a_platform_that_the_32_bit_machine_does_not_run(platform: str) -> None:
    with pytest.raises(InvalidPlatform) as raised:
        runnable(platform, "v86")
    assert platform in raised.value.message
    assert "Leave out" in raised.value.hint
