"""IPv4 addresses as numbers, those of the guest's network, and which ones are not public."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple


def parse(text: str) -> int:
    """Return the number of an address such as ``192.168.127.1``.

    Raises:
        ValueError: It is not one.
    """
    return int(IPv4Address(text))


def to_text(address: int) -> str:
    """Return an address as people write it."""
    return str(IPv4Address(address))


class Endpoint(NamedTuple):
    """One end of a connection or datagram."""

    address: int
    port: int

    def __str__(self) -> str:
        return f"{to_text(self.address)}:{self.port}"


# tools/vm/init/network.c has GUEST and GATEWAY, too. They are those of container2wasm's machines.
GUEST = parse("192.168.127.3")
GATEWAY = parse("192.168.127.1")
"""Also the name server."""
BUNDLE = parse("192.168.127.252")
"""Where container2wasm's machines mount their image from."""
HOST = parse("192.168.127.254")
"""Stands for the machine that we run on, where a container may reach it."""
NETMASK = parse("255.255.255.0")
BROADCAST = 0xFFFFFFFF
LOOPBACK = parse("127.0.0.1")

HOST_NAMES = ("host.containers.internal", "host.docker.internal")
"""The names of :data:`HOST`, as Podman and Docker have them."""

_MULTICAST = IPv4Network("224.0.0.0/4")


def is_public(address: int) -> bool:
    """Tell whether an address is one of the internet's.

    This machine's own, those of private and local networks, and those that stand for many or
    for none are not: the container would reach what only those nearby are meant to reach.
    """
    ip = IPv4Address(address)
    return ip.is_global and ip not in _MULTICAST
