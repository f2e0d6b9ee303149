"""Where the page and the virtual machine are: in the installed package, or in a checkout."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType

from browsermount.errors import BrowsermountError
from browsermount.machines import MachineKind

_PACKAGE = Path(__file__).resolve().parents[1]
_CHECKOUT = _PACKAGE.parents[1]
_NODE_VERSION = 20


class NotInstalled(BrowsermountError):
    """Something that a command needs is not on this machine."""

    code = "not-installed"


@dataclass(frozen=True, slots=True)
class MachineFiles:
    """What web/vm/runner.mjs is and needs for one kind of machine.

    Attributes:
        runner: The program for Node.
        image: The directory of the kernel and all that.
        emulator: The emulator's module or code.
        snapshot: The directory of the snapshot.
        interpreters: The directory of what images of other platforms need.
    """

    runner: Path
    image: Path
    emulator: Path
    snapshot: Path
    interpreters: Path


def machine_files(kind: MachineKind) -> MachineFiles:
    """Return where a virtual machine's files are.

    Raises:
        NotInstalled: They are not there.
    """
    site = _PACKAGE / "site"
    image = {"v86": "image", "x64": "image64"}[kind]
    if site.is_dir():
        vm = site / "vm"
        return MachineFiles(
            runner=_PACKAGE / "node" / "runner.mjs",
            image=vm / image,
            emulator=site / "vendor" / "v86.mjs" if kind == "v86" else vm / "x64" / "machine.wasm",
            snapshot=vm if kind == "v86" else vm / "x64",
            interpreters=vm / "interpreters",
        )
    builder = _builder()
    vm = _CHECKOUT / "web" / "vm"
    return MachineFiles(
        runner=vm / "runner.mjs",
        image=vm / image,
        emulator=builder.emulator(kind),
        snapshot=builder.machine_snapshot(kind),
        interpreters=vm / "interpreters",
    )


def site_directory() -> Path:
    """Return the directory of the built site; in a checkout it is brought up to date first.

    Raises:
        NotInstalled: It is not there.
    """
    site = _PACKAGE / "site"
    if site.is_dir():
        return site
    site = _CHECKOUT / "dist" / "site"
    _builder().build(site)
    return site


def _builder() -> ModuleType:
    """Return the checkout's tools.build_site."""
    if not (_CHECKOUT / "tools" / "build_site.py").is_file():
        raise NotInstalled(
            "this installation has neither the page nor the virtual machine, which takes Node and "
            "npm at the time of installing",
            hint="Install Node 20 or newer with npm, then install browsermount again.",
        )
    if not (_CHECKOUT / "node_modules" / "v86").is_dir():
        raise NotInstalled("node_modules is missing", hint=f"Run npm ci in {_CHECKOUT}.")
    find_node()
    if str(_CHECKOUT) not in sys.path:
        sys.path.insert(0, str(_CHECKOUT))
    try:
        return importlib.import_module("tools.build_site")
    except ImportError as error:
        raise NotInstalled(
            f"building the page needs the package {error.name}",
            hint="Install what the checkout needs: pip install --editable . --group dev",
        ) from error


@cache
def find_node() -> str:
    """Return the path of Node.

    Raises:
        NotInstalled: There is none on PATH, or it is too old.
    """
    hint = "Install Node 20 or newer, see https://nodejs.org/, or put it on PATH."
    node = shutil.which("node")
    if node is None:
        raise NotInstalled(
            "Node is needed to run the virtual machine, and is not on PATH", hint=hint
        )
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False)
    major = version.stdout.strip().lstrip("v").split(".")[0]
    if not major.isdecimal() or int(major) < _NODE_VERSION:
        raise NotInstalled(
            f"Node {_NODE_VERSION} or newer is needed to run the virtual machine; "
            f"{node} is {version.stdout.strip() or 'not one'}",
            hint=hint,
        )
    return node
