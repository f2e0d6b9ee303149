"""Images on this machine: layout directories and archives, as sources like any other."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from browsermount.errors import ImageNotFound
from browsermount.local.archive import ArchiveFetcher
from browsermount.local.files import FileFetcher
from browsermount.local.folder import FolderFetcher, is_folder
from browsermount.oci.layout import LayoutSource
from browsermount.reference import LayoutReference


@contextmanager
def open_local(path: Path, name: str | None = None) -> Iterator[LayoutSource]:
    """Open an image that is a file or directory, for as long as the context lasts.

    Args:
        path: The directory of an OCI image layout, an OCI archive, what ``docker save`` wrote, or
            the folder that skopeo writes to ``dir:``.
        name: Which of several images is meant.

    Raises:
        ImageNotFound: There is no such thing.
        InvalidImage: An archive is damaged.
        NetworkError: An archive cannot be read.
    """
    reference = LayoutReference(url=path.absolute().as_uri() + "/", name=name)
    title = str(path)
    if not path.is_absolute() and not title.startswith("."):
        title = f"./{title}"  # what it takes to be told from an image of a registry
    if path.is_dir() and not (path / "index.json").is_file() and is_folder(path):
        yield LayoutSource(FolderFetcher(path), reference, title)
    elif path.is_dir():
        yield LayoutSource(FileFetcher(), reference, title)
    elif path.exists():
        fetcher = ArchiveFetcher(path)
        try:
            yield LayoutSource(fetcher, reference, title)
        finally:
            fetcher.close()
    else:
        raise ImageNotFound(
            f"there is no file or directory {path}",
            hint="Give a layout directory, an archive, a URL or a registry's name of an image.",
        )
