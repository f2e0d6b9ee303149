"""How much slower programs of translated platforms are than the same ones for linux/386.

    .venv/bin/python -m benchmarks.platforms [--runs N] [amd64 arm64 riscv64]

Runs the fixture images ``foreign``, which hold the same small Debian, one after the other in the
virtual machine in Node.  The guest takes the times; the best of all runs counts.  Machines
differ, so compare what one run of this program prints.
"""

from __future__ import annotations

import argparse
import subprocess
import sys

from tests.fixtures import fixture
from tests.fixtures.foreign import PLATFORMS

NATIVE = "386"

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


def measure(architecture: str) -> dict[str, int]:
    """Run the programs once and return their times in milliseconds, the best of each."""
    layout = fixture("foreign") / architecture
    command = [sys.executable, "-m", "browsermount", "run", str(layout), "bash", "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    times: dict[str, int] = {}
    for line in done.stdout.splitlines():
        name, _, milliseconds = line.rpartition(" ")
        times[name] = min(int(milliseconds), times.get(name, sys.maxsize))
    return times


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=2)
    parser.add_argument("platforms", nargs="*", default=PLATFORMS[1:])
    options = parser.parse_args()
    platforms = [NATIVE, *options.platforms]
    best: dict[str, dict[str, int]] = {}
    for _ in range(options.runs):
        for platform in platforms:
            times = best.setdefault(platform, {})
            for name, milliseconds in measure(platform).items():
                times[name] = min(milliseconds, times.get(name, sys.maxsize))
    print(f"{'milliseconds':<26}" + "".join(f"{platform:>18}" for platform in platforms))
    for name, native in best[NATIVE].items():
        cells = [f"{native:>18}"]
        for platform in platforms[1:]:
            milliseconds = best[platform][name]
            cells.append(f"{milliseconds:>10} ({milliseconds / max(native, 1):4.1f}x)")
        print(f"{name:<26}" + "".join(cells))


if __name__ == "__main__":
    main()
