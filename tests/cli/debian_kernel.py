"""Debian's own kernel, in QEMU, mounts what ``browsermount 9p`` serves over TCP.

    python -m tests.cli.debian_kernel [IMAGE-FIXTURE]

Compares what the kernel's client shows with what umoci unpacks. Not part of the test suite, for
the kernel's package has 70 MB. Needs qemu-system-x86, cpio and apt-get.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.compare.known import FEATURES
from tests.compare.readers import unpack_with_umoci
from tests.compare.records import differences, parse_probe
from tests.fixtures import fixture
from tests.fixtures.tools import HERE

_MODULES = ("netfs", "fscache", "9pnet", "9pnet_fd", "9p", "e1000")

_INIT = """#!/bin/busybox sh
/bin/busybox mkdir -p /proc /dev /mnt
/bin/busybox mount -t proc proc /proc
/bin/busybox mount -t devtmpfs dev /dev
for module in {modules}; do /bin/busybox insmod /modules/$module.ko; done
/bin/busybox ip link set eth0 up
/bin/busybox ip addr add 10.0.2.15/24 dev eth0
/bin/busybox mount -t 9p -o \
trans=tcp,port={port},version=9p2000.L,msize=131072,cache=loose,ro,aname=rootfs 10.0.2.2 /mnt
/bin/busybox uname -r > /dev/ttyS0
/bin/busybox stty raw < /dev/ttyS1
/probe /mnt > /dev/ttyS1
/bin/busybox poweroff -f
"""


def kernel(work: Path) -> tuple[Path, list[Path]]:
    """Unpack Debian's kernel and return its image and modules."""
    wanted = subprocess.run(
        ["apt-cache", "depends", "linux-image-amd64"], capture_output=True, text=True, check=True
    ).stdout
    package = next(word for word in wanted.split() if word.startswith("linux-image-6"))
    subprocess.run(["apt-get", "download", "-q", package], cwd=work, check=True)
    archive = next(work.glob("linux-image-*.deb"))
    subprocess.run(["dpkg-deb", "-x", archive, work], check=True)
    modules = [next(work.rglob(f"{name}.ko")) for name in _MODULES]
    return next((work / "boot").glob("vmlinuz-*")), modules


def initramfs(work: Path, modules: list[Path], port: str) -> Path:
    """Make an initramfs that mounts the tree and runs the probe."""
    root = work / "initramfs"
    (root / "bin").mkdir(parents=True)
    (root / "modules").mkdir()
    files = {"bin/busybox": fixture("busybox") / "busybox", "probe": HERE / "probe" / "probe"}
    files |= {f"modules/{module.name}": module for module in modules}
    for name, source in files.items():
        (root / name).write_bytes(source.read_bytes())
        (root / name).chmod(0o755)
    (root / "init").write_text(_INIT.format(modules=" ".join(_MODULES), port=port))
    (root / "init").chmod(0o755)
    names = "\n".join(str(path.relative_to(root)) for path in sorted(root.rglob("*")))
    packed = subprocess.run(
        ["cpio", "-o", "-H", "newc", "--quiet"], cwd=root, input=names.encode(),
        capture_output=True, check=True,
    )  # fmt: skip
    (work / "initramfs.cpio").write_bytes(packed.stdout)
    return work / "initramfs.cpio"


def main(name: str = "features") -> None:
    """Run the comparison."""
    layout = fixture(name) / "layout"
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        image, modules = kernel(work)
        command = [sys.executable, "-m", "browsermount", "9p", str(layout), "--listen", "tcp:0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            port = server.stdout.readline().rpartition(":")[2].strip()
            initrd = initramfs(work, modules, port)
            started = time.monotonic()
            subprocess.run(
                [
                    *("qemu-system-x86_64", "-m", "512", "-display", "none", "-no-reboot"),
                    *("-kernel", image, "-initrd", initrd, "-append", "console=ttyS0 quiet"),
                    *("-netdev", "user,id=net", "-device", "e1000,netdev=net"),
                    *("-serial", "stdio", "-serial", f"file:{work / 'output'}"),
                ],
                stdin=subprocess.DEVNULL,
                check=True,
                timeout=900,
            )
            print(f"{time.monotonic() - started:.0f} s in the machine")
            server.terminate()
        found = parse_probe((work / "output").read_bytes())
    expected = unpack_with_umoci(layout, "features" if name == "features" else "latest")
    text = differences(expected, found, FEATURES if name == "features" else ())
    print(text or f"{len(found)} files are the same")
    sys.exit(bool(text))


if __name__ == "__main__":
    os.environ.setdefault("LC_ALL", "C.UTF-8")
    main(*sys.argv[1:])
