"""Which machine runs which image."""

from __future__ import annotations

import pytest

from browsermount.errors import InvalidMachine, InvalidPlatform
from browsermount.interpreters import interpreter_for
from browsermount.machines import choose_machine, level_for, machine_for, runnable
from browsermount.oci.platform import RUNNABLE, Platform, read_platform


@pytest.mark.parametrize(
    ("platform", "machine"),
    [
        ("linux/386", "v86"),
        ("linux/amd64", "x64"),
        ("linux/amd64/v2", "x64"),
        ("linux/amd64/v3", "x64"),
        ("linux/amd64/v4", "v86"),
        ("linux/arm64/v8", "v86"),
        ("linux/riscv64", "v86"),
    ],
)
def test_the_machine_of_a_platform(platform: str, machine: str) -> None:
    assert machine_for(Platform.parse(platform)) == machine


def test_a_machine_that_is_asked_for() -> None:
    i386, amd64, arm64 = map(Platform.parse, ("linux/386", "linux/amd64", "linux/arm64"))
    assert machine_for(i386, choose_machine("64")) == "x64"
    assert machine_for(amd64, choose_machine("32")) == "v86"
    assert interpreter_for(amd64) is None
    assert interpreter_for(i386, "x64") is None
    on_32_bits = interpreter_for(amd64, "v86")
    assert on_32_bits is not None
    assert on_32_bits.processor == "x86_64"
    assert interpreter_for(arm64) is not None


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
    """386 comes first where amd64 would be translated, and last where it would not."""
    assert [str(p) for p in runnable(None, "v86")][:2] == ["linux/386", "linux/amd64"]
    assert len(runnable(None, "v86")) == len(RUNNABLE)
    assert [str(p) for p in runnable(None, "x64")] == [
        "linux/amd64",
        "linux/amd64/v2",
        "linux/amd64/v3",
        "linux/386",
    ]
    assert [str(p) for p in runnable("i386", "x64")] == ["linux/386"]


@pytest.mark.parametrize("platform", ["linux/arm64", "linux/riscv64"])
def test_a_platform_that_the_64_bit_machine_does_not_run(platform: str) -> None:
    with pytest.raises(InvalidPlatform) as raised:
        runnable(platform, "x64")
    assert platform in raised.value.message
    assert "Leave out" in raised.value.hint
