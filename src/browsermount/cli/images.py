"""What a person gives as IMAGE, opened."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from browsermount.blobs.store import Store
from browsermount.cli.progress import progress
from browsermount.fetch import Fetcher
from browsermount.mount import Mount
from browsermount.mount import mount as make_mount
from browsermount.oci.given import GivenLayer
from browsermount.oci.image import Source
from browsermount.oci.platform import ANYTHING, RUNNABLE, Platform, read_platform
from browsermount.rootfs.trust import Certificate
from browsermount.runtime.spec import ProcessOptions

T = TypeVar("T")

_LOCAL_PREFIXES = ("oci:", "oci-archive:", "docker-archive:", "dir:")
_REGISTRY_PREFIX = "docker://"
_DEFAULT_NAME = "latest"
_URL_PREFIXES = ("http://", "https://")

ANY: Sequence[Platform] = (*RUNNABLE, ANYTHING)
"""What is looked into where nobody says which platform is meant, the best first."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How images are opened: what the options that all commands have in common say."""

    quiet: bool = False
    cache: bool = True
    platform: Platform | None = None

    def platforms(self, default: Sequence[Platform] = ANY) -> Sequence[Platform]:
        """Return the platforms that are looked for, the best first."""
        return default if self.platform is None else (self.platform,)


def image_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument IMAGE."""
    return click.argument("image", shell_complete=_complete_path)(function)


def optional_image_argument(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the argument IMAGE, which may be missing."""
    return click.argument("image", required=False, shell_complete=_complete_path)(function)


def opening_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Give a command the options of :class:`Opening`, as its argument ``opening``."""

    def with_opening(quiet: bool, no_cache: bool, platform: Platform | None, **rest: Any) -> Any:
        return function(opening=Opening(quiet, not no_cache, platform), **rest)

    with_opening.__doc__ = function.__doc__
    with_opening.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    with_opening.__name__ = function.__name__
    for option in (
        click.option(
            "--platform",
            callback=_read_platform,
            metavar="OS/ARCH",
            help="Which of an image's platforms, such as linux/386 or arm64.",
        ),
        click.option("--no-cache", is_flag=True, help="Keep nothing of what is fetched."),
        click.option("-q", "--quiet", is_flag=True, help="Show no progress."),
    ):
        option(with_opening)
    return with_opening


def _read_platform(
    ctx: click.Context, param: click.Parameter, value: str | None
) -> Platform | None:
    try:
        return None if value is None else read_platform(value)
    except ValueError as error:
        raise click.BadParameter(str(error), ctx, param) from None


def _complete_path(ctx: click.Context, param: click.Parameter, incomplete: str) -> Any:
    return click.Path().shell_complete(ctx, param, incomplete)


@asynccontextmanager
async def opened(image: str) -> AsyncIterator[tuple[Source, Fetcher]]:
    """Open the image that ``image`` names, for as long as the context lasts.

    Raises:
        BrowsermountError: It cannot be read as the name of an image, or is not there.
    """
    # Importing httpx takes longer than everything else that looking into a directory does.
    with ExitStack() as stack:
        path = local_path(image)
        if path is not None:
            from browsermount.local import open_local
            from browsermount.local.files import FileFetcher

            yield stack.enter_context(open_local(*path)), FileFetcher()
            return
        from browsermount.cli.certificates import trusted
        from browsermount.cli.credentials import DockerCredentials
        from browsermount.fetch.native import HttpxFetcher
        from browsermount.oci.source import open_source
        from browsermount.reference import parse_reference

        reference = parse_reference(image.removeprefix(_REGISTRY_PREFIX))
        async with HttpxFetcher(verify=trusted()) as fetcher:
            yield open_source(reference, fetcher, credentials=DockerCredentials()), fetcher


def local_path(image: str) -> tuple[Path, str | None] | None:
    """Return the path and name of an image on this machine, or None for one that is elsewhere.

    A file or a layout that is there is one, and so is what is written like a path; the
    prefixes that other tools have for them are taken, too.
    """
    for prefix in _LOCAL_PREFIXES:
        if image.startswith(prefix):
            return _split(image.removeprefix(prefix), "#:")
    if image.startswith((*_URL_PREFIXES, _REGISTRY_PREFIX)):
        return None
    is_path = image.startswith((".", "/", "~")) or image.endswith("/")
    path, name = _split(image, "#:" if is_path else "#")
    if not is_path and not path.is_file() and _split(image, ":")[0].is_file():
        path, name = _split(image, ":")
    # A directory that happens to be called like an image of a registry is none.
    is_image = path.is_file() or (path / "index.json").is_file()
    if is_image or is_path:
        return path, name
    return None


def lasting_name(image: str, digest: str) -> str:
    """Return a name by which the same image is found again, from any directory.

    Args:
        image: What the person gave.
        digest: Of the image's manifest.
    """
    path = local_path(image)
    if path is not None:
        where, name = path
        return f"{where.resolve()}{'' if name is None else f'#{name}'}"
    from browsermount.reference import RegistryReference, parse_reference

    if isinstance(parse_reference(image.removeprefix(_REGISTRY_PREFIX)), RegistryReference):
        return f"{image.partition('@')[0]}@{digest}"
    return image


def split_name(text: str) -> tuple[Path, str | None]:
    """Split a layout's directory, which need not be there yet, from a name behind it."""
    return _split(text, "#:")


def image_name(image: str) -> str:
    """Return what an image is called among others: its name in a layout, or its tag."""
    path = local_path(image)
    if path is not None:
        return path[1] or _DEFAULT_NAME
    from browsermount.reference import LayoutReference, parse_reference

    reference = parse_reference(image.removeprefix(_REGISTRY_PREFIX))
    name = reference.name if isinstance(reference, LayoutReference) else reference.tag
    return name or _DEFAULT_NAME


def _split(text: str, separators: str) -> tuple[Path, str | None]:
    """Split a path from the name behind it; each may have the separators in it."""
    ends = [i for i, character in enumerate(text) if character in separators]
    # The longest path that is there, else what is before the first separator.
    for end in (len(text), *reversed(ends)):
        path = Path(text[:end]).expanduser()
        if end and path.exists():
            return path, text[end + 1 :] or None
    end = ends[0] if ends else len(text)
    return Path(text[:end]).expanduser(), text[end + 1 :] or None


@asynccontextmanager
async def mounted(
    image: str,
    opening: Opening,
    *,
    platforms: Sequence[Platform] | None = None,
    options: ProcessOptions | None = None,
    over: Sequence[GivenLayer] = (),
    authority: Certificate | None = None,
) -> AsyncIterator[Mount]:
    """Mount an image, for as long as the context lasts.

    Until it is mounted there are progress bars, where there is a terminal to show them.

    Args:
        image: What the person gave.
        opening: How it is opened.
        platforms: What is looked for, the best first; by default what ``opening`` says.
        options: How it is started; where nothing is going to be started, None.
        over: What lies over it.
        authority: Gives the certificate of an authority that the container trusts.

    Raises:
        BrowsermountError: The image cannot be used.
    """
    from browsermount.cli.cache import open_cache

    if options is None:
        # So it does not matter whether the image says what to start.
        options = ProcessOptions(args=("sh",), user="0")
    store = open_cache() if opening.cache else Store()
    async with opened(image) as (source, fetcher):
        with progress(quiet=opening.quiet) as on_event:
            mount = await make_mount(
                source,
                fetcher=fetcher,
                store=store,
                platforms=platforms or opening.platforms(),
                options=options,
                over=over,
                authority=authority,
                on_event=on_event,
            )
        try:
            yield mount
        finally:
            await mount.close()
            await store.close()


def run_async(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a command's coroutine to its end."""
    with asyncio.Runner() as runner:
        return runner.run(coroutine)


def write_all(data: bytes) -> None:
    """Write bytes to standard output."""
    sys.stdout.buffer.write(data)
