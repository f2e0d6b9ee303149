"""``browsermount 9p``: an image's tree for any 9P2000.L client."""

from __future__ import annotations

import asyncio
import signal
from contextlib import AsyncExitStack, suppress

import click

from browsermount.cli.endpoints import listening, read_address
from browsermount.cli.images import (
    Opening,
    image_argument,
    mounted,
    opening_options,
    run_async,
)
from browsermount.cli.printable import printable
from browsermount.errors import InvalidProcess
from browsermount.runtime.spec import ProcessOptions
from browsermount.sockets import serve


@click.command("9p")
@image_argument
@click.option(
    "--listen",
    required=True,
    metavar="ADDRESS",
    help="unix:PATH or tcp:HOST:PORT; tcp:PORT is for this machine only, port 0 takes any.",
)
@opening_options
def command(opening: Opening, image: str, listen: str) -> None:
    """Serve an image's tree over 9P2000.L.

    The tree is read only. It has the directories rootfs, the merged layers, and config, how the
    image would be started. A client that attaches with the name (aname) rootfs gets the merged
    layers alone.

    There are no passwords: whoever reaches the address can read the image. A Linux client:

    \b
      browsermount 9p IMAGE --listen tcp:5640
      mount -t 9p -o trans=tcp,port=5640,version=9p2000.L,cache=loose,aname=rootfs \\
        127.0.0.1 /mnt
    """
    run_async(_serve(opening, image, listen))


async def _serve(opening: Opening, image: str, listen: str) -> None:
    address = read_address(listen)
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    async with AsyncExitStack() as stack:
        try:
            mounting = mounted(image, opening, options=ProcessOptions())
            mount = await stack.enter_async_context(mounting)
        except InvalidProcess:
            # It does not say what to start, which does not matter to who reads its files.
            mount = await stack.enter_async_context(mounted(image, opening))

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(asyncio.CancelledError):
                await serve(mount.session(), reader, writer)

        bound, where = stack.enter_context(listening(address))
        server = await asyncio.start_server(accept, sock=bound)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        click.echo(f"Serving {printable(mount.image.reference)} at {where}")
        try:
            await ended.wait()
        finally:
            server.close()
