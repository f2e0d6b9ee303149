"""Runs coroutines to their end without any I/O, in CPython and in Pyodide alike.

Pyodide's own event loop is the browser's and cannot be waited for from within a
test; the core does no I/O, so a loop that has none is all that it needs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _NoSelector:
    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise AssertionError("the coroutine waits for something that never comes")
        return []


class _Loop(asyncio.BaseEventLoop):
    def __init__(self) -> None:
        super().__init__()
        self._selector = _NoSelector()

    def _process_events(self, events: list[Any]) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return what a coroutine returns."""
    outer = asyncio._get_running_loop()
    asyncio._set_running_loop(None)
    loop = _Loop()
    try:
        return loop.run_until_complete(coroutine)
    finally:
        loop.close()
        asyncio._set_running_loop(outer)
