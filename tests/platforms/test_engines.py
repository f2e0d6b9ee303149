"""Programs for amd64 that make machine code themselves, on the 64-bit machine: takes ten minutes.

    BROWSERMOUNT_LARGE=1 .venv/bin/python -m pytest tests/platforms/test_engines.py

Beside them there are two collections of tests that others have made: stress-ng, whose stressors
verify what they compute, and GCC's torture tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fixtures import fixture
from tests.fixtures.torture import DIRECTORY, LEVELS

pytestmark = pytest.mark.skipif(
    not os.environ.get("BROWSERMOUNT_LARGE"), reason="takes ten minutes: BROWSERMOUNT_LARGE=1"
)

JAVA = "/usr/lib/jvm/java-17-openjdk-amd64/bin"
# Each has a loop that is worth being compiled, of 64-bit numbers that wrap.
SUM = "4921076235404900416"

ENGINES = {
    "gcc": (
        'printf "#include <stdio.h>\\nint main(void) { puts(\\"hello\\"); return 0; }\\n" > h.c;'
        "gcc -O2 h.c -o h && ./h",
        "hello\n",
    ),
    "go": (
        "export HOME=/tmp GO111MODULE=off CGO_ENABLED=0;"
        'printf "package main\\nimport \\"fmt\\"\\nfunc main() { var s int64;'
        'for i := int64(0); i < 50000000; i++ { s = s*31 + i }; fmt.Println(s) }\\n" > h.go;'
        "go build -o h h.go && ./h",
        f"{SUM}\n",
    ),
    "java": (
        'printf "public class H { public static void main(String[] a) { long s = 0;'
        'for (int i = 0; i < 50000000; i++) s = s * 31 + i; System.out.println(s); } }" > H.java;'
        f"{JAVA}/javac H.java && {JAVA}/java H",
        f"{SUM}\n",
    ),
    "luajit": (
        "luajit -e 'local s = 0; for i = 1, 5e7 do s = (s * 31 + i) % 1000003 end; print(s)'",
        "603094\n",
    ),
    "mono": (
        'printf "class H { static void Main() { long s = 0;'
        "for (int i = 0; i < 50000000; i++) s = s * 31 + i;"
        'System.Console.WriteLine(s); } }" > h.cs;'
        "mono /usr/lib/mono/4.5/mcs.exe h.cs && mono h.exe",
        f"{SUM}\n",
    ),
    "node": (
        "node -e 'let s = 0; for (let i = 0; i < 3e7; i++) s = (s * 31 + i) | 0; console.log(s)'",
        "-1308532288\n",
    ),
    "pypy": ("pypy3 -c 'print(sum(i % 7 for i in range(10000000)))'", "29999994\n"),
    "python": ("python3 -c 'print(sum(i % 7 for i in range(300000)))'", "899997\n"),
    "rust": (
        'printf "fn main() { println!(\\"{}\\", (1..=20u64).product::<u64>()); }\\n" > h.rs;'
        "rustc -O -C linker=gcc h.rs -o h && ./h",
        "2432902008176640000\n",
    ),
}

# What they do with the operations that they are given; none takes longer than some seconds.
STRESSORS = """
--cpu 1 --cpu-method all --cpu-ops 150
--vm 1 --vm-bytes 16M --vm-method all --vm-ops 20000
--atomic 1 --atomic-ops 200
--bsearch 1 --bsearch-ops 5
--context 1 --context-ops 100
--far-branch 1 --far-branch-ops 2
--fork 1 --fork-ops 50
--fp 1 --fp-ops 10
--futex 1 --futex-ops 500
--hash 1 --hash-ops 50
--icache 1 --icache-ops 50
--jpeg 1 --jpeg-ops 1
--lockbus 1 --lockbus-ops 50
--longjmp 1 --longjmp-ops 200
--matrix 1 --matrix-ops 20
--mprotect 1 --mprotect-ops 200
--opcode 1 --opcode-ops 30
--pthread 1 --pthread-ops 50
--ptrace 1 --ptrace-ops 100
--regs 1 --regs-ops 100
--sigabrt 1 --sigabrt-ops 50
--sigfpe 1 --sigfpe-ops 500
--signal 1 --signal-ops 2000
--sigpipe 1 --sigpipe-ops 500
--sigq 1 --sigq-ops 500
--sigrt 1 --sigrt-ops 500
--sigsegv 1 --sigsegv-ops 500
--sigsuspend 1 --sigsuspend-ops 500
--sigtrap 1 --sigtrap-ops 500
--str 1 --str-ops 500
--tsc 1 --tsc-ops 500
--vecfp 1 --vecfp-ops 5
--vecmath 1 --vecmath-ops 20
--vecshuf 1 --vecshuf-ops 5
--vecwide 1 --vecwide-ops 20
--wcs 1 --wcs-ops 200
--x86syscall 1 --x86syscall-ops 10
""".strip().splitlines()

TORTURE = """
cd {directory}
for level in {levels}; do
    cd $level
    for test in *; do ./$test < /dev/null > /dev/null 2>&1; echo $level/$test $?; done
    cd ..
done 2>/dev/null
"""


def run(name: str, script: str) -> subprocess.CompletedProcess[str]:
    layout = str(fixture(name) / "image")
    command = [sys.executable, "-m", "browsermount", "run", "-w", "/tmp", layout]
    return subprocess.run(
        [*command, "bash", "-c", script], capture_output=True, text=True, timeout=1800, check=False
    )


@pytest.mark.parametrize("name", ENGINES)
def test_engine(name: str) -> None:
    script, output = ENGINES[name]
    done = run(f"engine-{name}", script)
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


def test_stress() -> None:
    # A stressor that dies of a signal ends with success in some cases, and only says so.
    script = "".join(
        f"stress-ng --quiet --verify --timeout 60 --temp-path /tmp {options} || echo '{options}'\n"
        for options in STRESSORS
    )
    done = run("engine-stress", script)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_torture() -> None:
    levels = [level.lstrip("-") for level in LEVELS]
    tests = fixture("torture") / "programs"
    expected = _torture(tests, levels)
    assert len(expected) > 4000
    script = TORTURE.format(directory=DIRECTORY, levels=" ".join(levels))
    actual = set(run("torture", script).stdout.splitlines())
    assert actual == expected


def _torture(directory: Path, levels: list[str]) -> set[str]:
    """What this computer makes of the tests."""
    script = TORTURE.format(directory=directory, levels=" ".join(levels))
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    return set(done.stdout.splitlines())
