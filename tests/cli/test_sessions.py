"""``run --save`` and ``run --resume``: sessions that go on in another process."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import json
import os
import random
import re
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pexpect
import pytest

from browsermount.cli import main
from browsermount.layers.entry import FileType
from tests.compare.readers import mount_layout
from tests.fixtures import fixture

IMAGE = Path(__file__).resolve().parents[2] / "web" / "images" / "default"
COMMAND = [sys.executable, "-m", "browsermount", "run"]
TIMEOUT = 60
PREFIX = struct.Struct("<8sII32s")
GENERATIONS = int(os.environ.get("BROWSERMOUNT_GENERATIONS", "2"))
"""How often a machine is saved under load."""
SOAK_SECONDS = float(os.environ.get("BROWSERMOUNT_SOAK_SECONDS") or 0)
"""For how long processes are killed while they save; without it, that is done once."""
SOAK_SEED = int(os.environ.get("BROWSERMOUNT_SOAK_SEED") or time.time_ns())

LOAD = """
export LC_ALL=C
echo up
for file in /usr/bin/[PATTERN]*; do [[ -f $file && ! -L $file ]] && files+=("$file"); done
for ((i = 0; i < ${#files[@]}; i += 8)); do md5sum "${files[@]:i:8}"; done | tee /tmp/sums
md5sum < /tmp/sums
"""


def start(*arguments: object, **options: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen([*COMMAND, *map(str, arguments)], stdout=subprocess.PIPE, **options)


def run(*arguments: object, input: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, *map(str, arguments)]
    return subprocess.run(command, input=input, capture_output=True, timeout=TIMEOUT, check=False)


def read_header(state: bytes) -> dict[str, Any]:
    _, _, length, _ = PREFIX.unpack_from(state)
    header: dict[str, Any] = json.loads(state[PREFIX.size : PREFIX.size + length])
    return header


def with_header(state: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """Return a state whose header is another one, and is right."""
    magic, version, length, _ = PREFIX.unpack_from(state)
    header = read_header(state)
    change(header)
    text = json.dumps(header).encode()
    first = PREFIX.pack(magic, version, len(text), hashlib.sha256(text).digest())
    return first + text + state[PREFIX.size + length :]


async def sums_of(image: Path, letters: str) -> list[bytes]:
    """Return what md5sum says of the files that LOAD reads."""
    files = re.compile(rf"/usr/bin/[{letters}][^/]*".encode())
    mount = await mount_layout(image)
    lines = []
    for path, inode in mount.rootfs.walk():
        if inode.type is FileType.REGULAR and files.fullmatch(path):
            digest = hashlib.md5()
            for offset in range(0, inode.size, 1 << 20):
                digest.update(await inode.content.read(offset, 1 << 20))
            lines.append((path, f"{digest.hexdigest()}  {path.decode()}\n".encode()))
    await mount.close()
    return [line for _, line in sorted(lines)]


def save_under_load(image: Path, letters: str, state: Path, lines: int) -> bytes:
    """Run LOAD, saved at some moments, to its end; return all of its output, of so many lines."""
    moments = random.Random(GENERATIONS)
    load = LOAD.replace("PATTERN", letters)
    output = b""
    for generation in range(GENERATIONS + 1):
        what: list[object] = [image, "bash", "-c", load] if generation == 0 else []
        how = ["--resume", state] if generation else []
        with start("--save", state, *how, *what, stdin=subprocess.DEVNULL) as process:
            assert process.stdout is not None
            if generation < GENERATIONS:
                # Some of what is left, so that it has not come to its end.
                for _ in range(moments.randint(1, max(1, lines // (2 * GENERATIONS + 2)))):
                    output += process.stdout.readline()
                process.send_signal(signal.SIGHUP)
            output += process.stdout.read()
            assert process.wait(TIMEOUT) == 0
    return output


# What takes each machine some seconds.
@pytest.mark.parametrize(("platform", "letters"), [("386", "a-d"), ("amd64", "a-d")])
def test_a_machine_saved_under_load_goes_on_as_if_nothing_was(
    tmp_path: Path, platform: str, letters: str
) -> None:
    image = fixture("foreign") / platform
    expected = asyncio.run(sums_of(image, letters))
    assert len(expected) > 20
    output = save_under_load(image, letters, tmp_path / "state", len(expected)).splitlines(
        keepends=True
    )
    assert output[0] == b"up\n"
    assert output[1:-1] == expected
    assert output[-1] == hashlib.md5(b"".join(expected)).hexdigest().encode() + b"  -\n"
    assert os.listdir(tmp_path) == ["state"]


COUNT = """
look() { md5sum < /usr/bin/bash; }
first=$(look)
while read -r; do
    i=$((i + 1))
    [ "$(look)" = "$first" ] && echo $i || echo bad
done
"""


def test_a_process_that_is_killed_while_it_saves(tmp_path: Path) -> None:
    moments = random.Random(SOAK_SEED)
    state = tmp_path / "state"
    least = most = 0
    what: list[object] = [IMAGE, "bash", "-c", COUNT]
    end = time.monotonic() + SOAK_SECONDS
    for generation in itertools.count():
        with start("-i", "--save", state, *what, stdin=subprocess.PIPE) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(b"\n")
            process.stdin.flush()
            # It goes on from the last state or from the one before, maybe with a line to come.
            count = int(process.stdout.readline())
            assert least < count <= most + 1, f"{least}, {count}, {most}: {SOAK_SEED}"
            least, most = count - 1, count + 1
            if generation == 0:
                process.send_signal(signal.SIGUSR1)
                wait_for(state)
            process.stdin.write(b"\n")
            process.stdin.flush()
            last = generation > 0 and time.monotonic() >= end
            if not last:
                time.sleep(moments.uniform(0, 0.3))
                process.send_signal(signal.SIGUSR1)
                time.sleep(moments.uniform(0, 0.7))
            process.kill()
        if last:
            break
        what = ["--resume", state]


def wait_for(path: Path) -> None:
    end = time.monotonic() + TIMEOUT
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session with a terminal, left by its keys."""
    state = tmp_path_factory.mktemp("saved") / "state"
    process = pexpect.spawn(
        COMMAND[0],
        [*COMMAND[1:], "-it", "--save", str(state), "-e", "A=as started", str(IMAGE)],
        dimensions=(30, 100),
        timeout=TIMEOUT,
    )
    process.expect_exact("# ")
    process.sendline(
        "X='as typed'; sleep 1000 & echo fir''st >/tmp/file; head -c4 /dev/urandom >/seed"
    )
    process.sendline("echo read''y $RANDOM")
    process.expect_exact("ready ")
    process.expect_exact("# ")
    process.send("\x10")
    process.send("\x11")
    process.expect_exact(f"browsermount run --resume {state}")
    process.expect(pexpect.EOF)
    process.close()
    assert process.exitstatus == 0
    return state


def test_a_shell_goes_on_with_what_it_knew(saved: Path) -> None:
    numbers = []
    for _ in range(2):
        process = pexpect.spawn(
            COMMAND[0], [*COMMAND[1:], "--resume", str(saved)], dimensions=(28, 90), timeout=TIMEOUT
        )
        process.expect_exact("ready ")  # what the terminal has shown
        process.expect_exact("# ")
        process.sendline('echo "<$X, $A, $(cat /tmp/file), $(jobs | grep -c sleep)>"; stty size')
        process.expect_exact("<as typed, as started, first, 1>\r\n28 90\r\n")
        process.sendline("od -An -tx4 -N8 /dev/urandom; date +=%s=")
        process.expect(rb"( [0-9a-f]{8}){2}\r\n=(\d+)=")
        assert abs(int(process.match.group(2)) - time.time()) < 10
        numbers.append(process.match.group(0).split(b"\r")[0])
        process.sendline("exit 6")
        process.expect(pexpect.EOF)
        process.close()
        assert process.exitstatus == 6
    assert numbers[0] != numbers[1]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A session without a terminal, saved by SIGUSR1 while it waits for input, and goes on."""
    state = tmp_path_factory.mktemp("plain") / "state"
    script = "echo up; read line; echo $line; exit 4"
    with start("--save", state, IMAGE, "sh", "-c", script, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.send_signal(signal.SIGUSR1)
        wait_for(state)
        process.stdin.write(b"first\n")
        process.stdin.flush()
        assert process.stdout.read() == b"first\n"
        assert process.wait(TIMEOUT) == 4
    return state


def test_what_cannot_go_on_is_said(
    plain: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    state = plain.read_bytes()
    machine = len(state) - 5000
    broken = {
        "not the file": b"#!/bin/sh\n" * 100,
        "header is damaged": state[:100] + b"?" + state[101:],
        "part 'server' is damaged": state.replace(b'"fids"', b'"fibs"', 1),
        'part "machine" is damaged': state[:machine] + b"?" * 10 + state[machine + 10 :],
        "another version": state[:8] + b"\2" + state[9:],
        "another wasm": with_header(state, lambda it: it["machine"].update(wasm="0" * 64)),
        "files alone": with_header(state, lambda it: it.pop("machine")),
        "another recipe": with_header(state, lambda it: it["machine"].update(recipe="0" * 64)),
    }
    path = tmp_path / "state"
    with Path(os.devnull).open() as nothing:
        monkeypatch.setattr("sys.stdin", nothing)
        for message, data in broken.items():
            path.write_bytes(data)
            assert main(["run", "--resume", str(path)]) == 125
            error = capfd.readouterr().err
            assert message in error
            assert f"the session in {path} cannot go on" in error
            assert error.count("\n") == 1, error
        assert main(["run", "--resume", str(plain), str(fixture("debian") / "layout")]) == 125
        assert "another image" in capfd.readouterr().err


def test_a_state_that_cannot_be_written_does_not_end_the_session(tmp_path: Path) -> None:
    where = tmp_path / "gone"
    where.mkdir()
    script = "echo up; read line; echo $line"
    with start(
        "-i", "--save", where / "state", IMAGE, "sh", "-c", script,
        stdin=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"up\n"
        where.rmdir()
        process.send_signal(signal.SIGHUP)
        while b"could not be saved" not in process.stderr.readline():
            pass
        process.stdin.write(b"still here\n")
        process.stdin.flush()
        assert process.stdout.readline() == b"still here\n"
        assert process.wait(TIMEOUT) == 0


def test_saved_and_going_on(plain: Path) -> None:
    """What the process has not read when it was saved, it reads when it goes on."""
    done = run("--resume", plain, input=b"second\n")
    assert (done.stdout, done.stderr, done.returncode) == (b"second\n", b"", 4)


def test_a_connection_is_reset_and_a_new_one_can_be_made(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"/dev/tcp/host.containers.internal/{server.getsockname()[1]}"
        script = f"exec 3<>{address}; echo up; read -u 3; exec 3<>{address}; read -u 3; echo $REPLY"
        network = ("--network", "all")
        with start(*network, "--save", state, IMAGE, "bash", "-c", script) as process:
            assert process.stdout is not None
            first, _ = server.accept()
            with first:
                assert process.stdout.readline() == b"up\n"
                process.send_signal(signal.SIGHUP)
                assert process.wait(TIMEOUT) == 0
        with start(*network, "--resume", state, stderr=subprocess.PIPE) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            server.settimeout(TIMEOUT)
            second, _ = server.accept()
            with second:
                second.sendall(b"new\n")
                assert process.stdout.read() == b"new\n"
            assert b"Connection reset by peer" in process.stderr.read()


def test_what_does_not_go_with_resuming(saved: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["--resume", saved, "-e", "A=1"], "does not go with --resume"),
        (["--resume", saved, IMAGE, "sh"], "does not go with --resume"),
        (["--resume", saved.with_name("none"), IMAGE], "does not exist"),
    ):
        assert main(["run", *map(str, arguments)]) == 125
        assert message in capsys.readouterr().err
