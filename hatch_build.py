"""Puts the built page and virtual machine into the wheel, where Node and npm are there to build it.

Without them the wheel has the Python package alone, and the commands that need more say so.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

_IMPORT = re.compile(r"""(?:^|\n)(?:import|export)\b[^;]*?\bfrom "\./([^"]+)";""")


def runner_files(vm: Path) -> set[str]:
    """Return the names of what Node runs of ``web/vm``: the runner, and what that imports."""
    found: set[str] = set()
    waiting = ["runner.mjs"]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += _IMPORT.findall((vm / name).read_text())
    return found


class SiteHook(BuildHookInterface):  # type: ignore[type-arg]
    """Builds the site before the wheel is made."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the site, and what Node runs of web/vm, to a wheel."""
        if version == "editable":
            return  # the checkout has it all
        if shutil.which("node") is None or shutil.which("npm") is None:
            self.app.display_warning("Node and npm are missing: no page and no virtual machine")
            return
        root = Path(self.root)
        if not (root / "node_modules" / "v86").is_dir():
            subprocess.run(["npm", "ci", "--omit=dev"], cwd=root, check=True)
        site = root / "dist" / "site"
        # In a process of its own: what hatchling has imported stays as it is.
        subprocess.run([sys.executable, root / "tools" / "build_site.py", site], check=True)
        included = build_data["force_include"]
        included[str(site)] = "browsermount/site"
        vm = root / "web" / "vm"
        for name in sorted(runner_files(vm)):
            included[str(vm / name)] = f"browsermount/node/{name}"
