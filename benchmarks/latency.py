"""How long a container waits for a file, and a person for a key, while much is downloaded.

    .venv/bin/python -m benchmarks.latency [--rounds N]

On the command line, as in the page, one Python answers for files and for the network. A program in
a container looks at files that nobody has looked at before (``stat``, and reading the first 4 KiB),
and keys are typed at its terminal, which its kernel echoes: in turns without and with a download
that takes as much as it can get. What is printed are milliseconds that half of them, and 95 of a
hundred, took at most. Machines differ, so compare the two columns.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import pty
import random
import select
import socket
import statistics
import subprocess
import sys
import threading
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.fixtures import fixture

from browsermount.cli.images import opened
from browsermount.layers.entry import FileType
from browsermount.mount import mount

FILES = 60
"""How many are looked at in each round, with and without a download."""
KEYS = 40
_PAUSE_SECONDS = 0.05
_TIMEOUT_SECONDS = 120.0

_PROGRAM = r"""
use IO::Socket::INET; $| = 1;
sub now {  # by clock_gettime() of Linux for amd64: the image has no module for it
  my $at = "\0" x 16; syscall 228, 1, $at;
  my ($seconds, $rest) = unpack "q2", $at; $seconds + $rest / 1e9;
}
@files = split /\n/, $ENV{FILES};
print "ready\n";
while (<STDIN>) {
  if (/load (\d+)/) {
    if (!($child = fork)) {
      $s = IO::Socket::INET->new(PeerAddr => "host.containers.internal:$1") or die;
      1 while sysread $s, $data, 65536;
      exit;
    }
    sleep 1;
  }
  if (/stop/ and $child) { kill 9, $child; wait }
  if (/look (\d+)/) {
    (@stat, @read) = ();
    for (1 .. $1) {
      $file = shift @files;
      $t = now; stat $file; push @stat, now() - $t;
      $t = now; open F, "<", $file; sysread F, $data, 4096; close F; push @read, now() - $t;
    }
    print "stat @stat\nread @read\n";
  }
  print "done\n";
}
"""

Times = dict[str, list[float]]
"""Seconds, by what has taken them."""


async def _paths(image: str) -> list[str]:
    """The files of an image, in no order."""
    async with opened(image) as (source, fetcher):
        found = await mount(source, fetcher=fetcher)
        files = [
            path.decode()
            for path, inode in found.rootfs.walk()
            if inode.type is FileType.REGULAR and path.startswith(b"/usr/")
        ]
        await found.close()
    random.Random(1).shuffle(files)
    return files


@contextmanager
def _endless() -> Iterator[int]:
    """A server that sends zeros as long as somebody takes them; its port."""
    block = bytes(1 << 20)

    def send(link: socket.socket) -> None:
        with link, suppress(OSError):
            while True:
                link.sendall(block)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def accept() -> None:
            with suppress(OSError):
                while True:
                    threading.Thread(target=send, args=(server.accept()[0],), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


class Terminal:
    """Somebody at the container's terminal."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._seen = b""

    def until(self, text: bytes) -> bytes:
        """Wait for a text, and return what stands before it."""
        end = time.monotonic() + _TIMEOUT_SECONDS
        while text not in self._seen:
            if not select.select([self._descriptor], [], [], max(0, end - time.monotonic()))[0]:
                raise SystemExit(f"no {text!r} in {self._seen!r}")
            self._seen += os.read(self._descriptor, 1 << 16)
        before, _, self._seen = self._seen.partition(text)
        return before

    def say(self, line: str) -> bytes:
        """Give the program a line, and return what it has answered."""
        os.write(self._descriptor, line.encode() + b"\n")
        self.until(b"\n")  # its echo
        return self.until(b"done\r\n")

    def key(self) -> float:
        """Type a key, and return how long it took until it was to be seen."""
        start = time.perf_counter()
        os.write(self._descriptor, b"x")
        self.until(b"x")
        return time.perf_counter() - start


def _round(terminal: Terminal) -> Times:
    found: Times = {}
    for line in terminal.say(f"look {FILES}").decode().split("\r\n"):
        if line.strip():
            name, *times = line.split()
            found[name] = [float(it) for it in times]
    found["key"] = []
    for _ in range(KEYS):
        found["key"].append(terminal.key())
        time.sleep(_PAUSE_SECONDS)
    terminal.say("")
    return found


def measure(rounds: int) -> tuple[Times, Times]:
    """Return what was taken without and with a download."""
    image = str(fixture("foreign") / "amd64")
    files = asyncio.run(_paths(image))[: 2 * rounds * FILES]
    rounds = min(rounds, len(files) // (2 * FILES))
    ours, theirs = pty.openpty()
    tty.setraw(theirs)
    command = [sys.executable, "-m", "browsermount", "run", "-it", "--network", "all"]
    command += ["-e", "FILES", image, "perl", "-e", _PROGRAM]
    both: tuple[Times, Times] = ({}, {})
    with (
        _endless() as port,
        subprocess.Popen(
            command, stdin=theirs, stdout=theirs, env={**os.environ, "FILES": "\n".join(files)}
        ) as process,
    ):
        try:
            os.close(theirs)
            terminal = Terminal(ours)
            terminal.until(b"ready\r\n")
            for _ in range(rounds):
                for times, line in zip(both, ("stop", f"load {port}"), strict=True):
                    terminal.say(line)
                    for name, more in _round(terminal).items():
                        times.setdefault(name, []).extend(more)
        finally:
            process.kill()  # the first process of a container ignores SIGTERM
    return both


def _at_most(times: list[float], percent: int) -> float:
    """Milliseconds that so many of a hundred took at most."""
    return statistics.quantiles(times, n=100)[percent - 1] * 1000


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    quiet, loaded = measure(parser.parse_args().rounds)
    print(f"{'ms':<8}{'without: p50':>14}{'p95':>8}{'with: p50':>14}{'p95':>8}")
    for name in quiet:
        cells = [_at_most(times[name], it) for times in (quiet, loaded) for it in (50, 95)]
        print(f"{name:<8}{cells[0]:>14.2f}{cells[1]:>8.2f}{cells[2]:>14.2f}{cells[3]:>8.2f}")


if __name__ == "__main__":
    main()
