"""``browsermount gateway`` and a machine that does what container2wasm's does to get its image.

The kernel is a real one in QEMU, with QEMU's own network. Its init takes container2wasm's steps
(cmd/init/main.go there): the card is brought up, busybox's udhcpc gets the lease, and the bundle is
mounted by the kernel's own 9P client, with the options that stand there.
"""

from __future__ import annotations

import hashlib
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from tools.vm.recipe import I386

from tests.core.guest_network import GATEWAY, GUEST, GUEST_MAC, ethernet
from tests.fixtures import fixture
from tests.servers.program import free_port
from tests.servers.recording import answering
from tests.servers.web import DIGEST, answer
from tests.vm.qemu import MACHINES, PROGRAM

TIMEOUT = 60
COMMAND = [sys.executable, "-m", "browsermount", "gateway"]
OPTIONS = "trans=tcp,version=9p2000.L,msize=5000000,port=80,cache=loose,ro"

INIT = f"""#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t proc proc /proc
mkdir -p /run/9pbundle /etc
ip link set dev eth0 up
udhcpc -q -n -i eth0 -s /lease > /dev/null 2>&1
ip -4 addr show eth0 | grep -o '192[^ ]*/24'
ip route | head -1
cat /etc/resolv.conf
mount -t 9p -o {OPTIONS} 192.168.127.252 /run/9pbundle || echo not mounted
cd /run/9pbundle
sha256sum config/config.json rootfs/etc/os-release config/imageconfig.json
echo $(ls rootfs config)
. /more
echo the end
reboot -f
"""
# What udhcpc calls with what it was given; Debian's has none of its own.
LEASE = """#!/bin/busybox sh
[ "$1" = bound ] || exit 0
ip addr add $ip/$mask dev $interface
ip route add default via $router
echo "nameserver $dns" > /etc/resolv.conf
"""


@contextmanager
def gateway(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    command = [*COMMAND, *map(str, arguments)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as it:
        try:
            yield it
        finally:
            it.send_signal(signal.SIGINT)
            it.wait(30)


def initramfs(work: Path, more: str) -> Path:
    root = work / "root"
    (root / "bin").mkdir(parents=True)
    (root / "proc").mkdir()
    (root / "bin" / "busybox").write_bytes((fixture("busybox") / "busybox").read_bytes())
    (root / "init").write_text(INIT)
    (root / "lease").write_text(LEASE)
    (root / "more").write_text(more)
    for name in ("init", "lease", "bin/busybox"):
        (root / name).chmod(0o755)
    command = ["bsdtar", "--format", "newc", "-cf", work / "initramfs", "-C", root, "."]
    subprocess.run(command, check=True)
    return work / "initramfs"


def boot(work: Path, netdev: str, more: str = "") -> list[str]:
    """Boot the machine, and return what its init has said when it has ended."""
    machine = MACHINES[I386]
    command = [
        *(PROGRAM, "-M", machine.name, "-accel", "tcg", "-cpu", machine.processor, "-m", "192M"),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *("-kernel", str(I386.directory / I386.kernel), "-initrd", str(initramfs(work, more))),
        *("-append", "console=ttyS0 quiet reboot=t panic=-1 rdinit=/init"),
        *("-netdev", f"{netdev},id=net", "-device", "virtio-net-pci,netdev=net"),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)
    lines = done.stdout.splitlines()
    assert "the end" in lines, done.stdout[-2000:] + done.stderr
    return lines


def content(image: Path, path: str) -> bytes:
    command = [sys.executable, "-m", "browsermount", "cat", str(image), path]
    return subprocess.run(command, capture_output=True, check=True).stdout


def test_a_machine_connects_and_mounts_its_bundle(tmp_path: Path) -> None:
    image = fixture("debian") / "layout"
    path = tmp_path / "cable"
    with (
        answering(answer) as web,
        gateway(image, "--listen", f"unix:{path}", "--network", "all") as server,
    ):
        assert server.stdout is not None
        assert f"unix:{path}" in server.stdout.readline()
        assert path.stat().st_mode & 0o777 == 0o600
        lines = boot(
            tmp_path,
            f"stream,server=off,addr.type=unix,addr.path={path}",
            f"""
tr -d '\\n' < config/config.json; echo
dd if=rootfs/usr/bin/perl of=/perl bs=1M 2>/dev/null; sha256sum < /perl
wget -qO- http://192.168.127.254:{web.port}/data | sha256sum
""",
        )
    assert not path.exists()
    assert lines[0] == "192.168.127.3/24"
    assert lines[1] == "default via 192.168.127.1 dev eth0 "
    assert lines[2] == "nameserver 192.168.127.1"
    release = hashlib.sha256(content(image, "/usr/lib/os-release")).hexdigest()
    assert f"{release}  rootfs/etc/os-release" in lines
    spec = json.loads(next(line for line in lines if line.startswith("{")))
    assert spec["root"]["path"] == "/run/rootfs"
    for digest in (hashlib.sha256(content(image, "/usr/bin/perl")).hexdigest(), DIGEST):
        assert f"{digest}  -" in lines


def test_a_machine_that_listens_itself_and_may_reach_nothing(tmp_path: Path) -> None:
    image = fixture("configs") / "layout"
    port = free_port()
    more = """
wget -qO- http://192.168.127.254:1/ 2>&1
nslookup host.containers.internal 2>&1 | grep -o NXDOMAIN | head -1
wget -qO- http://1.1.1.1/ 2>&1
"""
    with gateway(f"{image}#cmd-exec", "--connect", f"tcp:{port}", "--network", "none") as server:
        lines = boot(tmp_path, f"socket,listen=127.0.0.1:{port}", more)
        # The machine is gone, and with it what there was to do.
        assert server.wait(30) == 0
    assert lines[0] == "192.168.127.3/24"
    assert any(line.endswith("  config/imageconfig.json") for line in lines)
    refused = "wget: can't connect to remote host ({}): Connection refused"
    said = lines[-lines[::-1].index("the end") - 4 :]
    assert said[:3] == [refused.format("192.168.127.254"), "NXDOMAIN", refused.format("1.1.1.1")]


def test_one_machine_after_the_other(tmp_path: Path) -> None:
    path = tmp_path / "cable"
    asks = bytes.fromhex("0001080006040001") + GUEST_MAC + GUEST + bytes(6) + GATEWAY
    frame = ethernet(asks, kind=0x0806, target=b"\xff" * 6)
    with gateway(f"{fixture('configs')}/layout#cmd-exec", "--listen", f"unix:{path}") as server:
        assert server.stdout is not None
        server.stdout.readline()
        for _ in range(2):
            with socket.socket(socket.AF_UNIX) as machine:
                machine.settimeout(30)
                machine.connect(str(path))
                machine.sendall(len(frame).to_bytes(4, "big") + frame)
                answer = machine.recv(1 << 16)
                assert answer[4:10] == GUEST_MAC
                # And what is no frame at all
                machine.sendall(b"\xff" * 8)
                assert machine.recv(1) == b""


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ((), "either --listen or --connect"),
        (("--listen", "tcp:0", "--connect", "tcp:1"), "either --listen or --connect"),
        (("--listen", "udp:1"), "unix:PATH"),
        (("--listen", "tcp:70000"), "not a port"),
        (("--listen", "tcp:0", "--mtu", "100"), "--mtu"),
        (("--listen", "unix:/none/cable"), "/none/cable"),
    ],
)
def test_options_that_make_no_sense(options: tuple[str, ...], reason: str) -> None:
    with gateway(f"{fixture('configs')}/layout#cmd-exec", *options) as server:
        _, said = server.communicate(timeout=30)
    assert server.returncode == 125
    assert reason in said
