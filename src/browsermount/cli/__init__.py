"""The command line: the only package that knows a terminal."""

from browsermount.cli.app import main

__all__ = ["main"]
