"""What a tab takes of the computer's memory."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

_MAPPING = re.compile(r"([0-9a-f]+)-([0-9a-f]+) (\S+) .*")
_SHARE = re.compile(r"Pss: +(\d+) kB")

GUEST = 512 << 20
"""What each machine has at least of memory, which is in one piece."""


@dataclass(frozen=True)
class Tab:
    """A renderer process, in bytes: proportional set sizes.

    Attributes:
        whole: All of it.
        machine: The memory of the machine's WebAssembly: what its guest has touched of its own,
            and what the machine needs beside that.
    """

    whole: int
    machine: int

    @property
    def rest(self) -> int:
        return self.whole - self.machine


def largest_tab() -> Tab:
    """Return the largest renderer process of all browsers."""
    tabs = []
    for process in Path("/proc").iterdir():
        try:
            if b"--type=renderer" in (process / "cmdline").read_bytes():
                tabs.append(_tab((process / "smaps").read_text()))
        except OSError:
            continue
    return max(tabs, key=lambda tab: tab.whole)


def _tab(mappings: str) -> Tab:
    whole = machine = 0
    guest = False
    for line in mappings.splitlines():
        if found := _MAPPING.fullmatch(line):
            size = int(found[2], 16) - int(found[1], 16)
            guest = found[3].startswith("rw") and size >= GUEST
        elif found := _SHARE.fullmatch(line):
            share = int(found[1]) << 10
            whole += share
            machine += share if guest else 0
    return Tab(whole, machine)
