#!/usr/bin/env python3
"""Makes the programs that translate other processors' programs: the user mode of QEMU.

They are compiled from the source of Debian's package with the patches in ``tools/vm/qemu``, in a
Debian for amd64 that mmdebstrap makes, and optimised for what training.py runs in them. Writes
``web/vm/interpreters`` and the table of them, which is a part of the Python package:
``src/browsermount/interpreters.json``.

Needs root, a machine for amd64, Debian's packages mmdebstrap, binutils and valgrind, and
zstandard's module: run it with the Python of the checkout's environment. Takes about ten minutes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import zstandard

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from tools.vm import training  # noqa: E402
from tools.vm.debian import Archive, deb_version  # noqa: E402

OUTPUT = ROOT / "web" / "vm" / "interpreters"
TABLE = ROOT / "src" / "browsermount" / "interpreters.json"
PATCHES = Path(__file__).resolve().parent / "qemu"
# In the system that compiles: QEMU's build, and by processors the programs that it translates.
BUILD = Path("qemu", "build")
GUESTS = Path("guests")
# Where translations are kept, as the kernel has it for the guest.
KEPT = Path("kept")
KEPT_SIZE = 48 << 20
PACKAGE = "qemu-user-static"
SUITE = "bookworm"
PROCESSORS = {"aarch64": "arm64", "riscv64": "riscv64"}
"""What uname(1) calls a processor, and what images call it."""

BUILD_PACKAGES = (
    "dpkg-dev,gcc,libc6-dev,libglib2.0-dev,libpcre2-dev,lld,make,meson,ninja-build,patch,pkg-config,"
    "python3,zlib1g-dev"
)
# As in debian/rules, for a static user mode.
CONFIGURE = (
    "--static --disable-pie --disable-system --disable-xen --disable-tools --disable-docs "
    "--disable-strip --with-git-submodules=ignore --prefix=/usr --sysconfdir=/etc "
    "--localstatedir=/var --interp-prefix=/etc/qemu-binfmt/%M"
)
# --enable-gcov makes QEMU write the counts where it ends without exit().
COUNT = "--enable-gcov --extra-cflags='-g0 -fprofile-generate'"
# By the counts, but no larger for it: of what the profile makes GCC do, whatever copies code is
# left out. Functions that were never executed are compiled as if there were no counts.
COMPILE = (
    "--disable-stack-protector --extra-cflags='-g0 -ffunction-sections "
    "-fprofile-use -fprofile-partial-training -Wno-missing-profile -Wno-coverage-mismatch "
    "-fno-tree-loop-vectorize -fno-tree-slp-vectorize "
    "-fno-align-functions -fno-align-jumps -fno-align-labels -fno-align-loops'"
)
LINK = "-fuse-ld=lld -Wl,--no-warn-symbol-ordering -Wl,--symbol-ordering-file=/order"


def write_interpreter(program: Path, processor: str, architecture: str) -> dict[str, object]:
    """Compress one program and return its row of the table."""
    path = f"{processor}.zst"
    plain = program.read_bytes()
    data = zstandard.ZstdCompressor(level=22).compress(plain)
    (OUTPUT / path).write_bytes(data)
    return {
        "processor": processor,
        "path": path,
        "mediaType": "application/zstd",
        "digest": f"sha256:{hashlib.sha256(data).hexdigest()}",
        "size": len(data),
        "platform": {"os": "linux", "architecture": architecture},
    }


def patches() -> dict[str, str]:
    """Return what is changed in QEMU's source: the digest of each patch by its name."""
    return {
        path.name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
        for path in sorted(PATCHES.glob("*.patch"))
    }


def compile_all(version: str, work: Path) -> Path:
    """Compile the interpreters; return the directory of QEMU's build.

    Args:
        version: Of the source package: Debian's, with all of Debian's patches.
        work: Where the system that compiles is made.
    """
    root = work / "qemu-root"
    _make_system(root)
    shutil.copytree(PATCHES, root / "patches")
    source = f"""
        apt-get -qq -o APT::Sandbox::User= update
        apt-get -qq -o APT::Sandbox::User= source qemu={version}
        mv qemu-*/ qemu
        cd qemu
        for patch in /patches/*.patch; do patch -p1 < "$patch"; done
    """
    _in_system(root, source)
    _build(root, COUNT)
    for processor in PROCESSORS:
        for workload in training.WORKLOADS:
            # In the system, as it is there that the counts are to be written.
            _translate(["chroot", root, *_command(Path("/"), processor, workload)])
        # And with what was translated before: the first time there is nothing yet.
        with (root / KEPT).open("wb") as kept:
            kept.truncate(KEPT_SIZE)
        for workload in training.WORKLOADS * 2:
            command = _command(Path("/"), processor, workload, ["-kept", Path("/", KEPT)])
            _translate(["chroot", root, *command])
    # The compiler looks for the counts where the objects are made.
    keep = """
        cd /qemu
        find build -name '*.gcda' > counts
        tar -cf counts.tar -T counts
        rm -r build
        tar -xf counts.tar
    """
    _in_system(root, keep)
    _build(root, COMPILE)
    for processor in PROCESSORS:
        _link_in_order(root, processor)
    return root / BUILD


def _make_system(root: Path) -> None:
    """Make the Debian that compiles, and the ones of which programs are translated."""
    if root.exists():
        # A run that was ended may have left this computer's /proc or /dev mounted in there: those
        # are never emptied, and it fails.
        subprocess.run(["rm", "-r", "--one-file-system", str(root)], check=True)
    listed = _run(["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(REPO_URI)"])
    archives = sorted({tuple(line.split()) for line in listed.splitlines()})
    # Programs from the suite itself, the source from where its newest version is.
    mirrors = [uri for suite, component, uri in archives if (suite, component) == (SUITE, "main")]
    lines = [f"deb {uri} {SUITE} main" for uri in mirrors]
    lines += [
        f"deb-src {uri} {suite} {component}"
        for suite, component, uri in archives
        if suite.startswith(SUITE) and component == "main"
    ]
    command = ["mmdebstrap", "--quiet", "--mode=root", "--architectures=amd64", "--variant=apt"]
    subprocess.run([*command, f"--include={BUILD_PACKAGES}", SUITE, str(root), *lines], check=True)
    (root / GUESTS).mkdir()
    for processor, architecture in PROCESSORS.items():
        training.make_guest(root / GUESTS / processor, architecture, SUITE, mirrors[0])


def _build(root: Path, options: str) -> None:
    targets = ",".join(f"{processor}-linux-user" for processor in PROCESSORS)
    programs = " ".join(f"qemu-{processor}" for processor in PROCESSORS)
    build = f"""
        mkdir -p /{BUILD}
        cd /{BUILD}
        ../configure {CONFIGURE} {options} --target-list={targets}
        ninja {programs}
    """
    _in_system(root, build)


def _command(
    root: Path, processor: str, workload: Sequence[str], options: Sequence[str | Path] = ()
) -> list[str | Path]:
    """How a workload is run by the interpreter that was compiled below `root`."""
    interpreter = root / BUILD / f"qemu-{processor}"
    return training.command(interpreter, root / GUESTS / processor, workload, options)


def _translate(command: Sequence[str | Path]) -> None:
    silent = subprocess.DEVNULL
    subprocess.run(command, stdin=silent, stdout=silent, check=True)


def _link_in_order(root: Path, processor: str) -> None:
    """Link an interpreter again, with its functions in the order of what they take."""
    program = f"qemu-{processor}"
    profiles = []
    for workload in training.START:
        profile = root / "profile"
        # What is translated is code that was written by the program that executes it.
        observer = ["valgrind", "--quiet", "--tool=callgrind", "--smc-check=all-non-file"]
        observer.append(f"--callgrind-out-file={profile}")
        _translate([*observer, *_command(root, processor, workload)])
        profiles.append(profile.read_text("utf-8"))
    symbols = _run(["nm", "--print-size", str(root / BUILD / program)])
    order = training.function_order(profiles, symbols)
    (root / "order").write_text("".join(f"{name}\n" for name in order), "utf-8")
    link = f"""
        cd /{BUILD}
        eval "$(ninja -t commands {program} | tail -n 1) {LINK}"
        strip {program}
    """
    _in_system(root, link)


def _in_system(root: Path, script: str) -> None:
    subprocess.run(["chroot", root, "sh", "-ec", script], check=True)


def _run(command: list[str]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    cache = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser()
    parser.add_argument("--work", type=Path, default=cache / "browsermount" / "vm")
    work: Path = parser.parse_args().work.resolve()

    archive = Archive(work / "apt", ("amd64",))
    archive.update()
    package = archive.fetch(PACKAGE)
    version = deb_version(package)
    OUTPUT.mkdir(parents=True, exist_ok=True)
    # A binary's version may end with the number of a rebuild without changes to the source.
    compiled = compile_all(version.partition("+b")[0], work)
    table = {
        "package": PACKAGE,
        "version": version,
        "licence": "GPL-2.0-only",
        "patches": patches(),
        "interpreters": [
            write_interpreter(compiled / f"qemu-{processor}", processor, architecture)
            for processor, architecture in PROCESSORS.items()
        ],
    }
    TABLE.write_text(json.dumps(table, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
