"""Programs for 386 on both machines, against the processor that the tests run on."""

from __future__ import annotations

import base64
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
DEFAULT_IMAGE = HERE.parents[1] / "web" / "images" / "default"
TIMEOUT = 300

WRONG_ON_32_BITS = {"fmod", "remainder", "pow", "expm1", "log1p", "atan2", "sin", "cos", "tan"}
"""What v86's x87 does not give as a processor does: docs/platforms.md says so, too."""


def natively(program: str) -> list[str]:
    done = subprocess.run(
        [HERE / "i386" / program], capture_output=True, text=True, timeout=TIMEOUT, check=True
    )
    return done.stdout.splitlines()


def on_machine(bits: int, program: str) -> list[str]:
    encoded = base64.b64encode((HERE / "i386" / program).read_bytes()).decode()
    script = f"echo {encoded} | base64 -d > /tmp/it && chmod +x /tmp/it && exec /tmp/it"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "browsermount", "run", "--machine", str(bits)),
            *(str(DEFAULT_IMAGE), "sh", "-c", script),
        ],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout.splitlines()


@pytest.mark.parametrize("program", ["arithmetic", "compatibility"])
def test_the_64_bit_machine_is_as_the_processor(program: str) -> None:
    expected = natively(program)
    assert len(expected) > 50
    assert on_machine(64, program) == expected


def test_what_the_32_bit_machine_calculates_wrongly() -> None:
    """Fails when another version of v86 is right in more: then the documents have to say so."""
    expected, got = natively("arithmetic"), on_machine(32, "arithmetic")
    assert len(got) == len(expected)
    wrong = Counter(
        right.split()[0] for right, line in zip(expected, got, strict=True) if right != line
    )
    assert set(wrong) == WRONG_ON_32_BITS
