"""Addresses that stand for names, where it is not us who looks names up.

The guest asks for a name's address and connects to that. The browser wants the name. So each name
that is asked for gets an address of a range that the internet does not have (RFC 2544).
"""

from __future__ import annotations

from collections import OrderedDict

from browsermount.limits import MAX_NAMES
from browsermount.network.addresses import parse

_FIRST = parse("198.18.0.1")


class Names:
    """Gives names an address; the name that was not asked for longest loses its.

    Args:
        first: The first address that is given.
    """

    def __init__(self, first: int = _FIRST) -> None:
        self._first = first
        self._by_name: OrderedDict[str, int] = OrderedDict()
        self._by_address: dict[int, str] = {}

    def address(self, name: str) -> int:
        """Return the address that stands for a name."""
        address = self._by_name.get(name)
        if address is None:
            if len(self._by_name) < MAX_NAMES:
                address = self._first + len(self._by_name)
            else:
                _, address = self._by_name.popitem(last=False)
            self._by_name[name] = address
            self._by_address[address] = name
        self._by_name.move_to_end(name)
        return address

    def name(self, address: int) -> str | None:
        """Return the name that an address stands for; None where it stands for itself."""
        return self._by_address.get(address)
