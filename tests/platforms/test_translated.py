"""A small Debian of each platform: the machine in Node, the native Python 9P server."""

from __future__ import annotations

import asyncio
import base64
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.compare.guest import change_spec, run_in_guest
from tests.compare.readers import mount_layout
from tests.fixtures import fixture

MACHINES = {"386": "i686", "amd64": "x86_64", "arm64": "aarch64", "riscv64": "riscv64"}
TRANSLATED = [architecture for architecture in MACHINES if architecture != "386"]
TIMEOUT = 600
HERE = Path(__file__).resolve().parent

SCRIPT = r"""
uname -m
printf 'b\nc\na\n' | sort | head -n 2 | tr a-z A-Z
(exec -a other-name bash -c 'echo $0')
cp /usr/bin/id /tmp/id && chmod 4755 /tmp/id
perl -e '$( = $) = 1000; $< = $> = 1000; exec "/tmp/id", "-u"'
chmod 4711 /tmp/id
perl -e '$( = $) = 1000; $< = $> = 1000; exec "/tmp/id", "-u"'
(bash -c 'kill -SEGV $$'; echo $?) 2>/dev/null
# They are as large as each other, so that they are at the same address.
for turn in 1 2 3; do /bin/true && ! /bin/false && echo $turn; done
exit 7
"""
OUTPUT = "A\nB\nother-name\n0\n0\n139\n1\n2\n3\n"
KEPT = r"""
kept() {
  while read -r name kilobytes _; do [[ $name != Shmem: ]] || echo $kilobytes; done < /proc/meminfo
}
as_user() { perl -e '$( = $) = 1000; $< = $> = 1000; exec "/bin/ls", "/proc/self/fd/"'; }
# Twice, so that all is kept of what the shell itself does for it.
for turn in 1 2; do as_user; before=$(kept); done
as_user
middle=$(kept)
ls /proc/self/fd/
after=$(kept)
((middle - before < after - middle)) && echo kept
"""


def run(layout: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "browsermount", "run", str(layout), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT, check=False)


@pytest.mark.parametrize("architecture", TRANSLATED)
def test_programs(architecture: str) -> None:
    done = run(fixture("foreign") / architecture, "bash", "-c", SCRIPT)
    assert done.stdout == f"{MACHINES[architecture]}\n{OUTPUT}"
    assert (done.stderr, done.returncode) == ("", 7)


def test_what_is_translated_is_kept() -> None:
    """By processes of root, and no file of it is left to programs."""
    done = run(fixture("foreign") / "arm64", "bash", "-c", KEPT)
    assert (done.stdout, done.stderr) == ("0\n1\n2\n3\n" * 4 + "kept\n", "")


@pytest.mark.parametrize(
    ("architecture", "arguments", "code"),
    [
        ("arm64", ["perl", "-e", 'unpack "p", pack "J", 8'], 128 + signal.SIGSEGV),
        ("riscv64", ["bash", "-c", "kill -ABRT $$; echo still here"], 128 + signal.SIGABRT),
    ],
)
def test_a_signal_ends_the_first_program(
    architecture: str, arguments: list[str], code: int
) -> None:
    """The kernel would not let the first process of a container do this to itself."""
    done = run(fixture("foreign") / architecture, *arguments)
    assert (done.stdout, done.returncode) == ("", code)
    # QEMU has words for crashes, though not for those of riscv64's programs.
    crash = "uncaught target signal 11 (Segmentation fault)"
    assert (crash in done.stderr) is (architecture == "arm64")


def test_the_stack_of_signal_handlers() -> None:
    """Node's for SIGCHLD needs it where the ABI of amd64 has it."""
    program = base64.b64encode((HERE / "handler" / "handler").read_bytes()).decode()
    script = f"echo {program} | base64 -d > /tmp/handler && chmod +x /tmp/handler && /tmp/handler"
    done = run(fixture("foreign") / "amd64", "bash", "-c", script)
    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)


def test_a_terminal_of_a_new_c_library() -> None:
    """glibc 2.42, which the image for riscv64 has, asks for it in a new way."""
    done = run(Path("-t"), str(fixture("foreign") / "riscv64"), "bash", "-c", "[ -t 1 ] && stty -a")
    assert (done.stderr, done.returncode) == ("", 0)
    assert "rows" in done.stdout
    assert "isig icanon" in done.stdout


def test_without_glibc() -> None:
    """As Alpine's images are: busybox, and another C library."""
    script = "busybox uname -m; busybox seq 3 | busybox sort -r; /opt/library"
    done = run(fixture("musl") / "image", "/bin/busybox", "sh", "-c", script)
    assert (done.stdout, done.stderr, done.returncode) == (
        "x86_64\n3\n2\n1\n"
        "threads 10000 10000 0\n"
        "signal 11\n"
        "numbers 0.10000000000000001 0x1.5555555555555p-2 0.333333333333333333342368351437"
        " 4.94066e-324\n"
        "functions 0.841470984807897 1.4142135623731 2.71828182845905 1.4142135623731\n"
        "memory 39347868 0\n",
        "",
        0,
    )


def test_a_missing_program() -> None:
    done = run(fixture("foreign") / "amd64", "/bin/nothing")
    assert done.returncode == 127
    assert "no such file or directory" in done.stderr


def test_a_platform_that_cannot_be_run() -> None:
    layout = fixture("foreign") / "amd64"
    done = run(Path("--platform"), "linux/s390x", str(layout))
    assert done.returncode == 125
    assert "linux/s390x cannot be run here" in done.stderr


def test_without_an_interpreter() -> None:
    """What the person sees when a program cannot be translated: never a hanging terminal."""

    async def run_untranslated() -> tuple[bytes, bytes, int]:
        mounted = await mount_layout(fixture("foreign") / "riscv64")

        def change(spec: dict[str, Any]) -> None:
            spec["process"]["terminal"] = False

        change_spec(mounted, change)
        return await run_in_guest(mounted)

    output, errors, code = asyncio.run(run_untranslated())
    assert (output, code) == (b"", 126)
    assert b"exec format error: a program for linux/riscv64" in errors


@pytest.mark.parametrize("architecture", ["amd64", "arm64"])
def test_times_beyond_32_bits(architecture: str) -> None:
    """What a machine or an interpreter of 32 bits would not know."""
    program = """
        open my $file, ">", "/tmp/b";
        for my $time (4102444800, -2208988800, 2145830400) {
            utime $time, $time + 1, "/tmp/b" or print "utime: $!\n";
            my ($access, $change) = (stat "/tmp/b")[8, 9] or print "stat: $!\n";
            print "$access $change\n";
        }
        # Longer than until 2038: a wait that does not end, and not one that does not begin.
        $SIG{ALRM} = sub { print "waited\n"; exit };
        alarm 1;
        select undef, undef, undef, 3e9;
        print "$!\n";
    """
    script = f"""
cd /tmp
touch -d 2100-01-01T00:00:00Z a && stat -c %Y a
touch -d 1900-01-01T00:00:00Z a && stat -c %Y a
perl -e '{program}'
timeout 1 sleep 3000000000; echo $?
"""
    done = run(fixture("foreign") / architecture, "bash", "-c", script)
    assert (done.stdout.splitlines(), done.stderr) == (
        [
            "4102444800",
            "-2208988800",
            "4102444800 4102444801",
            "-2208988800 -2208988799",
            "2145830400 2145830401",
            "waited",
            "124",
        ],
        "",
    )
