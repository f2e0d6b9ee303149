"""What the interpreters are optimised for: programs that are translated, and what they show.

QEMU is compiled twice. The first one counts what is executed while it translates the programs of
`WORKLOADS`, and the second one is compiled by those counts: code that is never executed stands
apart from code that is. After that, valgrind's callgrind tells how much of the time each function
takes, and the functions are linked in that order. Both are for the emulator of the virtual machine,
which compiles code by the page: what is hot should fill few pages, and nothing else be in them.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

_PACKAGES = "base-files,bash,coreutils,perl-base"
_SUITES = {"riscv64": "trixie"}  # Debian 12 has none

_PERL = (
    "my %h; for my $i (1..3000) { $h{$i % 97} += sqrt($i) * 1.5 / ($i + 1); }"
    'my @k = sort { $h{$a} <=> $h{$b} } keys %h; my $t = join ",", @k;'
    'my $n = () = $t =~ /(\\d)\\1/g; printf "%d %.6f %s\\n", $n, $h{5}, substr($t, 0, 9);'
)
_BASH = (
    "f() { local x=$1; echo $((x * x)); };"
    "for ((i = 0; i < 60; i++)); do s+=$(f $i)-; done; [[ $s =~ 9-16 ]] && echo ${#s};"
    "case $s in *25*) printf '%s %d\\n' yes 3 ;; esac"
)

START = (
    ("bin/bash", "--norc", "-i", "-c", "true"),
    ("bin/true",),
)
"""Programs that do nothing but start: a shell's prompt, and the least that there is."""

WORKLOADS = (
    *START,
    ("bin/bash", "--norc", "-c", _BASH),
    ("bin/ls", "/usr/bin"),
    ("usr/bin/sha256sum", "/bin/bash"),
    ("usr/bin/sort", "-n", "/etc/debian_version", "/etc/os-release"),
    ("usr/bin/perl", "-e", _PERL),
)
"""Programs, in the guest's root, with what they are given: what small programs do."""


def make_guest(guest: Path, architecture: str, suite: str, mirror: str) -> None:
    """Unpack a small Debian of another architecture into a directory that is missing."""
    suite = _SUITES.get(architecture, suite)
    command = ["mmdebstrap", "--quiet", "--mode=root", f"--architectures={architecture}"]
    command += ["--variant=extract", f"--include={_PACKAGES}"]
    subprocess.run([*command, suite, str(guest), mirror], check=True)
    # QEMU's -L does not follow absolute links into the guest's root.
    for path in guest.rglob("*"):
        if path.is_symlink() and (target := os.readlink(path)).startswith("/"):
            path.unlink()
            path.symlink_to(os.path.relpath(f"{guest}{target}", path.parent))


def command(
    interpreter: Path, guest: Path, workload: Sequence[str], options: Sequence[str | Path] = ()
) -> list[str | Path]:
    """How an interpreter runs a workload of a guest, with options of its own."""
    program, *arguments = workload
    return [interpreter, *options, "-L", guest, guest / program, *arguments]


def function_order(profiles: Iterable[str], symbols: str) -> list[str]:
    """Return the names of functions, the one with the most instructions for its size first.

    Args:
        profiles: Texts of callgrind, "Callgrind Format Specification"; each counts the same.
        symbols: What `nm --print-size` says of the program. What is not in it (generated code)
            is left out.
    """
    sizes = {}
    for line in symbols.splitlines():
        match line.split():
            case [_, size, kind, name] if kind in "tTwW":
                sizes[name] = int(size, 16)
    shares: defaultdict[str, float] = defaultdict(float)
    for profile in profiles:
        costs = _own_costs(profile)
        whole = sum(costs.values())
        for name, cost in costs.items():
            shares[name] += cost / whole
    found = [name for name in shares if name in sizes]
    # What is in a library takes no less than 16 bytes, to which that is aligned.
    return sorted(found, key=lambda name: (-shares[name] / max(sizes[name], 16), name))


def _own_costs(profile: str) -> Counter[str]:
    """The instructions of each function without those that it calls."""
    names: dict[str, str] = {}
    costs: Counter[str] = Counter()
    function = ""
    of_a_call = False
    for line in profile.splitlines():
        if match := re.match(r"(c?)fn=\((\d+)\)(?: (.+))?", line):
            called, number, name = match.groups()
            if name:
                # A recursive function is listed once for each depth.
                names[number] = name.partition("'")[0]
            if not called:
                function = names[number]
        elif line.startswith("calls="):
            of_a_call = True
        elif re.match(r"[-+*\d]", line):
            if not of_a_call:
                costs[function] += int(line.split()[1])
            of_a_call = False
    return costs
