"""The guests of the two machines, and whether their built files fit their recipe.

A guest is a kernel with an init in C, made for one architecture.  The files are
built rarely and committed.  Each directory's image.json says what they were made
from, so that a change of the recipe without a new build is noticed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
RECIPE_DIR = Path(__file__).resolve().parent
MANIFEST = "image.json"


@dataclass(frozen=True)
class Guest:
    """One guest, by what differs from the other's.

    Attributes:
        architecture: As Debian calls it; also the name of the kernel's own
            configuration, which is put over ``kernel/common.config``.
        directory: Where the built files are.
        kernel_source: Debian's package.
        kernel_arch: What the kernel's Makefile calls the architecture.
        patches: The directory below ``kernel`` with what is changed in the source.
        warm_up: Whose programs are translated here, as uname(1) calls processors.
        kernel: The file that the machine loads.
        initramfs: The initial file system's file.
        bios: The firmware's file, for a machine that needs one.
    """

    architecture: str
    directory: Path
    kernel_source: str
    kernel_arch: str
    patches: str
    warm_up: tuple[str, ...]
    kernel: str
    initramfs: str = "initramfs.cpio.zst"
    bios: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The names of the built files."""
        return (self.kernel, self.initramfs, *([self.bios] if self.bios else []))

    def kernel_configs(self) -> list[Path]:
        """The parts of the kernel's configuration; a later one overrules."""
        names = ("common", self.architecture)
        return [RECIPE_DIR / "kernel" / f"{name}.config" for name in names]

    def kernel_patches(self) -> list[Path]:
        """What is changed in Debian's source of the kernel."""
        return sorted((RECIPE_DIR / "kernel" / self.patches).glob("*.patch"))

    def kernel_inputs(self) -> list[Path]:
        """The files of this repository that determine the kernel."""
        return [*self.kernel_configs(), *self.kernel_patches()]

    def inputs(self) -> list[Path]:
        """The files of this repository that determine what is built."""
        names = ("build.py", "debian.py", "facts.py", "recipe.py", "kernel/facts.c")
        sources = sorted((RECIPE_DIR / "init").glob("*.[ch]"))
        warm_up = RECIPE_DIR / "warmup" / "warmup.c"
        return [*(RECIPE_DIR / name for name in names), *self.kernel_inputs(), *sources, warm_up]

    def digest(self) -> str:
        """One SHA-256 over the names and contents of all inputs."""
        total = hashlib.sha256()
        for path in self.inputs():
            name = path.relative_to(RECIPE_DIR).as_posix()
            total.update(f"{name} {sha256(path)}\n".encode())
        return total.hexdigest()

    def manifest(self, directory: Path | None = None) -> dict[str, Any]:
        """Return what image.json says."""
        text = ((directory or self.directory) / MANIFEST).read_text("utf-8")
        manifest: dict[str, Any] = json.loads(text)
        return manifest

    def describe(self, directory: Path | None = None) -> dict[str, dict[str, Any]]:
        """Size and checksum of each of the files in a directory."""
        place = directory or self.directory
        return {
            name: {"size": (place / name).stat().st_size, "sha256": sha256(place / name)}
            for name in self.files
        }

    def problems(self, directory: Path | None = None) -> list[str]:
        """What is wrong with the built files; nothing, when they are as they should be."""
        manifest = self.manifest(directory)
        found = []
        if manifest["recipe"] != self.digest():
            found.append(f"the recipe has changed: run tools/vm/build.py {self.architecture}")
        actual = self.describe(directory)
        for name in self.files:
            expected = {key: manifest["files"][name][key] for key in ("size", "sha256")}
            if actual[name] != expected:
                found.append(f"{name} is not the file that was built")
        return found


I386 = Guest(
    architecture="i386",
    directory=ROOT / "web" / "vm" / "image",
    kernel_source="linux-source-6.1",
    kernel_arch="i386",
    patches="patches-6.1",
    warm_up=("x86_64", "aarch64", "riscv64"),
    kernel="bzImage",
    bios="seabios.bin",
)
"""Runs in v86."""

AMD64 = Guest(
    architecture="amd64",
    directory=ROOT / "web" / "vm" / "image64",
    kernel_source="linux-source-6.12",
    kernel_arch="x86_64",
    patches="patches-6.12",
    warm_up=("aarch64", "riscv64"),
    kernel="vmlinux.zst",
)
"""Runs in the emulator of a 64-bit machine, which loads the plain ELF file."""

GUESTS = {guest.architecture: guest for guest in (I386, AMD64)}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
