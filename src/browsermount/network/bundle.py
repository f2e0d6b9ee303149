"""Where container2wasm's machines mount their image from: 9P2000.L over TCP."""

from __future__ import annotations

from collections.abc import Callable

from browsermount.network.addresses import BUNDLE, Endpoint
from browsermount.network.stream import Stream
from browsermount.ninep import Server
from browsermount.sockets import answer

BUNDLE_ADDRESS = Endpoint(BUNDLE, 80)


async def serve_bundle(session: Callable[[], Server], stream: Stream) -> None:
    """Answer a machine's requests until it hangs up.

    Args:
        session: Opens a session on the tree, which has ``rootfs`` and ``config``.
        stream: The machine's connection.
    """
    await answer(session(), stream.read, stream.write)
    stream.close()
