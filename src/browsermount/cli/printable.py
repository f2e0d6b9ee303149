"""Text that others wrote, on its way to the terminal."""

from __future__ import annotations


def printable(text: str) -> str:
    """Return a text of an image or a server as it may be shown on a terminal, in one line.

    Control characters, with which it could set the clipboard, the title or what stands on the
    screen, and marks that turn the direction of writing are shown as Python's escapes.
    """
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
