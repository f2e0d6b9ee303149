"""The guests in QEMU: machines like the emulators', made by others.

QEMU's microvm has what the 64-bit emulator has: a PC's interrupt controllers, timer and serial
port, no firmware to speak of, and virtio devices in memory. For i386 there is a PC with virtio
devices at its PCI bus, as in v86. QEMU serves a folder by 9P itself.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tools.vm.recipe import AMD64, I386, Guest

PROGRAM = "qemu-system-x86_64"
MEMORY = 256 << 20
"""In bytes."""

# No I/O APIC: devices interrupt by the PIC, as in the emulators.
COMMAND_LINE = "console=ttyS0 quiet tsc=reliable reboot=t noapic"


@dataclass(frozen=True)
class _Machine:
    """What QEMU calls a guest's machine, its processor, and its way to virtio devices."""

    name: str
    processor: str
    bus: str


MACHINES = {
    AMD64: _Machine(
        "microvm,pic=on,pit=on,rtc=on,isa-serial=on,acpi=off,ioapic2=off",
        # x86-64-v2, with instructions that make random numbers and copy memory.
        "Nehalem-v1,+rdrand,+erms",
        "device",
    ),
    I386: _Machine("pc,acpi=off", "pentium3", "pci"),
}

# The ports of the virtio console, as tools/vm/init/control.h has them.
TERMINAL, CONTROL, STDOUT, STDERR = range(4)
# What makes QEMU's monitor take commands; it is its protocol's first one.
NEGOTIATE = "qmp_capabilities"


class GuestError(Exception):
    """The guest did not do what it should; the message has the kernel's last words."""


@dataclass
class Outcome:
    """How a container ended.

    Attributes:
        stages: The messages of the guest before the last one, by their types.
        last: The last message: ``exit`` or ``error``, with what belongs to it.
        output: What each of the console's ports has said.
    """

    stages: list[str] = field(default_factory=list)
    last: dict[str, Any] = field(default_factory=dict)
    output: dict[int, bytes] = field(default_factory=dict)

    @property
    def stdout(self) -> str:
        """Standard output, of a process without a terminal."""
        return self.output[STDOUT].decode()

    @property
    def stderr(self) -> str:
        """Standard error, of a process without a terminal."""
        return self.output[STDERR].decode()


class QemuGuest:
    """A guest that runs. Use `running` to get one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._readers: dict[int, asyncio.StreamReader] = {}
        self._writers: dict[int, asyncio.StreamWriter] = {}
        self._monitor: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    @property
    def memory(self) -> Path:
        """The file that is the guest's memory."""
        return self._directory / "memory"

    @property
    def log(self) -> str:
        """What the kernel has said."""
        return (self._directory / "serial").read_text("utf-8", errors="replace")

    @property
    def requests(self) -> list[str]:
        """The 9P requests so far, and the replies to them, as QEMU describes them."""
        return (self._directory / "requests").read_text("utf-8").splitlines()

    async def connect(self) -> None:
        """Wait for QEMU, and connect to the console's ports and to its monitor."""
        for port in range(4):
            self._readers[port], self._writers[port] = await _connect(self._directory / f"{port}")
        self._monitor = await _connect(self._directory / "monitor")
        await self._monitor[0].readline()  # its greeting
        await self.command(NEGOTIATE)

    async def command(self, name: str) -> None:
        """Have QEMU's monitor do something, such as ``stop`` or ``cont``."""
        assert self._monitor is not None
        reader, writer = self._monitor
        writer.write(json.dumps({"execute": name}).encode() + b"\n")
        while True:
            answer = json.loads(await reader.readline())
            if "error" in answer:
                raise GuestError(answer["error"]["desc"])
            if "return" in answer:
                return

    async def receive(self) -> dict[str, Any]:
        """Return the next message of init."""
        line = await self._readers[CONTROL].readline()
        if not line:
            raise GuestError(f"the guest is gone: {self.log[-2000:]}")
        message: dict[str, Any] = json.loads(line)
        return message

    def send(self, message: dict[str, Any]) -> None:
        """Send a message to init."""
        self.write(CONTROL, json.dumps(message).encode() + b"\n")

    def write(self, port: int, data: bytes) -> None:
        """Write to one of the console's ports."""
        self._writers[port].write(data)

    async def read(self, port: int) -> bytes:
        """Return what comes next from one of the console's ports; nothing at the end."""
        return await self._readers[port].read(65536)

    async def exchange(self, kind: str, answer: str) -> None:
        """Send a message that has only a type, and wait for the answer."""
        self.send({"type": kind})
        while (await self.receive())["type"] != answer:
            pass

    def start(self) -> None:
        """Tell init to start the container."""
        self.send(
            {
                "type": "start",
                "clock_ms": time.time_ns() // 1_000_000,
                "seed": os.urandom(64).hex(),
                "rows": 33,
                "cols": 101,
            }
        )


async def _connect(path: Path) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(500):
        with suppress(FileNotFoundError, ConnectionRefusedError):
            return await asyncio.open_unix_connection(path)
        await asyncio.sleep(0.01)
    raise GuestError(f"QEMU does not open {path.name}")


def _command(guest: Guest, directory: Path, tree: Path) -> list[str]:
    machine = MACHINES[guest]
    command = [PROGRAM, "-M", f"{machine.name},memory-backend=memory", "-accel", "tcg"]
    command += ["-cpu", machine.processor, "-m", f"{MEMORY}B"]
    command += ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot"]
    memory = f"memory-backend-file,id=memory,size={MEMORY}B,share=on,mem-path={directory}/memory"
    command += ["-object", memory, "-global", "virtio-mmio.force-legacy=false"]
    command += ["-kernel", f"{directory}/kernel", "-initrd", f"{directory}/initramfs"]
    command += ["-append", COMMAND_LINE, "-serial", f"file:{directory}/serial"]
    command += ["-qmp", f"unix:{directory}/monitor,server=on,wait=off"]
    command += ["-fsdev", f"local,id=tree,path={tree},security_model=none,readonly=on"]
    command += ["-device", f"virtio-9p-{machine.bus},fsdev=tree,mount_tag=host9p"]
    command += ["-trace", f"v9fs_*,file={directory}/requests"]
    command += ["-device", f"virtio-serial-{machine.bus},max_ports=4"]
    for port in range(4):
        socket = f"socket,id=port{port},path={directory}/{port},server=on,wait=off"
        command += ["-chardev", socket, "-device", f"virtconsole,chardev=port{port},nr={port}"]
    for device in ("rng", "balloon", "net"):
        command += ["-device", f"virtio-{device}-{machine.bus}"]
    return command


@asynccontextmanager
async def running(tree: Path, what: Guest = AMD64) -> AsyncIterator[QemuGuest]:
    """Boot a committed guest up to "ready".

    Args:
        tree: What it is served: a folder with ``config`` and ``rootfs``.
        what: The guest.
    """
    if not shutil.which(PROGRAM):
        raise GuestError(f"{PROGRAM} is missing: apt-get install qemu-system-x86")
    with tempfile.TemporaryDirectory(prefix="browsermount-qemu-") as temporary:
        directory = Path(temporary)
        for name, output in ((what.kernel, "kernel"), (what.initramfs, "initramfs")):
            # Others than compressed files are copied.
            unpack = ["zstd", "-q", "-d", "-f", "--pass-through", "--stdout"]
            with (directory / output).open("wb") as file:
                subprocess.run([*unpack, what.directory / name], stdout=file, check=True)
        with (directory / "qemu").open("wb") as errors:
            process = await asyncio.create_subprocess_exec(
                *_command(what, directory, tree), stdin=subprocess.DEVNULL, stderr=errors
            )
        guest = QemuGuest(directory)
        try:
            await guest.connect()
            message = await guest.receive()
            assert message == {"type": "ready"}, message
            yield guest
        except GuestError as error:
            raise GuestError(f"{error}\n{(directory / 'qemu').read_text()}") from error
        finally:
            if process.returncode is None:
                process.kill()
            await process.wait()


async def run_container(
    guest: QemuGuest,
    *,
    on_output: Callable[[bytes], Awaitable[None]] | None = None,
) -> Outcome:
    """Start the container, and wait for its end.

    Args:
        on_output: Is called with all that the terminal's port has said, whenever that is more.
    """
    outcome = Outcome(output=dict.fromkeys((TERMINAL, STDOUT, STDERR), b""))

    async def copy(port: int) -> None:
        while data := await guest.read(port):
            outcome.output[port] += data
            if port == TERMINAL and on_output:
                await on_output(outcome.output[port])

    copies = [asyncio.create_task(copy(port)) for port in outcome.output]
    guest.start()
    try:
        while True:
            message = await guest.receive()
            if message["type"] in {"exit", "error"}:
                outcome.last = message
                break
            if message["type"] != "consumed":
                outcome.stages.append(message["type"])
        # Init has waited for its output to be taken before it said so; QEMU passes the ports on
        # by themselves.
        await _until_quiet(outcome)
    finally:
        for task in copies:
            task.cancel()
        await asyncio.gather(*copies, return_exceptions=True)
    return outcome


async def _until_quiet(outcome: Outcome) -> None:
    length = -1
    while length != (now := sum(map(len, outcome.output.values()))):
        length = now
        await asyncio.sleep(0.05)
