"""Runs an attack in a process of its own, with bounds on its time and memory."""

from __future__ import annotations

import importlib
import json
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Outcome:
    """What became of an attack: its result or error, the CPU seconds and MiB that it took."""

    result: Any
    error: str
    message: str
    seconds: float
    mebibytes: float


def attack(name: str, *, seconds: int, mebibytes: int) -> Outcome:
    """Call ``module:function`` of this package.

    The process is ended after so many seconds of CPU time, and gets so much memory beyond what it
    has when the function is called.
    """
    command = [sys.executable, "-m", "tests.attacks.bounded", name, str(seconds), str(mebibytes)]
    done = subprocess.run(
        command, cwd=_ROOT, capture_output=True, text=True, timeout=10 * seconds + 60, check=False
    )
    assert done.returncode == 0, f"{name} ended with {done.returncode}: {done.stderr[-2000:]}"
    return Outcome(**json.loads(done.stdout.splitlines()[-1]))


def _used() -> float:
    status = Path("/proc/self/status").read_text()
    # Not ru_maxrss, which begins with that of the process that started this one.
    (line,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def main() -> None:
    name, seconds, mebibytes = sys.argv[1:]
    module, _, function = name.partition(":")
    work = getattr(importlib.import_module(f"tests.attacks.{module}"), function)
    before = _used()
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit = size + (int(mebibytes) << 20)
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    start = time.process_time()
    resource.setrlimit(resource.RLIMIT_CPU, (int(start) + int(seconds) + 1,) * 2)
    result, error, message = None, "", ""
    try:
        result = work()
    except Exception as failure:
        error, message = type(failure).__name__, str(failure)
    spent = time.process_time() - start
    report = {
        "result": result,
        "error": error,
        "message": message,
        "seconds": spent,
        "mebibytes": _used() - before,
    }
    print(json.dumps(report))


if __name__ == "__main__":
    main()
