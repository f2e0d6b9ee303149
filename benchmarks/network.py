"""The container's network in the page, beside the adapter that v86 has for the same purpose.

    .venv/bin/python -m benchmarks.network [--runs N]

Lets curl in a fixture image download, send small requests and upload, by our own TCP/IP and HTTP,
and by v86's fetch adapter, with the same kernel, in turns; and by HTTP and HTTPS on the 64-bit
machine. The machines are in Node, where the other end of our network card is in CPython: it has a
processor of its own, as in the page a thread, so that it is not in the time. What is printed are
the medians of millions of instructions that the guest has executed and of milliseconds that the
machine's thread had a processor. Machines differ, so compare what stands in one run's table.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from tests.fixtures import fixture
from tests.servers.network import GetEngine, serve_network
from tests.servers.recording import Answer, Recorded, Request, answering
from tests.tls_engine import new_engine

from browsermount.cli.images import opened
from browsermount.mount import Mount, mount
from browsermount.network.tls import Engine
from browsermount.runtime.spec import ProcessOptions
from browsermount.sockets import serve

HERE = Path(__file__).resolve().parent
VM = HERE.parent / "web" / "vm"
DOWN, UP = 20_000_000, 5_000_000


@dataclass(frozen=True)
class Work:
    """Something to measure.

    Attributes:
        curl: What curl is given.
        limit: What it may cost at most, as a part of what it costs the adapter.
        counts: Whether the limit is one of instructions, too.
    """

    curl: str
    limit: float = float("inf")
    counts: bool = True


WORKS = {
    "20 MB down": Work("-o /dev/null http://server.example/data", 0.35),
    "50 small requests": Work("http://server.example/[1-50]", 0.9),
    "50 on a connection each": Work("-H Connection:\\ close http://server.example/[1-50]"),
    "5 MB up": Work("-H Expect: --data-binary @/tmp/up http://server.example/up", 0.6),
}
ENCRYPTED = {
    "20 MB by HTTP": WORKS["20 MB down"],
    "20 MB by HTTPS": Work("-o /dev/null https://server.example/data", 4, counts=False),
}
"""On the 64-bit machine. The limit is of the time by HTTP."""

# What is executed for the first time is compiled, and read from the image.
_SCRIPT = f"""
head -c {UP} /dev/zero > /tmp/up
mkfifo /tmp/never; exec 3<> /tmp/never
mark() {{ echo "MARK $1"; read -rt 0.3 -u 3; }}
measure() {{
  curl -sS "${{@:2}}" > /dev/null
  mark "$1"; curl -s "${{@:2}}" > /dev/null || echo "failed: $1" >&2; mark "$1"
}}
"""

Spent = dict[str, tuple[float, float]]
"""Millions of instructions, and milliseconds, by work."""


def script(works: Mapping[str, Work]) -> str:
    """What the guest's bash executes."""
    return _SCRIPT + "".join(f'measure "{name}" {work.curl}\n' for name, work in works.items())


def answer(request: Request) -> Answer:
    """Answer what the works ask for."""
    return Answer(body=bytes(DOWN) if request.path == "/data" else b"hello\n")


@contextmanager
def serving() -> Iterator[Recorded]:
    """Run the server."""
    with answering(answer) as server:
        yield server


def parse(output: str, works: Mapping[str, Work]) -> Spent:
    """Find what was spent in what the machine has printed."""
    lines = output.splitlines()
    seen: dict[str, list[list[float]]] = {name: [] for name in works}
    for name, numbers in pairwise(lines):
        if name.startswith("MARK "):
            seen[name.removeprefix("MARK ")].append(json.loads(numbers))
    if any(len(marks) != 2 for marks in seen.values()):
        raise SystemExit(f"the container did not come to its end:\n{output}")
    return {
        # v86's counter has 32 bits.
        name: ((int(after[0]) - int(before[0])) % (1 << 32) / 1e6, after[1] - before[1])
        for name, (before, after) in seen.items()
    }


async def measure(
    works: Mapping[str, Work], server: Recorded, *, x64: bool = False, ours: bool = True
) -> Spent:
    """Run works once, in a fresh machine."""
    engine = new_engine()

    async def tls() -> Engine:
        return engine

    async def certificate() -> bytes:
        return engine.certificate

    image = str(fixture("curl") / ("amd64" if x64 else "386"))
    options = ProcessOptions(args=("bash", "-c", script(works)), terminal=False, network=True)
    async with opened(image) as (source, fetcher):
        mounted = await mount(source, fetcher=fetcher, options=options, authority=certificate)
        try:
            return parse(await _run(mounted, server, tls, x64=x64, ours=ours), works)
        finally:
            await mounted.close()


async def _run(mounted: Mount, server: Recorded, tls: GetEngine, *, x64: bool, ours: bool) -> str:
    with tempfile.TemporaryDirectory() as work:
        p9, card = Path(work) / "9p", Path(work) / "card"
        command = ["node", HERE / "network.mjs", "--p9", p9]
        command += ["--image", VM / ("image64" if x64 else "image")]
        command += ["--x64", VM / "x64" / "machine.wasm"] if x64 else []
        command += ["--network", card] if ours else []
        ninep = await asyncio.start_unix_server(
            lambda reader, writer: serve(mounted.session(), reader, writer), p9
        )
        async with ninep, serve_network(card, server.url, tls):
            process = await asyncio.create_subprocess_exec(
                *map(str, command),
                stdout=subprocess.PIPE,
                env={**os.environ, "SERVER": server.url},
            )
            output, _ = await process.communicate()
    return output.decode()


def table(
    title: str,
    works: Mapping[str, Work],
    pairs: list[tuple[Spent, Spent]],
    of: Mapping[str, str],
) -> bool:
    """Print a table, and return whether all is within its limits.

    Args:
        title: What stands above it.
        works: The rows.
        pairs: What was measured.
        of: With what in the second of each pair a row is compared.
    """
    print(f"{title:<26}{'instructions (10^6)':>26}{'':>8}{'thread, ms':>26}{'':>8}  limit")
    kept = True
    for name, work in works.items():
        cells, ratios = f"{name:<26}", []
        for kind in (0, 1):
            one = statistics.median(pair[0][name][kind] for pair in pairs)
            other = statistics.median(pair[1][of[name]][kind] for pair in pairs)
            ratios.append(one / other)
            cells += f"{one:>13.1f}{other:>13.1f}{one / other:>8.2f}"
        missed = max(ratios if work.counts else ratios[1:]) > work.limit
        kept &= not missed
        print(f"{cells}  {work.limit:>5}{'   missed' if missed else ''}")
    return kept


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3)
    runs = parser.parse_args().runs
    with serving() as server:
        pairs = [
            (
                asyncio.run(measure(WORKS, server)),
                asyncio.run(measure(WORKS, server, ours=False)),
            )
            for _ in range(runs)
        ]
        encrypted = [asyncio.run(measure(ENCRYPTED, server, x64=True)) for _ in range(runs)]
    kept = table("ours, v86's own, ratio", WORKS, pairs, {name: name for name in WORKS})
    plain, secret = ENCRYPTED
    print()
    kept &= table(
        "64 bits, of HTTP, ratio", {secret: ENCRYPTED[secret]}, [(e, e) for e in encrypted],
        {secret: plain},
    )  # fmt: skip
    sys.exit(0 if kept else 1)


if __name__ == "__main__":
    main()
