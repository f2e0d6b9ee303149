"""Modules that most visitors never need: not in the snapshot, and fetched when it comes to it."""

from __future__ import annotations

import importlib.util

import browsermount.commit
import browsermount.network
import browsermount.pyodide


def has(module: str) -> bool:
    """Tell whether a module can be imported."""
    return importlib.util.find_spec(module) is not None


def add(archive: str) -> None:
    """Let modules of these packages be imported from an archive.

    Args:
        archive: The path of a zip file with folders as a wheel has them.
    """
    for package in (browsermount.commit, browsermount.network, browsermount.pyodide):
        package.__path__.append(f"{archive}/{package.__name__.replace('.', '/')}")
    importlib.invalidate_caches()
