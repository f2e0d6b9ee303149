"""``browsermount gateway``: the network, and the image, of a virtual machine that others run."""

from __future__ import annotations

import asyncio
import signal
import socket
from contextlib import suppress
from functools import partial

import click

from browsermount.cli.endpoints import LocalAddress, listening, read_address
from browsermount.cli.images import (
    Opening,
    image_argument,
    mounted,
    opening_options,
    run_async,
)
from browsermount.cli.networks import network_option, open_ports, publish_option, say_refusal
from browsermount.cli.printable import printable
from browsermount.cli.sockets import Network, Publication, Rules
from browsermount.errors import BrowsermountError
from browsermount.machines import for_others
from browsermount.mount import Mount
from browsermount.network.bundle import BUNDLE_ADDRESS, serve_bundle
from browsermount.network.stack import ETHERNET_MTU, MAX_MTU
from browsermount.runtime.spec import Host, ProcessOptions

_MIN_MTU = 576
_CONNECT_SECONDS = 30.0
_CONNECT_PAUSE = 0.1


class MachineUnavailable(BrowsermountError):
    """The virtual machine that we are to connect to is not there."""

    code = "machine"


@click.command("gateway")
@image_argument
@click.option(
    "--listen",
    metavar="ADDRESS",
    help="Wait there for the machine: unix:PATH or tcp:HOST:PORT; tcp:PORT is for this machine "
    "only, port 0 takes any.",
)
@click.option(
    "--connect", metavar="ADDRESS", help="Connect to the machine, which listens there itself."
)
@network_option
@publish_option
@click.option(
    "--mtu",
    type=click.IntRange(_MIN_MTU, MAX_MTU),
    default=ETHERNET_MTU,
    show_default=True,
    help="Bytes of the largest packet that the machine's card takes.",
)
@opening_options
def command(
    opening: Opening,
    image: str,
    listen: str | None,
    connect: str | None,
    network: str,
    publications: list[Publication],
    mtu: int,
) -> None:
    """Be the network of a virtual machine, and serve an image to it.

    The machine is one of container2wasm's, made with c2w --external-bundle, or QEMU's. It gets its
    address by DHCP, looks names up, and reaches what --network allows by this machine's sockets.
    At 192.168.127.252, port 80, is the image as container2wasm expects it, by 9P2000.L: the
    directories rootfs and config.

    \b
      browsermount gateway IMAGE --connect tcp:1234
      browsermount gateway IMAGE --listen tcp:1234
      qemu-system-x86_64 -netdev stream,id=net,addr.type=inet,addr.host=127.0.0.1,addr.port=1234 ...

    With --listen, one machine after the other is served until Ctrl-C; with --connect, the one until
    it ends.
    """
    if (listen is None) == (connect is None):
        raise click.UsageError("say where the machine is: either --listen or --connect")
    address = read_address(listen or connect or "")
    rules = Rules(network == "all", publications, public=network != "none")
    run_async(_run(opening, image, address, listen is not None, rules, mtu))


async def _run(
    opening: Opening, image: str, address: LocalAddress, listens: bool, rules: Rules, mtu: int
) -> None:
    # The machine decides what it runs; an image need not say it.
    options = ProcessOptions(network=True, host=Host.CONTAINER2WASM)
    async with mounted(
        image, opening, platforms=opening.platforms(for_others()), options=options
    ) as mount:
        name = printable(str(mount.image.reference))
        work = (
            _serve_all(address, mount, opening, rules, mtu, name)
            if listens
            else _serve_one(address, mount, opening, rules, mtu, name)
        )
        task = asyncio.ensure_future(work)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, task.cancel)
        with suppress(asyncio.CancelledError):
            await task


async def _serve_all(
    address: LocalAddress, mount: Mount, opening: Opening, rules: Rules, mtu: int, name: str
) -> None:
    loop = asyncio.get_running_loop()
    with listening(address) as (server, where):
        click.echo(f"Serving {name} to a machine that connects to {where}")
        while True:
            frames, _ = await loop.sock_accept(server)
            await _serve(frames, mount, opening, rules, mtu)


async def _serve_one(
    address: LocalAddress, mount: Mount, opening: Opening, rules: Rules, mtu: int, name: str
) -> None:
    frames = await _reach(address)
    click.echo(f"Serving {name} to the machine at {address}")
    await _serve(frames, mount, opening, rules, mtu)


async def _reach(address: LocalAddress) -> socket.socket:
    """Connect to the machine, which may still be about to listen.

    Raises:
        MachineUnavailable: It does not in time.
    """
    loop = asyncio.get_running_loop()
    end = loop.time() + _CONNECT_SECONDS
    while True:
        try:
            return await address.connect()
        except OSError as error:
            if loop.time() > end:
                raise MachineUnavailable(
                    f"nothing answers at {address}: {error.strerror or error}",
                    hint="Start the machine so that it listens there, or use --listen.",
                ) from None
        await asyncio.sleep(_CONNECT_PAUSE)


async def _serve(
    frames: socket.socket, mount: Mount, opening: Opening, rules: Rules, mtu: int
) -> None:
    """Be the network of one machine until it hangs up."""
    network = Network(
        frames,
        rules,
        lambda text: say_refusal(text, quiet=opening.quiet),
        mtu=mtu,
        services={BUNDLE_ADDRESS: partial(serve_bundle, mount.session)},
    )
    try:
        await open_ports(network.open)
        await network.ended()
    finally:
        await network.close()
