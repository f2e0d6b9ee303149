"""Who may use the network: what the guest waits for goes before everything else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from browsermount import limits
from browsermount.errors import BrowsermountError, FetchError

IDLE_SECONDS = 2.0
"""How long the guest must have asked for nothing before anything is fetched in advance."""


class Traffic:
    """The requests of one mount.

    Args:
        on_trouble: Is called when a read fails or has to be tried again.
        on_recovery: Is called with the first bytes that come after a trouble.
    """

    def __init__(
        self,
        on_trouble: Callable[[BrowsermountError, bool], None] = lambda error, lost: None,
        on_recovery: Callable[[], None] = lambda: None,
    ) -> None:
        self._on_trouble = on_trouble
        self._on_recovery = on_recovery
        self._troubled = False
        self._slots = asyncio.Semaphore(limits.MAX_REQUESTS)
        self._waiting = 0
        self._last = float("-inf")
        self._yielding: set[asyncio.Task[None]] = set()

    def received(self, _count: int) -> None:
        """Take note that bytes came."""
        if self._troubled:
            self._troubled = False
            self._on_recovery()

    def retrying(self, error: FetchError) -> None:
        """Take note of a request that failed and is sent again."""
        self._troubled = True
        self._on_trouble(error, False)

    def failed(self, error: BrowsermountError) -> None:
        """Take note of a read that failed for good."""
        self._troubled = True
        self._on_trouble(error, True)

    @asynccontextmanager
    async def demand(self) -> AsyncIterator[None]:
        """Fetch something that the guest waits for; fetching in advance stops at once."""
        self._waiting += 1
        for task in self._yielding:
            task.cancel()
        try:
            async with self._slots:
                yield
        finally:
            self._waiting -= 1
            self._last = asyncio.get_running_loop().time()

    def begin(self) -> None:
        """Take the guest for one that is about to ask, as if it just had."""
        self._last = asyncio.get_running_loop().time()

    async def idle(self) -> None:
        """Wait until the guest has asked for nothing for a while."""
        loop = asyncio.get_running_loop()
        while self._waiting or loop.time() - self._last < IDLE_SECONDS:
            left = IDLE_SECONDS - (loop.time() - self._last)
            await asyncio.sleep(max(left, 0.1) if not self._waiting else 0.1)

    async def in_advance(self, task: asyncio.Task[None]) -> bool:
        """Wait for a task that may be given up; False when it was, for something more urgent."""
        self._yielding.add(task)
        try:
            await asyncio.wait([task])
        finally:
            self._yielding.discard(task)
            task.cancel()
        if task.cancelled():
            return False
        task.result()
        return True
