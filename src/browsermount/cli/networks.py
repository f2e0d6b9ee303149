"""The options of commands that give a machine a network, and what is said to a person about it."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import click

from browsermount.cli.sockets import Publication, Rules
from browsermount.errors import BrowsermountError
from browsermount.network.neighbours import is_name

_KINDS = ("none", "public", "all")
_DEFAULT = "public"
_OF_ENGINES = ("host", "bridge", "default", "private", "slirp4netns", "pasta")
"""What ``--network`` means something else by in docker and podman."""


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


@dataclass(frozen=True, slots=True)
class NetworkChoice:
    """What a container can reach.

    Attributes:
        kind: One of :data:`_KINDS`.
        name: The network of containers that it is in, if any.
    """

    kind: str = _DEFAULT
    name: str | None = None

    def rules(self, publications: Sequence[Publication]) -> Rules | None:
        """Return what may pass; None where the container has no network."""
        if self.kind == "none" and self.name is None:
            return None
        return Rules(self.kind == "all", publications, public=self.kind != "none")


def _read_networks(
    ctx: click.Context, param: click.Parameter, values: tuple[str, ...]
) -> NetworkChoice:
    kinds = [value for value in values if value in _KINDS]
    names = [value for value in values if value not in _KINDS]
    if len(kinds) > 1 or len(names) > 1:
        raise click.BadParameter(
            f"{' and '.join(kinds if len(kinds) > 1 else names)} do not go together", ctx, param
        )
    for name in names:
        if name in _OF_ENGINES or not is_name(name):
            raise click.BadParameter(
                f"{name!r} is neither {', '.join(_KINDS)} nor a name that a network of containers "
                "can have: small letters, digits and hyphens",
                ctx,
                param,
            )
    return NetworkChoice(kinds[0] if kinds else _DEFAULT, names[0] if names else None)


networks_option = click.option(
    "--network",
    multiple=True,
    metavar="none|public|all|NAME",
    callback=_read_networks,
    help="What can be reached: nothing, the internet (the default), or also private networks and "
    "this machine, which is host.containers.internal there. NAME is a network of containers that "
    "run here: they reach each other by their host names; give it beside one of the others.",
)
"""Gives a command the argument ``network``, a :class:`NetworkChoice`."""

network_option = click.option(
    "--network",
    type=click.Choice(_KINDS),
    default=_DEFAULT,
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
