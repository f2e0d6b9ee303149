#!/usr/bin/env python3
"""Builds a guest's files from Debian's packages: web/vm/image (i386) or web/vm/image64 (amd64).

Needs, as Debian packages: gcc gcc-12-multilib libc6-dev libc6-dev-i386 make flex
bison bc libelf-dev cpio zstd xz-utils patch gcc-aarch64-linux-gnu
gcc-riscv64-linux-gnu, and a machine for amd64.  Takes 5 to 15 minutes, mostly for
the kernel, which is built again only when its source, its configuration or our
patches have changed.  Packages are taken in the versions that image.json has, so
that the same files come out.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.vm import facts, recipe
from tools.vm.debian import Archive, deb_version, installed_version, unpack
from tools.vm.recipe import Guest

JANSSON = "libjansson-dev"
SEABIOS = "seabios"
# For all that goes into the initramfs.
COMPILE = [
    "-std=c11",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-static",
    "-s",
    "-Wl,--build-id=none",
]
COMPILE_INIT = [
    *COMPILE,
    "-D_GNU_SOURCE",
    "-D_FILE_OFFSET_BITS=64",
    "-D_TIME_BITS=64",
    "-Os",
    "-ffunction-sections",
    "-fdata-sections",
    "-Wl,--gc-sections",
]
# By the guest's architecture: the package of the C library, where jansson's package
# has what depends on the architecture, and the compiler's options.
LIBC = {"i386": "libc6-dev-i386", "amd64": "libc6-dev"}
MULTIARCH = {"i386": "i386-linux-gnu", "amd64": "x86_64-linux-gnu"}
COMPILE_FOR = {
    # The package gcc-multilib has a link to this directory in a better place, but
    # does not go together with the cross compilers that other platforms need.
    "i386": ["-m32", "-march=i686", "-idirafter", "/usr/include/x86_64-linux-gnu"],
    "amd64": ["-m64", "-march=x86-64"],
}
# For the programs in initramfs:/warmup, by the processors' names in uname(1).
WARM_UP = {
    "x86_64": [],
    "aarch64": [],
    # Nothing has set the register that relaxed addresses are relative to.
    "riscv64": ["-mno-relax", "-mcmodel=medany"],
}
COMPILE_WARM_UP = [
    *COMPILE,
    "-O2",
    "-ffreestanding",
    "-fno-tree-loop-distribute-patterns",
    "-nostdlib",
    "-no-pie",
]
# Two builds of the same sources give the same files.
REPRODUCIBLE = {
    "KBUILD_BUILD_TIMESTAMP": "Thu Jan  1 00:00:00 UTC 1970",
    "KBUILD_BUILD_USER": "browsermount",
    "KBUILD_BUILD_HOST": "browsermount",
    "SOURCE_DATE_EPOCH": "0",
    "LC_ALL": "C",
}


def run(*command: str | Path, cwd: Path | None = None) -> None:
    subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **REPRODUCIBLE},
        check=True,
    )


def make_kernel(guest: Guest) -> list[str]:
    """The command that builds in the kernel's tree."""
    return ["make", f"ARCH={guest.kernel_arch}", "-s"]


def build_kernel(guest: Guest, source_deb: Path, work: Path, jobs: int) -> Path:
    """Compile the kernel, and return the directory where that was done."""
    patches = guest.kernel_patches()
    parts = [path.read_bytes() for path in guest.kernel_inputs()]
    key = hashlib.sha256(b"\0".join([source_deb.name.encode(), *parts])).hexdigest()
    tree = work / f"linux-{key[:16]}"
    done = tree / "done"
    if done.exists():
        return tree

    shutil.rmtree(tree, ignore_errors=True)
    unpack(source_deb, work / "kernel-package")
    tarball = work / "kernel-package/usr/src" / f"{guest.kernel_source}.tar.xz"
    tree.mkdir(parents=True)
    run("tar", "-xJf", tarball, "--strip-components=1", "-C", tree)
    for path in patches:
        run("patch", "-s", "-p1", "--fuzz=0", "-i", path, cwd=tree)
    make = make_kernel(guest)
    run(*make, "tinyconfig", cwd=tree)
    configs = guest.kernel_configs()
    run("scripts/kconfig/merge_config.sh", "-m", ".config", *configs, cwd=tree)
    run(*make, "olddefconfig", cwd=tree)
    check_config(configs, tree / ".config")
    run("nice", *make, f"-j{jobs}", "bzImage", cwd=tree)
    done.touch()
    return tree


def check_config(fragments: list[Path], config: Path) -> None:
    """Fail when the kernel's dependencies have overruled an option."""
    actual = set(config.read_text("utf-8").splitlines())
    wanted = [line for path in fragments for line in path.read_text("utf-8").splitlines()]
    missing = [
        line
        for line in wanted
        if (line.startswith("CONFIG_") and line not in actual)
        or (line.endswith(" is not set") and line.split()[1] + "=y" in actual)
    ]
    if missing:
        raise SystemExit("the kernel's configuration is not as asked for: " + ", ".join(missing))


def take_kernel(guest: Guest, tree: Path, work: Path) -> Path:
    """Return the path of the file that the machine loads."""
    if guest.kernel == "bzImage":
        return tree / "arch/x86/boot/bzImage"
    stripped = work / "vmlinux"
    run("strip", "--strip-all", tree / "vmlinux", "-o", stripped)
    return compress(stripped, work / guest.kernel)


def compress(plain: Path, output: Path) -> Path:
    run("zstd", "-q", "-19", "-f", plain, "-o", output)
    return output


def build_initramfs(guest: Guest, jansson: Path, work: Path) -> Path:
    """Compile init and the programs for the warm-up, and pack them."""
    root = work / f"initramfs-{guest.architecture}"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    include = jansson / "usr/include"
    multiarch = MULTIARCH[guest.architecture]
    run(
        "gcc",
        *COMPILE_INIT,
        *COMPILE_FOR[guest.architecture],
        f"-I{include}",
        f"-I{include / multiarch}",
        *sorted((recipe.RECIPE_DIR / "init").glob("*.c")),
        jansson / "usr/lib" / multiarch / "libjansson.a",
        "-o",
        root / "init",
    )
    warm_up = root / "warmup"
    warm_up.mkdir()
    for processor in guest.warm_up:
        run(
            f"{processor}-linux-gnu-gcc",
            *COMPILE_WARM_UP,
            *WARM_UP[processor],
            recipe.RECIPE_DIR / "warmup" / "warmup.c",
            "-o",
            warm_up / processor,
        )
    paths = [root / "init", warm_up, *sorted(warm_up.iterdir())]
    for path in paths:
        os.utime(path, (0, 0))
    names = "".join(f"{path.relative_to(root)}\n" for path in paths).encode()
    archive = work / "initramfs.cpio"
    pack = ["cpio", "--quiet", "-o", "-H", "newc", "--reproducible", "-R", "0:0"]
    with archive.open("wb") as output:
        subprocess.run(pack, cwd=root, input=names, stdout=output, check=True)
    return compress(archive, work / guest.initramfs)


def manifest(guest: Guest, versions: dict[str, str]) -> dict[str, Any]:
    """What image.json says about the files."""
    licences = {
        guest.kernel: ("GPL-2.0-only", [guest.kernel_source]),
        guest.initramfs: (
            "Apache-2.0 AND MIT AND LGPL-2.1-or-later",
            [JANSSON, LIBC[guest.architecture]],
        ),
    }
    if guest.bios:
        licences[guest.bios] = ("LGPL-3.0-only", [SEABIOS])
    files = guest.describe()
    for name, (licence, packages) in licences.items():
        files[name]["licence"] = licence
        files[name]["packages"] = packages
    return {"recipe": guest.digest(), "packages": versions, "files": files}


def build(guest: Guest, work: Path, jobs: int, *, newest: bool) -> None:
    """Build a guest's files and their image.json.

    Args:
        work: Where packages and what is compiled are kept.
        jobs: How many compilers run at once.
        newest: Take the newest packages, not those that image.json has.
    """
    recorded = {}
    if not newest and (guest.directory / recipe.MANIFEST).exists():
        recorded = guest.manifest()["packages"]
    architectures = dict.fromkeys(("amd64", guest.architecture))
    archive = Archive(work / f"apt-{guest.architecture}", tuple(architectures))
    archive.update()

    def fetch(name: str, architecture: str = "") -> Path:
        return archive.fetch(name + architecture, recorded.get(name))

    kernel_source = fetch(guest.kernel_source)
    jansson = fetch(JANSSON, f":{guest.architecture}")
    unpacked = work / f"jansson-{guest.architecture}"
    unpack(jansson, unpacked)
    versions = {
        guest.kernel_source: deb_version(kernel_source),
        JANSSON: deb_version(jansson),
    }

    tree = build_kernel(guest, kernel_source, work, jobs)
    built = {
        guest.kernel: take_kernel(guest, tree, work),
        guest.initramfs: build_initramfs(guest, unpacked, work),
    }
    if guest.bios:
        seabios = fetch(SEABIOS)
        unpack(seabios, work / "seabios")
        versions[SEABIOS] = deb_version(seabios)
        built[guest.bios] = work / "seabios/usr/share/seabios/bios.bin"
    for name in (LIBC[guest.architecture], "gcc"):
        versions[name] = installed_version(name)

    guest.directory.mkdir(parents=True, exist_ok=True)
    for name, path in built.items():
        shutil.copyfile(path, guest.directory / name)
    description = manifest(guest, versions)
    description["freePages"] = facts.free_pages(tree, make_kernel(guest))
    text = json.dumps(description, indent=2) + "\n"
    (guest.directory / recipe.MANIFEST).write_text(text, "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    parser.add_argument("architecture", choices=recipe.GUESTS)
    parser.add_argument("--newest", action="store_true", help="take the newest packages")
    parser.add_argument("--work", type=Path, default=cache / "browsermount" / "vm")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()
    guest = recipe.GUESTS[options.architecture]
    build(guest, options.work.resolve(), options.jobs, newest=options.newest)


if __name__ == "__main__":
    main()
