"""Programs that people run, in images of each platform.

Those of amd64 run each time but for the slow ones, in one machine. The others take twenty minutes:

    BROWSERMOUNT_LARGE=1 .venv/bin/python -m pytest tests/platforms/test_programs.py
"""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from tests.fixtures import fixture
from tests.fixtures.foreign import PLATFORMS

large = pytest.mark.skipif(
    not os.environ.get("BROWSERMOUNT_LARGE"), reason="takes minutes: BROWSERMOUNT_LARGE=1"
)

DIRECTORY = "/opt/programs"
SECONDS = 5 if os.environ.get("BROWSERMOUNT_LARGE") else 0.25
"""How long each part of the stress tests runs."""

PROGRAMS = {
    "pipeline": (
        "seq 100 | sort -r | head -n 3 | paste -sd,; echo a:b | sed s/:/-/ | tr a-z A-Z;"
        "find /etc -name 'debian_*' | wc -l; mawk 'BEGIN { print 2 ^ 30, 1 / 3 }';"
        "echo x | grep -c x",
        "99,98,97\nA-B\n1\n1073741824 0.333333\n1\n",
    ),
    "apt": ("apt-get --version | grep -c '^apt '", "1\n"),
    "perl": (
        'perl -e \'$h{$_ % 7} += $_ for 1 .. 5000; print join(",", map {$h{$_}} sort keys %h), '
        '"\\n"; $p = fork; exit 3 if !$p; waitpid $p, 0; print $? >> 8, " ", 2 ** 40 + 1, " ", '
        '1 / 3, "\\n"\'',
        "1786785,1787500,1788215,1783929,1784643,1785357,1786071\n"
        "3 1099511627777 0.333333333333333\n",
    ),
    "python": (
        f"python3 {DIRECTORY}/threads.py",
        "[(0, 'e3b0c442'), (1, '6e340b9c'), (2, '96a296d2'), (3, '709e80c8')]\n[0, 1, 4]\n52\n",
    ),
    "sqlite": (f"bash {DIRECTORY}/two-writers.sh", "a|5|15\nb|5|15\nok\n"),
    "node": (
        "node -e 'console.log([1, 2].map((x) => x * 2), 2 ** 53)'",
        "[ 2, 4 ] 9007199254740992\n",
    ),
    "node-children": (
        f"node {DIRECTORY}/children.cjs",
        "from a shell\n[ 41, 42 ]\n",
    ),
    "node-workers": (
        f"node {DIRECTORY}/workers.cjs",
        "[ 1, 4, 9 ] 9007199254740992 0.3333333333333333\n",
    ),
    "node-workers-limited": (
        f"node {DIRECTORY}/workers.cjs 64",
        "[ 1, 4, 9 ] 9007199254740992 0.3333333333333333\n",
    ),
    "go": (
        f"{DIRECTORY}/threads-go {SECONDS} 2>/dev/null",
        "pipeline 333833500\nadd true\ncompare-and-swap true\nmutex true\nstore torn 0\n",
    ),
    "c++": (
        f"{DIRECTORY}/threads-cpp {SECONDS} 2>/dev/null",
        "queue 2001000\nadd true\ncompare-and-swap true\nexceptions true\nstore torn 0\n"
        "relaxed store torn 0\n",
    ),
}

SLOW = {"node-children", "node-workers", "node-workers-limited"}
"""What takes longer than some seconds where programs need no translation."""
OTHERS = [architecture for architecture in PLATFORMS if architecture != "amd64"]


def run(script: str, architecture: str) -> subprocess.CompletedProcess[str]:
    layout = str(fixture(f"foreign-large-{architecture}") / "image")
    command = [sys.executable, "-m", "browsermount", "run", layout, "bash", "-c", script]
    return subprocess.run(command, capture_output=True, text=True, timeout=1800, check=False)


def test_programs_of_amd64() -> None:
    mark = "-- exit code of "
    programs = {name: PROGRAMS[name] for name in PROGRAMS if name not in SLOW}
    script = "".join(
        f"( {script}\n)\necho '{mark}{name}:' $?\n" for name, (script, _) in programs.items()
    )
    done = run(script, "amd64")
    expected = "".join(f"{output}{mark}{name}: 0\n" for name, (_, output) in programs.items())
    assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)


@large
@pytest.mark.parametrize("name", sorted(SLOW))
def test_slow_program_of_amd64(name: str) -> None:
    script, output = PROGRAMS[name]
    done = run(script, "amd64")
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)


@large
@pytest.mark.parametrize("architecture", OTHERS)
@pytest.mark.parametrize("name", PROGRAMS)
def test_program(name: str, architecture: str) -> None:
    script, output = PROGRAMS[name]
    done = run(script, architecture)
    assert (done.stdout, done.stderr, done.returncode) == (output, "", 0)
