"""``browsermount pull``: an image into an OCI image layout."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from browsermount.cli.images import (
    ANY,
    Opening,
    image_argument,
    image_name,
    opened,
    opening_options,
    run_async,
)
from browsermount.cli.layouts import LayoutWriter, copy_layers
from browsermount.cli.progress import progress
from browsermount.errors import ImageNotFound
from browsermount.events import EventSink
from browsermount.mount import find_image
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.image import ResolvedImage, Source, read_document
from browsermount.oci.platform import Platform


@click.command("pull")
@image_argument
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", help="What the image is called in the layout; default: its tag, or latest.")
@opening_options
def command(opening: Opening, image: str, directory: Path, name: str | None) -> None:
    """Copy an image into an OCI image layout.

    DIR is the layout's directory, which is made where it is missing. Every blob is verified. A pull
    that was broken off goes on where it was when it is started again. Other images that are in DIR
    stay. The manifest's digest is written to standard output.
    """
    click.echo(run_async(pull(opening, image, directory, name)))


async def pull(
    opening: Opening,
    image: str,
    directory: Path,
    name: str | None = None,
    default: Sequence[Platform] = ANY,
) -> str:
    """Copy an image into a layout and return its manifest's digest.

    Raises:
        BrowsermountError, OSError: It cannot be had or written.
    """
    with progress(quiet=opening.quiet) as on_event:
        async with opened(image) as (source, _):
            resolved, manifest = await find(source, opening, on_event, default)
            writer = LayoutWriter(directory)
            await copy_layers(writer, source, resolved.manifest.layers, on_event)
            writer.add(resolved.config.raw)
            writer.add(await read_document(source, manifest))
            writer.finish(document(manifest, resolved), name or image_name(image))
            return str(resolved.digest)


@contextmanager
def as_layout(path: Path) -> Iterator[Path]:
    """Give an image of this machine as a layout directory, for as long as the context lasts.

    Raises:
        BrowsermountError: There is none.
    """
    from browsermount.local.folder import is_folder

    if path.is_dir() and not is_folder(path):
        if not (path / "index.json").is_file():
            raise ImageNotFound(
                f"{path} holds no OCI image layout: it has no index.json",
                hint="Give the directory that has index.json, oci-layout and blobs in it.",
            )
        yield path
        return
    with tempfile.TemporaryDirectory(prefix="browsermount-") as work:
        run_async(pull(Opening(), str(path.absolute()), Path(work)))
        yield Path(work)


async def find(
    source: Source,
    opening: Opening,
    on_event: EventSink,
    default: Sequence[Platform] = ANY,
) -> tuple[ResolvedImage, Descriptor]:
    """Return the image that is meant, and the descriptor of its manifest.

    Raises:
        BrowsermountError: There is none.
    """
    resolved = await find_image(source, opening.platforms(default), on_event)
    return resolved, resolved.descriptor


def document(manifest: Descriptor, image: ResolvedImage) -> dict[str, Any]:
    """Return a manifest's descriptor as it stands in an index."""
    platform = image.platform
    return {
        "mediaType": manifest.media_type,
        "digest": str(manifest.digest),
        "size": manifest.size,
        "platform": {
            "os": platform.os,
            "architecture": platform.architecture,
            **({"variant": platform.variant} if platform.variant else {}),
        },
    }
