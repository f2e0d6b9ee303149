"""The neighbours of a container in the page, which ``web/mount/neighbours.js`` finds."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from pyodide.ffi import JsException, create_proxy, to_js

from browsermount.network.neighbours import Neighbours
from browsermount.pyodide.network import PageNetwork


class _Wire:
    """A :class:`browsermount.network.neighbours.Wire` on a ``Link``."""

    def __init__(self, link: Any) -> None:
        self._link = link
        self._proxies: list[Any] = []

    def listen(self, receive: Callable[[bytes], None], lost: Callable[[], None]) -> None:
        """Have what comes taken."""

        def take(message: Any) -> None:
            receive(message.to_bytes())

        def end() -> None:
            lost()
            self._release()

        self._proxies = [create_proxy(take), create_proxy(end)]
        self._link.listen(*self._proxies)

    def send(self, message: bytes) -> None:
        """Send a message, or drop it where the neighbour is gone."""
        self._link.send(to_js(message))

    def close(self) -> None:
        """End it, for the neighbour, too."""
        self._link.close()
        self._release()

    def _release(self) -> None:
        proxies, self._proxies = self._proxies, []
        # One of them may be what is running.
        asyncio.get_running_loop().call_soon(lambda: [proxy.destroy() for proxy in proxies])


class _Neighbourhood:
    """A :class:`browsermount.network.neighbours.Neighbourhood` on the one of JavaScript."""

    def __init__(self, found: Any) -> None:
        self._found = found

    async def find(self, name: str) -> bool:
        """Tell whether there is one of this name now."""
        return bool(await self._found.find(name))

    async def dial(
        self, name: str, receive: Callable[[bytes], None], lost: Callable[[], None]
    ) -> _Wire:
        """Return a wire to one.

        Raises:
            ConnectionError: There is none.
        """
        try:
            wire = _Wire(await self._found.dial(name))
        except JsException as error:
            raise ConnectionRefusedError(error.message) from error
        wire.listen(receive, lost)
        return wire


class PageNeighbours:
    """The neighbours of one container.

    Args:
        network: The container's.
        found: A ``Neighbourhood``.
    """

    def __init__(self, network: PageNetwork, found: Any) -> None:
        self._neighbours = Neighbours(
            network.stack,
            found.network,
            found.name,
            _Neighbourhood(found),
            alone=network.is_internal,
        )

    def meet(self, name: str, link: Any) -> None:
        """Take a neighbour that has looked for this container."""
        wire = _Wire(link)
        wire.listen(*self._neighbours.meet(name, wire))

    def close(self) -> None:
        """Break everything off."""
        self._neighbours.close()
