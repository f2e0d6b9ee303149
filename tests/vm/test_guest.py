"""The committed amd64 guest boots in QEMU and runs containers, also with programs for i386."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from tools.vm.recipe import GUESTS, Guest

from browsermount.oci.config import ImageConfig
from browsermount.runtime.spec import ProcessOptions, etc_files, runtime_spec
from browsermount.runtime.user import User
from tests.fixtures import fixture
from tests.fixtures.guest import I386
from tests.vm import qemu
from tests.vm.memory import free_ranges, read_word
from tests.vm.qemu import GuestError, Outcome, QemuGuest, run_container, running

TIMEOUT = 120
CONFIG = ImageConfig(env=("PATH=/bin:/usr/bin",))
BUSYBOX = f"/{I386}"

Change = Callable[[dict[str, Any]], None]


def as_it_is(_: dict[str, Any]) -> None:
    """Leave the runtime spec as the product makes it."""


def make_tree(
    directory: Path, *args: str, terminal: bool = False, user: User | None = None, change: Change
) -> Path:
    """Make the folder that is served: the container is to run a program of Debian's."""
    options = ProcessOptions(args=args, terminal=terminal)
    spec = runtime_spec(CONFIG, options, user or User())
    change(spec)
    config = directory / "config"
    config.mkdir(parents=True)
    (config / "config.json").write_text(json.dumps(spec), "utf-8")
    for name, content in etc_files(options).items():
        (config / name).write_bytes(content)
    shutil.copytree(fixture("guest-root"), directory / "rootfs", symlinks=True)
    return directory


def bash(
    directory: Path, script: str, *, user: User | None = None, change: Change = as_it_is
) -> Outcome:
    """Run a script in a container without a terminal."""
    tree = make_tree(directory, "bash", "-c", script, user=user, change=change)
    return asyncio.run(asyncio.wait_for(_run(tree), TIMEOUT))


async def _run(
    tree: Path, on_output: Callable[[QemuGuest, bytes], Awaitable[None]] | None = None
) -> Outcome:
    async with running(tree) as guest:

        async def pass_on(output: bytes) -> None:
            if on_output:
                await on_output(guest, output)

        return await run_container(guest, on_output=pass_on)


def test_programs_of_both_architectures(tmp_path: Path) -> None:
    script = f"""
        uname -m
        /bin/true && echo true
        printf 'b\\na\\n' | sort
        {BUSYBOX} sh -c 'echo $((1 << 40)); {BUSYBOX} uname -m'
        {BUSYBOX} seq 3 | {BUSYBOX} tail -n 1
        {BUSYBOX} od -An -tx1 -j4 -N1 {BUSYBOX}
        echo error >&2
        exit 7
    """
    outcome = bash(tmp_path, script)
    assert outcome.stages == ["mounted", "started"]
    assert outcome.stdout == "x86_64\ntrue\na\nb\n1099511627776\nx86_64\n3\n 01\n"
    assert outcome.stderr == "error\n"
    assert outcome.last == {"type": "exit", "code": 7}


def test_ports_at_which_the_container_listens_are_told_of(tmp_path: Path) -> None:
    # A silent program is noticed, too; what is written has it looked at anew.
    script = f"{BUSYBOX} httpd -f -p 8080 & sleep 2; kill $!; echo gone; sleep 0.6"
    outcome = bash(tmp_path, script)
    assert outcome.stages == ["mounted", "started", "ports", "ports"]


def test_a_program_that_a_signal_ends(tmp_path: Path) -> None:
    outcome = bash(tmp_path, f"{BUSYBOX} sh -c 'kill -SEGV $$'; echo $?; kill -KILL $$")
    assert outcome.stdout == "139\n"
    # The first process of a PID namespace has no fatal signals.
    assert outcome.last == {"type": "exit", "code": 0}


def test_each_device_has_its_driver(tmp_path: Path) -> None:
    outcome = bash(
        tmp_path, "cd /sys/bus/virtio/drivers; echo */virtio*; grep -c VSOCK /proc/net/protocols"
    )
    found = {path.split("/")[0] for path in outcome.stdout.splitlines()[0].split()}
    assert found == {
        "9pnet_virtio",
        "virtio_balloon",
        "virtio_console",
        "virtio_net",
        "virtio_rng",
    }
    assert outcome.stdout.splitlines()[1] == "1"


def test_a_terminal(tmp_path: Path) -> None:
    tree = make_tree(tmp_path, "bash", "--norc", terminal=True, change=as_it_is)
    typed = b"stty size; [ -t 1 ] && exit 4\n"
    asked = False

    async def type_when_asked(guest: QemuGuest, output: bytes) -> None:
        nonlocal asked
        if not asked and output.rstrip().endswith(b"#"):
            asked = True
            guest.write(qemu.TERMINAL, typed)

    outcome = asyncio.run(asyncio.wait_for(_run(tree, type_when_asked), TIMEOUT))
    assert b"\r\n33 101\r\n" in outcome.output[qemu.TERMINAL]
    assert outcome.last == {"type": "exit", "code": 4}


def test_devices_can_be_made_but_not_opened(tmp_path: Path) -> None:
    """Root in the container does not get at the control channel or the serial port."""
    script = """
        cd /tmp
        try() {
            mknod node c $1 $2 || echo "$1:$2 not made"
            (: < node) 2>/dev/null && echo "$1:$2 read"
            (: > node) 2>/dev/null && echo "$1:$2 written"
            rm node
        }
        for minor in 0 1 2 3; do try 229 $minor; done
        try 4 64; try 5 1; try 1 11; try 10 200
        mknod disk b 7 0 && echo made
        (: < disk) 2>&1 | grep -c 'not permitted'
        : < /dev/null && : > /dev/full && : < /dev/zero && head -c 4 /dev/urandom | wc -c
    """
    outcome = bash(tmp_path, script)
    assert outcome.stderr == ""
    assert outcome.stdout == "made\n1\n4\n"


def test_a_device_of_the_spec_can_be_opened(tmp_path: Path) -> None:
    tun = {"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200, "fileMode": 0o666}

    def add(spec: dict[str, Any]) -> None:
        spec["linux"]["devices"] = [tun]

    script = """
        (: < /dev/net/tun) && echo opened
        mknod /tmp/other c 10 229 && (: < /tmp/other) 2>&1 | grep -c 'not permitted'
        mknod /tmp/block b 10 200 && (: < /tmp/block) 2>&1 | grep -c 'not permitted'
    """
    assert bash(tmp_path, script, change=add).stdout == "opened\n1\n1\n"


def test_the_number_of_processes_is_limited(tmp_path: Path) -> None:
    # Not by bash, which tries again for a quarter of a minute.
    script = (
        f"cat /sys/fs/cgroup/pids.max; {BUSYBOX} seq 40 | "
        f"{BUSYBOX} sh -c 'while read i; do sleep 60 & done'"
    )
    assert bash(tmp_path / "a", script).stdout == "1024\n"

    def limit(number: int) -> Change:
        def change(spec: dict[str, Any]) -> None:
            spec["linux"]["resources"] = {"pids": {"limit": number}}

        return change

    limited = bash(tmp_path / "b", script, change=limit(30))
    assert limited.stdout == "30\n"
    assert "Resource temporarily unavailable" in limited.stderr
    assert bash(tmp_path / "c", script, change=limit(-1)).stdout == "max\n"


def test_network_and_groups_are_as_from_docker(tmp_path: Path) -> None:
    script = """
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start /proc/sys/net/ipv4/ping_group_range
        id -G
    """
    user = User(uid=1000, gid=1001, additional_gids=(27, 1001))
    assert bash(tmp_path, script, user=user).stdout == "0\n0\t2147483647\n1001 27\n"


def test_written_files_have_attributes_of_users(tmp_path: Path) -> None:
    script = """
        : > /file && setfattr -n user.note -v new /file && getfattr --only-values -n user.note /file
        setfattr -n user.note -v old /etc/debian_version
        getfattr --only-values -n user.note /etc/debian_version
    """
    assert bash(tmp_path, script).stdout == "newold"


def test_what_was_executed_is_not_asked_for_again(tmp_path: Path) -> None:
    async def requests(count: int) -> int:
        script = f"for ((i = 0; i < {count}; i++)); do /bin/true; done; echo $i"
        tree = make_tree(tmp_path / f"{count}", "bash", "-c", script, change=as_it_is)
        async with running(tree) as guest:
            outcome = await run_container(guest)
            assert outcome.stdout == f"{count}\n"
            return len(guest.requests)

    few, many = (asyncio.run(asyncio.wait_for(requests(n), TIMEOUT)) for n in (2, 20))
    assert few == many > 0


@pytest.mark.parametrize("what", GUESTS.values(), ids=GUESTS.keys())
def test_what_init_has_read_is_not_asked_for_again(tmp_path: Path, what: Guest) -> None:
    """Before a machine is saved, the host has it read what is going to be needed."""
    tree = make_tree(tmp_path, BUSYBOX, "sh", terminal=True, change=as_it_is)
    (tree / "rootfs" / "more").write_bytes(b"more\n" * 20_000)
    (tree / "rootfs" / "link").symlink_to("/more")
    files = [
        {"path": "link", "parts": [0, 100_000]},
        {"path": "not/there", "parts": []},
        {"path": "dev", "parts": [0, 1]},
        {"path": "../../etc/passwd"},
    ]

    async def run() -> None:
        async with running(tree, what) as guest:

            def asked() -> list[str]:
                """Return what was asked for of files, but for their attributes."""
                kinds = ("v9fs_walk ", "v9fs_open ", "v9fs_read ")
                return [line for line in guest.requests if line.startswith(kinds)]

            guest.start()
            for expected in ("mounted", "started"):
                assert (await guest.receive())["type"] == expected
            while b"# " not in await guest.read(qemu.TERMINAL):
                pass
            before = asked()
            guest.send({"type": "read", "files": files})
            while (await guest.receive())["type"] != "read":
                pass
            noted = asked()
            assert sum(line.startswith("v9fs_read ") for line in noted[len(before) :]) > 0
            # Without a program: a shell's own words.
            guest.write(qemu.TERMINAL, b"read x < /link; read x < /not/there; echo $x-; exit\n")
            while (await guest.receive())["type"] != "exit":
                pass
            assert asked() == noted

    asyncio.run(asyncio.wait_for(run(), TIMEOUT))


@pytest.mark.parametrize("what", GUESTS.values(), ids=GUESTS.keys())
def test_files_that_are_open_for_all_survive_their_cache(tmp_path: Path, what: Guest) -> None:
    """Readers come and go while the kernel drops what it knows of files and links."""

    def unconfined(spec: dict[str, Any]) -> None:
        del spec["process"]["capabilities"]
        spec["linux"] = {"namespaces": [{"type": "mount"}]}

    script = """
        B=BUSYBOX
        read_all() { $B find /etc /bin /usr/bin -follow -type f -exec $B md5sum {} + | $B sort; }
        read_all > /once
        for reader in 1 2 3 4; do
            (for round in 1 2 3; do read_all > /again-$reader-$round; done) &
        done
        for round in 1 2 3 4 5 6 7 8 9 10; do
            echo 3 > /proc/sys/vm/drop_caches
            $B usleep 50000
        done
        wait
        for again in /again-*; do $B cmp /once $again && echo same; done | $B uniq -c
        $B wc -l < /once
        $B dmesg | $B grep -E 'WARN|BUG|refcount|9p.*error'
    """.replace("BUSYBOX", BUSYBOX)
    tree = make_tree(tmp_path, BUSYBOX, "sh", "-c", script, change=unconfined)

    async def run() -> tuple[Outcome, int]:
        async with running(tree, what) as guest:
            outcome = await run_container(guest)
            opened = [line for line in guest.requests if line.startswith("v9fs_open ")]
            return outcome, len(opened)

    outcome, opened = asyncio.run(asyncio.wait_for(run(), TIMEOUT))
    same, files = outcome.stdout.splitlines()
    assert same.split() == ["12", "same"]
    assert int(files) > 100
    # Some of what was dropped was opened anew.
    assert opened > 1.2 * int(files)
    assert outcome.stderr == ""


def test_a_kernel_panic_ends_the_machine_with_its_words(tmp_path: Path) -> None:
    def unconfined(spec: dict[str, Any]) -> None:
        del spec["process"]["capabilities"]
        spec["linux"] = {"namespaces": [{"type": "mount"}]}

    with pytest.raises(GuestError, match="Kernel panic - not syncing: sysrq triggered crash"):
        bash(tmp_path, "echo c > /proc/sysrq-trigger; sleep 60", change=unconfined)


@pytest.mark.parametrize("what", GUESTS.values(), ids=GUESTS.keys())
def test_free_pages_are_found(tmp_path: Path, what: Guest) -> None:
    """Without the content of what image.json says is free, the guest goes on as if nothing was."""
    tree = make_tree(tmp_path, BUSYBOX, "sh", "-c", "echo $((6 * 7))", change=as_it_is)

    async def run() -> Outcome:
        async with running(tree, what) as guest:
            await guest.command("stop")
            facts = what.manifest()["freePages"]
            with guest.memory.open("r+b") as file:
                ranges = list(free_ranges(file, facts))
                pages = sum(count for _, count in ranges)
                assert pages == read_word(file, facts["freeCount"], facts["wordSize"])
                # The kernel and init need no more than a part of it.
                assert pages * 4096 > qemu.MEMORY // 2
                for page, count in ranges:
                    file.seek(page * 4096)
                    file.write(os.urandom(4096) * count)
            await guest.command("cont")
            return await run_container(guest)

    outcome = asyncio.run(asyncio.wait_for(run(), TIMEOUT))
    assert (outcome.stdout, outcome.last["code"]) == ("42\n", 0)
