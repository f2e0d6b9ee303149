"""Programs for x86-64-v3 on the 64-bit machine, against the processor that the tests run on."""

from __future__ import annotations

import base64
import subprocess
import sys
from pathlib import Path

from tests.fixtures import fixture

SOURCE = Path(__file__).resolve().parent / "amd64v3" / "vectors.c"
# What the C library says that it would take libraries for.
LEVELS = (
    "/lib64/ld-linux-x86-64.so.2 --help | while read -r level rest; do"
    ' case "$level $rest" in x86-64-v*supported*) echo "$level";; esac; done'
)
TIMEOUT = 300


def on_machine(script: str, *options: str) -> str:
    layout = str(fixture("foreign") / "amd64")
    done = subprocess.run(
        [*(sys.executable, "-m", "browsermount", "run", *options), *(layout, "bash", "-c", script)],
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert (done.stderr, done.returncode) == ("", 0)
    return done.stdout


def test_a_program_for_v3_computes_as_the_processor_does(tmp_path: Path) -> None:
    """Where the C library, too, says that it has level 3, and chooses its functions for it."""
    program = tmp_path / "it"
    compiler = ["gcc", "-O3", "-march=x86-64-v3", "-Wall", "-Wextra", "-Werror", "-s"]
    subprocess.run([*compiler, "-o", program, SOURCE, "-lm"], check=True)
    natively = subprocess.run([program], capture_output=True, text=True, timeout=60, check=True)
    assert len(natively.stdout.splitlines()) == 10
    encoded = base64.b64encode(program.read_bytes()).decode()
    script = f"{LEVELS}; echo {encoded} | base64 -d > /tmp/it && chmod +x /tmp/it && /tmp/it"
    expected = f"x86-64-v3\nx86-64-v2\n{natively.stdout}"
    assert on_machine(script, "--platform", "linux/amd64/v3") == expected


def test_programs_are_told_of_v2_unless_v3_is_asked_for() -> None:
    assert on_machine(LEVELS) == "x86-64-v2\n"
