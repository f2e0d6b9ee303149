"""The programs of the default image run in the guest, from 9P, on the emulated CPU."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from tests.compare.guest import change_spec, run_in_guest
from tests.compare.readers import mount_layout

LAYOUT = Path(__file__).resolve().parents[2] / "web" / "images" / "default"
SCRIPT = r"""
set -e
cd /root
echo 'int printf(const char *, ...); int main(void) { printf("c %d\n", 6 * 7); }' > answer.c
tcc -run answer.c
tcc -o answer life.c && test -x answer
lua -e 'print("lua", 6 * 7, math.sqrt(2))'
echo 'print("js", 6 * 7)' > answer.js && js answer.js
sqlite3 < planets.sql | head -4
lua mandelbrot.lua | wc -l
js primes.js | tail -1
echo '2^100' | bc
figlet -f slant ok
nano --version | head -1
less --version | head -1
echo é日 | wc -m
infocmp 2>/dev/null || ls -l /usr/lib/terminfo/x/xterm-256color | wc -l
ls -ld /root /tmp | cut -c1-10
tree --version | cut -c1-4
try | head -1
"""
OUTPUT = r"""c 42
lua	42	1.4142135623731
js 42
┌─────────┬─────────────┬────────────────────┬───────┬─────────┐
│  name   │ radius (km) │ year (Earth years) │ moons │ by size │
├─────────┼─────────────┼────────────────────┼───────┼─────────┤
│ Mercury │ 2,440       │ 0.2                │ 0     │ 8       │
22
168 primes below 1000
1267650600228229401496703205376
         __
  ____  / /__
 / __ \/ //_/
/ /_/ / ,<
\____/_/|_|

 GNU nano, version 7.2
less 590 (GNU regular expressions)
3
1
drwx------
drwxrwxrwt
tree
Files     ls, tree, find, du, vi, nano, less, grep, sed, awk, tar, gzip, sha256sum
"""


def run_script(spec: dict[str, Any]) -> None:
    spec["process"]["args"] = ["/bin/bash", "-c", SCRIPT]
    spec["process"]["terminal"] = False


def test_programs_run() -> None:
    async def run() -> tuple[bytes, bytes, int]:
        mounted = await mount_layout(LAYOUT)
        change_spec(mounted, run_script)
        return await run_in_guest(mounted)

    output, errors, code = asyncio.run(run())
    assert errors.decode() == ""
    assert code == 0
    # figlet fills its lines with blanks.
    assert [line.rstrip() for line in output.decode().splitlines()] == OUTPUT.splitlines()
