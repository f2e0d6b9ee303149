"""How fast programs run on the two machines, and natively.

    .venv/bin/python -m benchmarks.platforms [--runs N] [--works NAME ...] [--of 386]
        [--in chromium] [PLATFORM ...]

Runs the same programs in the fixture images ``works``: for linux/amd64 on the 64-bit machine, for
linux/386 on v86, both in Node, and those of amd64 without a machine, in turns.  The guest takes
the times, by a clock that stands while other programs have the processor (works/own-time.mjs);
natively it is the processor's time.  The medians count.  Machines differ, so compare what one run
of this program prints.  With ``--of 386`` those for linux/386 run on the 64-bit machine as well as
on v86, and are to be no slower there.  With ``--in chromium`` the machines run in the page, in
which there is no such clock: there it counts what else the computer does.

With ``arm64`` or ``riscv64`` as PLATFORM it compares what is translated: smaller programs in the
fixture images ``foreign``, with those for linux/386 in the first column; there the best of all
runs counts.
"""

from __future__ import annotations

import argparse
import os
import re
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.fixtures import fixture
from tests.fixtures.foreign import PLATFORMS

from benchmarks.page import page_with_scripts

CLOCK = Path(__file__).resolve().parent / "works" / "own-time.mjs"

NATIVE = "native"
REFERENCE = "386"
OURS = "amd64"
COMPATIBLE = "386 on 64"
"""The image for 386 on the 64-bit machine."""

# -- The two machines, and none ------------------------------------------------------------------


@dataclass(frozen=True)
class Work:
    """Something to measure.

    Attributes:
        command: For bash: a simple command, or a function of `FUNCTIONS`.
        prepare: What has to be there first. It is not measured.
        times: How often it is executed in each run. Where there are others, the first time is not
            counted.
        reference: It is to take at most so many times as long as for linux/386.
        native: The same, as it takes natively.
        seconds: It is to take at most so long.
    """

    command: str
    prepare: str = ""
    times: int = 1
    reference: float | None = None
    native: float | None = None
    seconds: float | None = None


FUNCTIONS = r"""
cd /tmp
execute() { for i in {1..20}; do /bin/true; done; }
measure() {
  local name=$1 times=$2 begin end; shift 2
  for ((turn = 1; turn <= times; turn++)); do
    took TAKEN "$@" > /dev/null || echo "failed: $name" >&2
    ((turn == 1 && times > 1)) || printf '%s\t%s\n' "$name" $TAKEN
  done
}
"""
# Sets a variable to the microseconds that a command takes.
ELAPSED = r"""
took() {
  local -n result=$1; shift
  local begin=${EPOCHREALTIME/./} status
  "$@"; status=$?
  result=$((${EPOCHREALTIME/./} - begin))
  return $status
}
"""
USED = r"""
took() {
  local -n result=$1; shift
  local status TIMEFORMAT='%3U %3S' user system
  { time "$@" 2>&3; status=$?; } 3>&2 2> times
  read -r user system < times
  result=$((10#${user/./}000 + 10#${system/./}000))
  return $status
}
"""
_SHELL_LOOP = "i=0; while [ $i -lt 20000 ]; do i=$((i+1)); done"
_PERL_INTEGERS = "my $s = 0; for (my $i = 0; $i < 2000000; $i++) { $s += $i & 255 } print $s"
_PERL_FLOATS = "my $s = 0; for (my $i = 1; $i < 1000000; $i++) { $s += 1.5 / $i } print $s"
_PYTHON_INTEGERS = "s = 0\nfor i in range(2000000): s += i & 255\nprint(s)"
_PYTHON_FLOATS = "s = 0.0\nfor i in range(1, 1000000): s += 1.5 / i * 0.25\nprint(s)"
_LINES = 'for (1 .. 1000000) { $x = ($x * 1103515245 + 12345) & 2147483647; print "$x\\n" }'
_HELLO = '#include <stdio.h>\nint main(void) { puts("hello"); return 0; }'


def _text(name: str, megabytes: int) -> str:
    return f"[ -e {name} ] || /opt/works text {megabytes}000000 > {name}"


WORKS = {
    # What was never executed before: they have to come first, and once.
    "first /bin/true": Work("/bin/true"),
    "first perl -e 1": Work("perl -e 1"),
    "first python3 -c 1": Work("python3 -c 1"),
    "first ls /": Work("ls /"),
    "20 x /bin/true by bash": Work("execute", times=4, reference=1.5),
    "busybox sh, 20,000 loops": Work(f"busybox sh -c '{_SHELL_LOOP}'", reference=0.7),
    "sha256sum of 64 MB": Work("sha256sum zeros", "truncate -s 64M zeros", 1, 0.5, 6),
    "gzip of 16 MB": Work("gzip -c text16", _text("text16", 16), 1, 0.5, 6),
    "bzip2 of 4 MB": Work("bzip2 -c text4", _text("text4", 4), 1, 0.5, 6),
    "sort of 1e6 lines": Work("sort lines", f"perl -e '{_LINES}' > lines", 1, 0.5, 6),
    "perl, integers": Work(f"perl -e '{_PERL_INTEGERS}'", reference=0.7),
    "perl, floating point": Work(f"perl -e '{_PERL_FLOATS}'", reference=0.7),
    "python3, integers": Work(f"python3 -c '{_PYTHON_INTEGERS}'", reference=0.7),
    "python3, floating point": Work(f"python3 -c '{_PYTHON_FLOATS}'", reference=0.7),
    "python3 -c 'print(1)'": Work("python3 -c 'print(1)'", times=3, seconds=0.7),
    "node -e 'console.log(1)'": Work("node -e 'console.log(1)'", times=2, seconds=4),
    "gcc hello.c": Work("gcc hello.c", f"echo '{_HELLO}' > hello.c", 2, seconds=3),
    "C programs": Work("/opt/works"),
}
"""The sizes are those of the goals, so that what is compiled once does not count much."""


def script(names: Sequence[str], took: str) -> str:
    """What the guest's bash executes. It prints lines of a name and microseconds."""
    lines = [took, FUNCTIONS]
    for name in names:
        work = WORKS[name]
        lines.append(work.prepare)
        if name == "C programs":
            # It takes its own times.
            lines.append(
                work.command + " | while read -r name _ time; do"
                r" printf 'C: %s\t%s\n' $name $time; done"
            )
        else:
            lines.append(f'measure "{name}" {work.times} {work.command}')
    return "\n".join(lines)


def command(place: str, code: str) -> list[str]:
    """The command that executes a script in a place: an image's platform, or natively."""
    directory = fixture("works") / (REFERENCE if place == COMPATIBLE else place)
    if place != NATIVE:
        run = [sys.executable, "-m", "browsermount", "run", "--quiet", "--memory", "1g"]
        run += ["--machine", "64"] if place == COMPATIBLE else []
        return [*run, str(directory), "bash", "-c", code]
    inside = (
        'mount -t tmpfs tmpfs "$0/tmp" && mount --rbind /dev "$0/dev" && '
        'mount --rbind /proc "$0/proc" && exec chroot "$0" /bin/bash -c "$1"'
    )
    user = [] if os.geteuid() == 0 else ["--map-root-user"]
    return ["unshare", "--mount", *user, "sh", "-c", inside, str(directory), code]


Measure = Callable[[str, Sequence[str]], dict[str, list[float]]]
"""Runs works once in a place and returns their times in seconds."""


def measure_works(place: str, names: Sequence[str]) -> dict[str, list[float]]:
    """Run works by the command line or natively: see `Measure`."""
    if place == NATIVE:
        variables = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"}
    else:
        variables = {**os.environ, "NODE_OPTIONS": f"--import={CLOCK.as_uri()}"}
    code = script(names, USED if place == NATIVE else ELAPSED)
    done = subprocess.run(
        command(place, code), capture_output=True, text=True, check=False, env=variables
    )
    if done.returncode != 0 or done.stderr:
        print(f"{place}: exit code {done.returncode}\n{done.stderr}", file=sys.stderr)
    return times_in(done.stdout)


_TIME = re.compile(r"(\S.*?)\s+(\d+)")


def times_in(output: str) -> dict[str, list[float]]:
    """Return what a script has printed; a terminal has blanks where it has printed tabs."""
    times: dict[str, list[float]] = {}
    for line in output.splitlines():
        if found := _TIME.fullmatch(line):
            times.setdefault(found[1], []).append(int(found[2]) / 1e6)
        elif line:
            print(line, file=sys.stderr)
    return times


@contextmanager
def chromium_or_native(names: Sequence[str]) -> Iterator[Measure]:
    """Give what runs works in the page or natively."""
    code = script(names, ELAPSED)
    layouts = fixture("works")
    with page_with_scripts(
        {name: (layouts / name, name, code) for name in (OURS, REFERENCE)}
    ) as page:

        def measure(place: str, names: Sequence[str]) -> dict[str, list[float]]:
            if place == NATIVE:
                return measure_works(place, names)
            image = REFERENCE if place == COMPATIBLE else place
            machine = "64" if place == COMPATIBLE else ""
            return times_in(page.run(image, image, machine=machine))

        yield measure


def limited(name: str, place: str) -> Work:
    """Return a work with what its times in a place are to be."""
    work = WORKS.get(name, Work(""))
    return replace(work, reference=1.0, native=None, seconds=None) if place == COMPATIBLE else work


def compare_works(
    runs: int, names: Sequence[str], ours_place: str, measure: Measure = measure_works
) -> None:
    """Print a table of the works' times and ratios, beside what they are to be."""
    places = (ours_place, REFERENCE, NATIVE)
    times: dict[str, dict[str, list[float]]] = {place: {} for place in places}
    for _ in range(runs):
        for place in places:
            for name, seen in measure(place, names).items():
                times[place].setdefault(name, []).extend(seen)
    columns = f"{ours_place:>9}{REFERENCE:>9}{NATIVE:>9}"
    print(f"{'seconds':<26}{columns}   of 386        of native     limit")
    for name, ours in times[ours_place].items():
        work = limited(name, ours_place)
        own = statistics.median(ours)
        cells = f"{name:<26}{own:>9.3f}"
        ratios, missed = "", False
        for place, limit in ((REFERENCE, work.reference), (NATIVE, work.native)):
            if name not in times[place]:
                cells += f"{'-':>9}"
                ratios += f"   {'-':>5}      "
                continue
            other = statistics.median(times[place][name])
            cells += f"{other:>9.3f}"
            most = f"(<={limit:3.1f})" if limit is not None else ""
            ratios += f"   {own / other:>5.2f}{most:<7}"
            missed |= limit is not None and own / other > limit
        seconds = f"   <= {work.seconds} s" if work.seconds is not None else ""
        missed |= work.seconds is not None and own > work.seconds
        print(cells + ratios + seconds + ("   missed" if missed else ""))


# -- What is translated --------------------------------------------------------------------------

# "start": from the creation of the container's process until its bash runs this.
SCRIPT = r"""
read -r now _ < /proc/uptime
read -ra fields < /proc/$$/stat
echo "start $((10#${now/./} - fields[21]))0"
measure() {
  local name=$1 before=${EPOCHREALTIME/./}; shift
  "$@" > /dev/null
  echo "$name $(((${EPOCHREALTIME/./} - before) / 1000))"
}
loop() { for ((i = 0; i < 2000; i++)); do :; done; }
pipe() { printf '%s\n' c a b | sort | head -n 1; }
measure "first exec" /bin/true
for _ in 1 2 3 4; do measure "exec" /bin/true; done
measure "bash, 2000 loops" loop
measure "pipeline of 3" pipe
measure "perl, 20000 loops" perl -e 'my $s = 0; $s += $_ * 3 % 7 for 1 .. 20000'
head -c 500000 /dev/zero > /tmp/zeros
measure "sha256sum of 500 kB" sha256sum /tmp/zeros
measure "perl, 5000 divisions" perl -e 'my $s = 0; $s += 1 / $_ for 1 .. 5000'
"""


def measure_small(architecture: str) -> dict[str, int]:
    """Run the programs once and return their times in milliseconds, the best of each."""
    layout = fixture("foreign") / architecture
    run = [sys.executable, "-m", "browsermount", "run", str(layout), "bash", "-c", SCRIPT]
    done = subprocess.run(run, capture_output=True, text=True, check=True)
    times: dict[str, int] = {}
    for line in done.stdout.splitlines():
        name, _, milliseconds = line.rpartition(" ")
        times[name] = min(int(milliseconds), times.get(name, sys.maxsize))
    return times


def compare_small(runs: int, translated: Sequence[str]) -> None:
    """Print a table of the small programs' times."""
    platforms = [REFERENCE, *translated]
    best: dict[str, dict[str, int]] = {}
    for _ in range(runs):
        for platform in platforms:
            times = best.setdefault(platform, {})
            for name, milliseconds in measure_small(platform).items():
                times[name] = min(milliseconds, times.get(name, sys.maxsize))
    print(f"{'milliseconds':<26}" + "".join(f"{platform:>18}" for platform in platforms))
    for name, native in best[REFERENCE].items():
        cells = [f"{native:>18}"]
        for platform in platforms[1:]:
            milliseconds = best[platform][name]
            cells.append(f"{milliseconds:>10} ({milliseconds / max(native, 1):4.1f}x)")
        print(f"{name:<26}" + "".join(cells))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--works", nargs="+", choices=WORKS, default=list(WORKS), metavar="NAME")
    parser.add_argument("--of", choices=[OURS, REFERENCE], default=OURS, dest="image")
    parser.add_argument("--in", choices=["node", "chromium"], default="node", dest="host")
    parser.add_argument("platforms", nargs="*", help=", ".join(PLATFORMS[1:]))
    options = parser.parse_args()
    if unknown := set(options.platforms) - set(PLATFORMS[1:]):
        parser.error(f"no such platform: {', '.join(sorted(unknown))}")
    if options.platforms:
        compare_small(options.runs, options.platforms)
    else:
        place = COMPATIBLE if options.image == REFERENCE else OURS
        if options.host == "chromium":
            with chromium_or_native(options.works) as measure:
                compare_works(options.runs, options.works, place, measure)
        else:
            compare_works(options.runs, options.works, place)


if __name__ == "__main__":
    main()
