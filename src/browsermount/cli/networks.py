"""The options of commands that give a machine a network, and what is said to a person about it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from ipaddress import ip_address

import click

from browsermount.cli.sockets import Publication
from browsermount.errors import BrowsermountError


class PortUnavailable(BrowsermountError):
    """A port of this machine's that was asked for is taken, or not ours to take."""

    code = "port"


def _read_publications(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> list[Publication]:
    return [_read_publication(value, ctx, param) for value in values]


def _read_publication(value: str, ctx: click.Context, param: click.Parameter) -> Publication:
    ports, _, protocol = value.partition("/")
    address, _, outer = ports.rpartition(":")[0].rpartition(":")
    inner = ports.rpartition(":")[2]
    port, target = (int(text) if text.isdecimal() else 0 for text in (outer, inner))
    if protocol not in {"", "tcp", "udp"} or not 0 < port < 1 << 16 or not 0 < target < 1 << 16:
        raise click.BadParameter(
            f"{value!r} is not of the form [ADDRESS:]PORT:PORT[/udp], such as 8080:80", ctx, param
        )
    try:
        where = str(ip_address(address.strip("[]"))) if address else "127.0.0.1"
    except ValueError:
        raise click.BadParameter(f"{address!r} is not an IP address", ctx, param) from None
    return Publication(where, port, target, udp=protocol == "udp")


network_option = click.option(
    "--network",
    type=click.Choice(["none", "public", "all"]),
    default="public",
    show_default=True,
    help="What can be reached: nothing, the internet, or also private networks and this machine, "
    "which is host.containers.internal there.",
)
"""Gives a command the argument ``network``."""

publish_option = click.option(
    "-p",
    "--publish",
    "publications",
    multiple=True,
    metavar="[ADDRESS:]PORT:PORT[/udp]",
    callback=_read_publications,
    help="Make the container's port, the last one, reachable at a port here; by default at "
    "127.0.0.1 alone.",
)
"""Gives a command the argument ``publications``, a list of :class:`Publication`."""


def say_refusal(text: str, *, quiet: bool) -> None:
    """Tell a person what a container was refused."""
    if not quiet:
        # The terminal may be one that does not return to the line's beginning by itself.
        print(f"browsermount: {text}.", file=sys.stderr, end="\r\n", flush=True)


async def open_ports(opening: Callable[[], Awaitable[None]]) -> None:
    """Open a network, with the ports that are published.

    Raises:
        PortUnavailable: One of them cannot be had.
    """
    try:
        await opening()
    except OSError as error:
        raise PortUnavailable(
            f"port {error.filename} cannot be had: {error.strerror}",
            hint="Choose another one with -p, or end what uses it.",
        ) from None
