"""``browsermount pull``: an image into an OCI image layout."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
from browsermount.commit.image import document
from browsermount.errors import ImageNotFound
from browsermount.events import EventSink
from browsermount.mount import find_image
from browsermount.oci.choice import resolve_all
from browsermount.oci.digest import Digest
from browsermount.oci.image import ResolvedImage, Source, read_document
from browsermount.oci.platform import Platform


def all_platforms_option(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the option for all platforms of an image."""
    return click.option(
        "--all-platforms", is_flag=True, help="Copy the image for all platforms that there are."
    )(function)


def check_all_platforms(opening: Opening, all_platforms: bool) -> None:
    """Refuse to be asked for all platforms and for one.

    Raises:
        UsageError: That is so.
    """
    if all_platforms and opening.platform is not None:
        raise click.UsageError("--all-platforms and --platform cannot be given together")


@click.command("pull")
@image_argument
@click.argument("directory", metavar="DIR", type=click.Path(file_okay=False, path_type=Path))
@click.option("--name", help="What the image is called in the layout; default: its tag, or latest.")
@all_platforms_option
@opening_options
def command(
    opening: Opening, image: str, directory: Path, name: str | None, all_platforms: bool
) -> None:
    """Copy an image into an OCI image layout.

    DIR is the layout's directory, which is made where it is missing. Every blob is verified. A pull
    that was broken off goes on where it was when it is started again: until then, what has come of
    a layer is in DIR/.partial, which may be removed. Other images that are in DIR stay, and so does
    the same image for other platforms: they become one index. The digest of what the name then
    stands for is written to standard output.
    """
    check_all_platforms(opening, all_platforms)
    pulled = run_async(pull(opening, image, directory, name, all_platforms=all_platforms))
    click.echo(pulled.digest)


@dataclass(frozen=True, slots=True)
class Pulled:
    """What was copied: the images, and the ``digest`` of what is named in the layout."""

    digest: Digest
    images: tuple[ResolvedImage, ...]


async def pull(
    opening: Opening,
    image: str,
    directory: Path,
    name: str | None = None,
    default: Sequence[Platform] = ANY,
    *,
    all_platforms: bool = False,
) -> Pulled:
    """Copy an image into a layout.

    Raises:
        BrowsermountError, OSError: It cannot be had or written.
    """
    with progress(quiet=opening.quiet) as on_event:
        async with opened(image) as (source, _):
            with LayoutWriter(directory) as writer:
                documents = []
                images = tuple(await find(source, opening, on_event, default, all_platforms))
                for resolved in images:
                    await copy_layers(writer, source, resolved.manifest.layers, on_event)
                    writer.add(resolved.config.raw)
                    writer.add(await read_document(source, resolved.descriptor))
                    documents.append(document(resolved.descriptor, resolved))
                return Pulled(writer.finish(documents, name or image_name(image)), images)


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
    all_platforms: bool = False,
) -> list[ResolvedImage]:
    """Return the image that is meant, for one platform or for all that there are.

    Raises:
        BrowsermountError: There is none.
    """
    first = await find_image(source, opening.platforms(default), on_event)
    if not all_platforms:
        return [first]
    return await resolve_all(source, first)
