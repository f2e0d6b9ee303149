"""``browsermount cache``: what is kept of images that were fetched."""

from __future__ import annotations

import os
from pathlib import Path

import click

from browsermount.blobs.directory import DirectoryFiles
from browsermount.blobs.store import Store
from browsermount.cli.images import run_async
from browsermount.cli.sizes import human_size, read_size

_VARIABLE = "BROWSERMOUNT_CACHE"


def cache_directory() -> Path:
    """Return where the cache is: where the environment says, or where the system has caches."""
    if path := os.environ.get(_VARIABLE):
        return Path(path)
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "browsermount" / "blobs"


def open_cache() -> Store:
    """Return the store that all commands share."""
    return Store(DirectoryFiles(cache_directory()))


@click.group("cache")
def command() -> None:
    """Show or empty the cache.

    Parts of layers and their tables of contents are kept, so that an image that was used before
    starts at once and without a network. What was not used for longest goes when there is too
    much. BROWSERMOUNT_CACHE names another directory for it.
    """


@command.command("show")
def show() -> None:
    """Show how much is kept, and where."""
    usage = run_async(open_cache().usage())
    click.echo(f"Directory:  {cache_directory()}")
    click.echo(f"Used:       {human_size(usage.size)} of {human_size(usage.limit)}")
    click.echo(f"Objects:    {usage.objects}")


@command.command("prune")
@click.option("--keep", metavar="SIZE", default="0", help="Keep so much of it, such as 1g.")
def prune(keep: str) -> None:
    """Remove what is kept, what was not used for longest first."""
    try:
        size = read_size(keep)
    except ValueError as error:
        raise click.UsageError(f"--keep: {error}") from None
    before, after = run_async(_prune(size))
    click.echo(f"Removed {human_size(before - after)}; {human_size(after)} are left.")


async def _prune(size: int) -> tuple[int, int]:
    store = open_cache()
    before = (await store.usage()).size
    if size:
        await store.prune(size)
    else:
        await store.clear()
    after = (await store.usage()).size
    await store.close()
    return before, after
