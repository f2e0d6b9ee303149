"""``browsermount run``: the machine in Node, with our streams, signals and terminal."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pexpect
import pytest

from browsermount.cli import main
from tests.cli.test_reading import write
from tests.core.images import Layout, member, symlink, tar
from tests.fixtures import fixture
from tests.servers import served
from tests.servers.registry import NO_CORS, registry

IMAGE = Path(__file__).resolve().parents[2] / "web" / "images" / "default"
COMMAND = [sys.executable, "-m", "browsermount"]
TIMEOUT = 180


def run(
    *arguments: object, input: bytes = b"", **options: object
) -> subprocess.CompletedProcess[bytes]:
    command = [*COMMAND, "run", *map(str, arguments)]
    return subprocess.run(
        command,
        input=input,
        capture_output=True,
        timeout=TIMEOUT,
        check=False,
        **options,  # type: ignore[call-overload]
    )


def test_streams_options_and_exit_code() -> None:
    script = 'cat; echo "$A $B $(pwd) $(id -u):$(id -g) $0 $1" >&2; exit 7'
    options = ["-e", "A=x y", "--env", "B", "-u", "1000:7", "-w", "/tmp"]
    options += ["--entrypoint", "/bin/sh", "--hostname", "box"]
    environment = {**os.environ, "B": "ours"}
    done = run(*options, IMAGE, "-c", script, "--x", "-e", input=b"text", env=environment)
    assert done.stdout == b"text"
    assert done.stderr == b"x y ours /tmp 1000:7 --x -e\n"
    assert done.returncode == 7


def test_who_is_not_root_may_listen_at_low_ports_and_ping() -> None:
    script = """
mkdir /tmp/w && echo served > /tmp/w/index.html
busybox httpd -p 80 -h /tmp/w && sleep 1 && busybox wget -qO- http://127.0.0.1/
cat > /tmp/ping.c <<'END'
#include <sys/socket.h>
#include <netinet/in.h>
int main(void) { return socket(AF_INET, SOCK_DGRAM, IPPROTO_ICMP) < 0; }
END
tcc -run /tmp/ping.c && echo may ping
id -G
"""
    done = run("-u", "1000:7", IMAGE, "sh", "-c", script)
    assert done.stdout == b"served\nmay ping\n7\n", done.stderr


def with_layer(layout: Path, layer: bytes, output: Path) -> Path:
    """Copy a layout whose only image gets one more layer."""
    shutil.copytree(layout, output)
    blobs = output / "blobs" / "sha256"

    def read(descriptor: dict[str, Any]) -> Any:
        return json.loads((blobs / descriptor["digest"].removeprefix("sha256:")).read_bytes())

    def replace(descriptor: dict[str, Any], data: bytes) -> dict[str, Any]:
        digest = hashlib.sha256(data).hexdigest()
        (blobs / digest).write_bytes(data)
        descriptor.pop("data", None)
        return {**descriptor, "digest": f"sha256:{digest}", "size": len(data)}

    index = json.loads((output / "index.json").read_bytes())
    manifest = read(index["manifests"][0])
    config = read(manifest["config"])
    added = replace({"mediaType": "application/vnd.oci.image.layer.v1.tar"}, layer)
    manifest["layers"].append(added)
    config["rootfs"]["diff_ids"].append(added["digest"])
    manifest["config"] = replace(manifest["config"], json.dumps(config).encode())
    index["manifests"][0] = replace(index["manifests"][0], json.dumps(manifest).encode())
    (output / "index.json").write_text(json.dumps(index))
    return output


@pytest.mark.parametrize("machine", ["32", "64"])
def test_attributes_of_users_can_be_set_and_stay(machine: str, tmp_path: Path) -> None:
    layer = tar(member("x", b"data", pax={"SCHILY.xattr.user.low": "low"}))
    image = with_layer(IMAGE, layer, tmp_path / "image")
    script = """
cat > /tmp/attributes.c <<'END'
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>
int main(void)
{
    char value[8];
    close(open("/new", O_CREAT | O_WRONLY, 0600));
    printf("%d ", setxattr("/new", "user.a", "12", 2, 0));
    printf("%d ", (int)getxattr("/new", "user.a", value, sizeof value));
    chmod("/x", 0600);
    printf("%d ", (int)getxattr("/x", "user.low", value, sizeof value));
    write(open("/x", O_WRONLY | O_APPEND), "x", 1);
    printf("%d\\n", (int)getxattr("/x", "user.low", value, sizeof value));
}
END
tcc -run /tmp/attributes.c
"""
    done = run("--machine", machine, image, "sh", "-c", script)
    assert (done.stdout, done.stderr) == (b"0 2 3 3\n", b"")


def test_bytes_pass_both_ways_as_they_are() -> None:
    data = random.Random(1).randbytes(300_000)
    done = run(IMAGE, "cat", input=data)
    assert done.stdout == data
    assert (done.stderr, done.returncode) == (b"", 0)


def test_input_that_nobody_reads_and_output_that_nobody_takes() -> None:
    with subprocess.Popen(
        [*COMMAND, "run", str(IMAGE), "yes"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(bytes(60_000))
        assert process.stdout.read(4) == b"y\ny\n"
        process.stdout.close()
        assert process.wait(TIMEOUT) == 128 + signal.SIGPIPE


def test_debian_from_a_web_server_and_from_a_registry(tmp_path: Path) -> None:
    layout = fixture("debian") / "layout"
    with served(tmp_path, debian=layout) as url, registry(tmp_path, cors=NO_CORS) as server:
        server.push(layout, "latest", "debian:bookworm")
        for image in (f"{url}images/debian/", f"{server.host}/debian:bookworm"):
            done = run(image, "cat", "/etc/os-release")
            assert b"bookworm" in done.stdout
            assert (done.stderr, done.returncode) == (b"", 0)


@pytest.mark.parametrize(
    ("program", "code", "message"),
    [("/no/such", 127, b"no such file"), ("/etc", 126, b"is a directory")],
)
def test_a_program_that_cannot_be_run(program: str, code: int, message: bytes) -> None:
    done = run(IMAGE, program)
    assert done.returncode == code
    assert done.stderr.startswith(b"browsermount: ")
    assert message in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_signals_are_for_the_process() -> None:
    script = "trap 'echo got; exit 9' TERM; echo up; while :; do sleep 0.1; done"
    with subprocess.Popen(
        [*COMMAND, "run", str(IMAGE), "sh", "-c", script], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.stdout.read() == b"got\n"
        assert process.wait(TIMEOUT) == 9


def test_a_process_that_ignores_signals_and_what_stays_when_we_are_killed() -> None:
    for number in (signal.SIGINT, signal.SIGKILL):
        with subprocess.Popen(
            [*COMMAND, "run", str(IMAGE), "sh", "-c", "trap '' INT; echo up; sleep 1000"],
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == b"up\n"
            if number == signal.SIGINT:
                for _ in range(3):
                    process.send_signal(number)
                    time.sleep(0.2)
                assert process.wait(TIMEOUT) == 128 + signal.SIGINT
            else:
                process.kill()
            # Node has the pipe, too: its end means that Node is gone.
            assert process.stdout.read() == b""


def test_a_terminal() -> None:
    process = pexpect.spawn(
        COMMAND[0], [*COMMAND[1:], "run", "-it", str(IMAGE)], dimensions=(30, 100), timeout=TIMEOUT
    )
    before = termios.tcgetattr(process.child_fd)
    process.expect_exact("# ")
    process.sendline("stty size; tty; echo $TERM")
    process.expect_exact("30 100\r\n/dev/pts/0\r\nxterm-256color\r\n")
    process.setwinsize(40, 120)
    # One process says so and waits: between two of them, Ctrl-C would be the shell's alone.
    wait = "sh -c 'echo wait; exec sleep 1000'"
    process.sendline(f"until stty size | grep '40 120'; do :; done; {wait}")
    process.expect_exact("40 120\r\nwait\r\n")
    process.send("\x03")
    process.expect_exact("# ")
    process.sendline("exit 5")
    # Waits for its end before the terminal goes with it.
    deadline = time.monotonic() + TIMEOUT
    while termios.tcgetattr(process.child_fd) != before:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.expect(pexpect.EOF)
    process.close()
    assert process.exitstatus == 5


def test_what_cannot_be_meant(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, message in (
        (["-it", IMAGE], "not a terminal"),
        (["--memory", "64m", IMAGE], "128m"),
        (["--memory", "much", IMAGE], "such as 512m"),
        (["-e", "=x", IMAGE], "no name"),
        (["--frob", IMAGE], "--frob"),
        (["--platform", "linux/s390x", IMAGE], "cannot be run"),
        ([], "IMAGE"),
    ):
        assert main(["run", *map(str, arguments)]) == 125
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_node_that_is_missing_or_old(tmp_path: Path) -> None:
    done = run(IMAGE, env={"PATH": str(tmp_path)})
    assert done.returncode == 125
    assert b"Node is needed" in done.stderr
    (tmp_path / "node").write_text("#!/bin/sh\necho v18.20.4\n")
    (tmp_path / "node").chmod(0o755)
    done = run(IMAGE, env={"PATH": str(tmp_path)})
    assert done.returncode == 125
    assert b"v18.20.4" in done.stderr


def test_files_have_three_quarters_of_the_memory(tmp_path: Path) -> None:
    """A program is told that there is no room for more; a person, what to do about it."""
    busybox = (fixture("busybox") / "busybox").read_bytes()
    files = [member("bin/busybox", busybox, mode=0o755), symlink("bin/sh", "busybox")]
    write(Layout().add(tar(*files, member("large", bytes(100 << 20)))), tmp_path)
    script = """
busybox df -k / | busybox awk 'END { print $2 }'
echo x >> /large || echo refused
echo y > /small && busybox cat /small
busybox stat -c %s /large
"""
    done = run("--memory", "128m", tmp_path, "sh", "-c", script)
    room, *others = done.stdout.split()
    assert 0.6 * 128 < int(room) / 1024 < 0.75 * 128
    assert others == [b"refused", b"y", b"104857600"]
    assert b"large: No space left on device" in done.stderr
    assert done.stderr.count(b"little room is left") == 1
    assert b"--memory 2047m" in done.stderr


def test_memory_comes_when_it_is_needed(tmp_path: Path) -> None:
    """A machine has 512 MiB at first; what it can have is the room from the beginning."""
    busybox = (fixture("busybox") / "busybox").read_bytes()
    files = [member("bin/busybox", busybox, mode=0o755), symlink("bin/sh", "busybox")]
    write(Layout().add(tar(*files)), tmp_path)
    script = """
busybox df -m / | busybox awk 'END { print $2 }'
busybox free -m | busybox awk 'NR == 2 { print $2 }'
busybox dd if=/dev/zero of=/large bs=1M count=560 2> /dev/null && echo end >> /large
busybox tail -c 4 /large
busybox dd if=/dev/zero of=/rest bs=1M 2> /dev/null || echo refused
busybox df -m / | busybox awk 'END { print $4 }'
"""
    done = run("--memory", "900m", tmp_path, "sh", "-c", script)
    assert done.returncode == 0, done.stderr
    files, memory, *others = done.stdout.split()
    # In pieces of 128 MiB, without the kernel's own.
    assert 830 < int(memory) < 896
    assert 0.7 * int(memory) < int(files) <= 0.75 * int(memory) + 1
    assert others == [b"end", b"refused", b"0"]
