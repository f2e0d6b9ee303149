"""Work that is done in steps, between which others may have their turn.

Such work is a generator that yields where it may be interrupted, and returns its result. In the
browser there is one thread for it and for the 9P server that the machine waits for.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Generator
from typing import TypeAlias, TypeVar

T = TypeVar("T")

Steps: TypeAlias = Generator[None, None, T]
"""Steps, each of some milliseconds, with a result."""

TURN_SECONDS = 0.05
"""Seconds after which others have their turn."""


def finish(steps: Steps[T]) -> T:
    """Do all steps at once, and return their result."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        result: T = end.value
        return result


async def in_turns(steps: Steps[T], sleep: Callable[[float], Awaitable[None]]) -> T:
    """Do all steps, and let others have their turn in between.

    Args:
        steps: What is to be done.
        sleep: Waits; with 0, until others have had their turn.
    """
    turn = time.monotonic() + TURN_SECONDS
    try:
        while True:
            next(steps)
            if time.monotonic() >= turn:
                await sleep(0)
                turn = time.monotonic() + TURN_SECONDS
    except StopIteration as end:
        result: T = end.value
        return result
    finally:
        steps.close()
