"""The image for a machine of others in the page, which mounts it through its network card."""

from __future__ import annotations

import asyncio
import logging

from browsermount.network.bundle import BUNDLE_ADDRESS, serve_bundle
from browsermount.network.connection import Connection
from browsermount.network.stream import Stream
from browsermount.ninep import Server
from browsermount.pyodide.network import PageNetwork
from browsermount.pyodide.worker import Worker

_log = logging.getLogger(__name__)


class PageBundle:
    """Serves the image that is mounted, where the network has nothing else.

    Args:
        network: The machine's.
        worker: Has what is mounted.
    """

    def __init__(self, network: PageNetwork, worker: Worker) -> None:
        self._worker = worker
        self._tasks: set[asyncio.Task[None]] = set()
        self._other = network.stack.on_connect
        network.stack.on_connect = self._connect

    def close(self) -> None:
        """Break off what is served."""
        for task in self._tasks:
            task.cancel()

    def _connect(self, connection: Connection) -> None:
        if connection.local != BUNDLE_ADDRESS:
            self._other(connection)
        elif self._worker.mounted is None:
            connection.refuse()
        else:
            connection.accept()
            task = asyncio.ensure_future(self._serve(Stream(connection)))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, stream: Stream) -> None:
        try:
            await serve_bundle(self._session, stream)
        except asyncio.CancelledError:
            stream.abort()
            raise
        except Exception:
            # A defect: the machine is not to wait for ever.
            _log.exception("the image's server broke")
            stream.abort()

    def _session(self) -> Server:
        mounted = self._worker.mounted
        assert mounted is not None
        return mounted.session()
