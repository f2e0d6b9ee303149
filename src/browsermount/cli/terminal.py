"""The terminal that we are started in."""

from __future__ import annotations

import os
import sys
import termios
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def window_size() -> tuple[int, int] | None:
    """Return the columns and rows of the terminal, None where there is none."""
    for stream in (sys.stdout, sys.stdin, sys.stderr):
        try:
            size = os.get_terminal_size(stream.fileno())
        except (OSError, ValueError, AttributeError):
            continue
        if size.columns and size.lines:
            return size.columns, size.lines
    return None


@contextmanager
def raw() -> Iterator[Callable[[], None]]:
    """Give a function that makes the terminal raw, and undo that at the end of the context.

    Raw means that keys are passed on as they are, Ctrl-C among them, and that what is written
    is shown as it is: the terminal in the container does all that a terminal does.
    """
    descriptor = sys.stdin.fileno()
    try:
        before = termios.tcgetattr(descriptor)
    except termios.error:
        yield lambda: None
        return
    try:
        yield lambda: tty.setraw(descriptor, termios.TCSADRAIN)
    finally:
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
