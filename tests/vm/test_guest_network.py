"""A kernel for amd64 in QEMU as the client of our TCP/IP, over QEMU's own virtual cable."""

from __future__ import annotations

import asyncio
import hashlib
import random
import socket
from pathlib import Path

from browsermount.cli.sockets import Network, Rules
from tests.vm.qemu import Outcome, run_container, running
from tests.vm.test_guest import TIMEOUT, as_it_is, make_tree

DATA = random.Random(3).randbytes(2_000_000)


async def _serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer with how much has come, and then with data."""
    up = hashlib.sha256(await reader.readexactly(len(DATA)))
    writer.write(up.hexdigest().encode() + b"\n" + DATA)
    await writer.drain()
    writer.close()


async def _run(directory: Path) -> tuple[Outcome, list[str]]:
    server = await asyncio.start_server(_serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    script = f"""
        cat /sys/class/net/eth0/mtu
        exec 3<>/dev/tcp/192.168.127.254/{port}
        cat /data >&3
        read -r up <&3; echo $up
        sha256sum <&3
        (exec 4<>/dev/tcp/192.168.127.254/1) 2>&1 | grep -o refused
    """
    tree = make_tree(directory, "bash", "-c", script, change=as_it_is)
    (tree / "rootfs" / "data").write_bytes(DATA)
    ours, cards = socket.socketpair()
    said: list[str] = []
    network = Network(ours, Rules(private=True), said.append)
    await network.open()
    try:
        with cards:
            async with running(tree, card=cards) as guest:
                return await run_container(guest), said
    finally:
        await network.close()
        server.close()


def test_both_ways_with_a_card_for_ordinary_packets(tmp_path: Path) -> None:
    outcome, said = asyncio.run(asyncio.wait_for(_run(tmp_path), TIMEOUT))
    digest = hashlib.sha256(DATA).hexdigest()
    lines = outcome.stdout.splitlines()
    assert lines[:4] == ["1500", digest, f"{digest}  -", "refused"], outcome.stderr
    assert said == []
