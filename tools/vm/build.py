#!/usr/bin/env python3
"""Builds the files of the virtual machine in web/vm/image from Debian's packages.

Needs, as Debian packages: gcc gcc-12-multilib libc6-dev-i386 make flex bison bc
libelf-dev cpio zstd xz-utils patch gcc-aarch64-linux-gnu gcc-riscv64-linux-gnu,
and a machine for amd64.  Takes 5 to 15 minutes, mostly for the kernel, which is
built again only when its source, its configuration or our patches have changed.
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

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tools.vm import recipe
from tools.vm.debian import Archive, deb_version, installed_version, unpack

KERNEL_SOURCE = "linux-source-6.1"
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
    "gcc",
    "-m32",
    *COMPILE,
    "-D_GNU_SOURCE",
    "-D_FILE_OFFSET_BITS=64",
    "-D_TIME_BITS=64",
    "-Os",
    "-march=i686",
    "-ffunction-sections",
    "-fdata-sections",
    # The package gcc-multilib has a link to this in a better place, but does not go
    # together with the cross compilers that the tests of other platforms need.
    "-idirafter",
    "/usr/include/x86_64-linux-gnu",
    "-Wl,--gc-sections",
]
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


def build_kernel(source_deb: Path, work: Path, jobs: int) -> Path:
    """Compile the kernel and return the path of its bzImage."""
    config = recipe.RECIPE_DIR / "kernel.config"
    patches = recipe.patches()
    parts = [path.read_bytes() for path in (config, *patches)]
    key = hashlib.sha256(b"\0".join([source_deb.name.encode(), *parts])).hexdigest()
    tree = work / f"linux-{key[:16]}"
    image = tree / "arch/x86/boot/bzImage"
    if image.exists():
        return image

    shutil.rmtree(tree, ignore_errors=True)
    unpack(source_deb, work / "kernel-package")
    tarball = work / "kernel-package/usr/src" / f"{KERNEL_SOURCE}.tar.xz"
    tree.mkdir(parents=True)
    run("tar", "-xJf", tarball, "--strip-components=1", "-C", tree)
    for path in patches:
        run("patch", "-s", "-p1", "--fuzz=0", "-i", path, cwd=tree)
    make = ["make", "ARCH=i386", "-s"]
    run(*make, "tinyconfig", cwd=tree)
    run("scripts/kconfig/merge_config.sh", "-m", ".config", config, cwd=tree)
    run(*make, "olddefconfig", cwd=tree)
    check_config(config, tree / ".config")
    run("nice", *make, f"-j{jobs}", "bzImage", cwd=tree)
    return image


def check_config(fragment: Path, config: Path) -> None:
    """Fail when the kernel's dependencies have overruled an option."""
    actual = set(config.read_text("utf-8").splitlines())
    wanted = fragment.read_text("utf-8").splitlines()
    missing = [
        line
        for line in wanted
        if (line.startswith("CONFIG_") and line not in actual)
        or (line.endswith(" is not set") and line.split()[1] + "=y" in actual)
    ]
    if missing:
        raise SystemExit("kernel.config: not as asked for: " + ", ".join(missing))


def build_initramfs(jansson: Path, work: Path) -> Path:
    """Compile init and the programs for the warm-up, and pack them."""
    root = work / "initramfs"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    include = jansson / "usr/include"
    run(
        *COMPILE_INIT,
        f"-I{include}",
        f"-I{include}/i386-linux-gnu",
        *sorted((recipe.RECIPE_DIR / "init").glob("*.c")),
        jansson / "usr/lib/i386-linux-gnu/libjansson.a",
        "-o",
        root / "init",
    )
    warm_up = root / "warmup"
    warm_up.mkdir()
    for processor, options in WARM_UP.items():
        run(
            f"{processor}-linux-gnu-gcc",
            *COMPILE_WARM_UP,
            *options,
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
    run("zstd", "-q", "-19", "-f", archive, "-o", work / recipe.INITRAMFS)
    return work / recipe.INITRAMFS


def manifest(image: Path, versions: dict[str, str]) -> dict[str, object]:
    """What image.json says about the files."""
    licences = {
        recipe.KERNEL: ("GPL-2.0-only", [KERNEL_SOURCE]),
        recipe.INITRAMFS: (
            "Apache-2.0 AND MIT AND LGPL-2.1-or-later",
            ["libjansson-dev", "libc6-dev-i386"],
        ),
        recipe.BIOS: ("LGPL-3.0-only", ["seabios"]),
    }
    files = recipe.describe(image)
    for name, (licence, packages) in licences.items():
        files[name]["licence"] = licence
        files[name]["packages"] = packages
    return {"recipe": recipe.digest(), "packages": versions, "files": files}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    parser.add_argument("--work", type=Path, default=cache / "browsermount" / "vm")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    options = parser.parse_args()

    work: Path = options.work.resolve()
    archive = Archive(work / "apt")
    archive.update()
    kernel_source = archive.fetch(KERNEL_SOURCE)
    jansson = archive.fetch("libjansson-dev:i386")
    seabios = archive.fetch("seabios")
    unpack(jansson, work / "jansson")
    unpack(seabios, work / "seabios")

    image = recipe.IMAGE_DIR
    image.mkdir(parents=True, exist_ok=True)
    built = {
        recipe.KERNEL: build_kernel(kernel_source, work, options.jobs),
        recipe.INITRAMFS: build_initramfs(work / "jansson", work),
        recipe.BIOS: work / "seabios/usr/share/seabios/bios.bin",
    }
    for name, path in built.items():
        shutil.copyfile(path, image / name)
    versions = {
        KERNEL_SOURCE: deb_version(kernel_source),
        "libjansson-dev": deb_version(jansson),
        "seabios": deb_version(seabios),
        **{name: installed_version(name) for name in ("libc6-dev-i386", "gcc")},
    }
    text = json.dumps(manifest(image, versions), indent=2) + "\n"
    (image / recipe.MANIFEST).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
