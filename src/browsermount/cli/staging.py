"""Where files of a layout are written before they are a part of it.

Whoever prepared the directory must not choose which file of the user is written to: everything is
written into a new file, in a new directory whose name nobody can know before, and renamed into its
place when it is complete. Nothing that was there before is ever opened for writing.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

from browsermount.errors import BrowsermountError, InvalidImage

LOCK_SECONDS = 60.0
"""How long another process may take that writes the same layout's index: it takes moments."""

_LOCK_STEP = 0.05
_PREFIX = ".browsermount-"
_OURS = re.compile(re.escape(_PREFIX) + "[0-9a-f]{32}")
_PARTIAL = ".partial"
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class LayoutBusy(BrowsermountError):
    """Another process writes the same layout, and does not come to an end."""

    code = "busy"


class Staging:
    """The directory of one run within a layout; as a context, it is gone at the end.

    What a run has begun and not completed is then in ``.partial``, from where the next run reads it
    (:meth:`begun`), and so is what was left by a run that could not clean up, being killed.

    Args:
        layout: The layout's directory, which is there.

    Raises:
        OSError: It cannot be written to.
    """

    def __init__(self, layout: Path) -> None:
        self._layout = layout
        self._begun: set[str] = set()
        self._path, self._lock = self._make()
        self._take_over()

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Put what was begun aside, and remove the directory."""
        if self._lock < 0:
            return
        try:
            for name in self._begun:
                self._put_aside(self._path / name)
            shutil.rmtree(self._path, ignore_errors=True)
            with contextlib.suppress(OSError):
                (self._layout / _PARTIAL).rmdir()
        finally:
            os.close(self._lock)
            self._lock = -1

    def create(self, name: str, *, begun: bool = False) -> BinaryIO:
        """Make a file of the directory, for writing; one of that name is replaced.

        Args:
            name: What it is called in the directory.
            begun: Whether it is of use to the next run if this one does not complete it.
        """
        path = self._path / name
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        file = os.fdopen(os.open(path, flags, 0o666), "wb")
        if begun:
            self._begun.add(name)
        return file

    def path(self, name: str) -> Path:
        """Return where a file of the directory is."""
        return self._path / name

    def place(self, name: str, target: Path) -> None:
        """Move a complete file to where it belongs, in the place of what is there."""
        (self._path / name).replace(target)
        self._begun.discard(name)
        if self._is_directory(_PARTIAL):
            with contextlib.suppress(OSError):
                (self._layout / _PARTIAL / name).unlink()

    def discard(self, name: str) -> None:
        """Remove a file that is of no use, and what an earlier run had of it."""
        self._begun.discard(name)
        (self._path / name).unlink(missing_ok=True)
        if self._is_directory(_PARTIAL):
            with contextlib.suppress(OSError):
                (self._layout / _PARTIAL / name).unlink()

    def begun(self, name: str) -> BinaryIO | None:
        """Open what there is of a file already, for reading: by this run, or by an earlier one."""
        if (file := _open_regular(self._path / name)) is not None:
            return file
        return (
            _open_regular(self._layout / _PARTIAL / name) if self._is_directory(_PARTIAL) else None
        )

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Keep other runs from writing the layout's index meanwhile.

        Raises:
            LayoutBusy: Another one does not come to an end.
        """
        descriptor = os.open(self._layout, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            end = time.monotonic() + LOCK_SECONDS
            while not _locked(descriptor):
                if time.monotonic() >= end:
                    raise LayoutBusy(
                        f"another process has been writing {self._layout} for {LOCK_SECONDS:.0f} "
                        "seconds",
                        hint="Wait for it or end it, and start this once more: what has come is "
                        "kept.",
                    )
                time.sleep(_LOCK_STEP)
            yield
        finally:
            os.close(descriptor)

    def _make(self) -> tuple[Path, int]:
        """Make the directory, and lock it for as long as this process has it."""
        while True:
            path = self._layout / (_PREFIX + secrets.token_hex(16))
            path.mkdir(0o700)
            # Another run may take it for one that was left, until it is locked.
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, _DIRECTORY)
                if _locked(descriptor) and _is_same(descriptor, path):
                    return path, descriptor
                os.close(descriptor)

    def _take_over(self) -> None:
        """Put aside what runs have begun that were killed, and remove their directories."""
        for name in os.listdir(self._layout):
            path = self._layout / name
            if not _OURS.fullmatch(name) or path == self._path:
                continue
            with contextlib.suppress(OSError):
                descriptor = os.open(path, _DIRECTORY)
                try:
                    if not _locked(descriptor):
                        continue
                    for left in os.listdir(path):
                        self._put_aside(path / left)
                    shutil.rmtree(path, ignore_errors=True)
                finally:
                    os.close(descriptor)

    def _put_aside(self, path: Path) -> None:
        # What cannot be put aside is fetched again.
        with contextlib.suppress(OSError):
            status = path.lstat()
            if not stat.S_ISREG(status.st_mode) or not status.st_size:
                return
            (self._layout / _PARTIAL).mkdir(exist_ok=True)
            if not self._is_directory(_PARTIAL):
                return
            aside = self._layout / _PARTIAL / path.name
            with contextlib.suppress(FileNotFoundError):
                before = aside.lstat()
                if stat.S_ISREG(before.st_mode) and before.st_size > status.st_size:
                    return  # killed while it copied that
            path.replace(aside)

    def _is_directory(self, name: str) -> bool:
        """Tell whether a directory of the layout is there, and is no link to elsewhere."""
        try:
            return stat.S_ISDIR((self._layout / name).lstat().st_mode)
        except OSError:
            return False


def new_folder(layout: Path, *names: str) -> Path:
    """Make a directory of a layout where it is missing: one itself, and no link out of it.

    Raises:
        InvalidImage: It is a link.
        OSError: It cannot be made.
    """
    folder = layout.joinpath(*names)
    if folder.is_symlink():
        raise InvalidImage(
            f"{folder} is a symbolic link, and nothing is written through those",
            hint="Remove it, or give another directory.",
        )
    folder.mkdir(exist_ok=True)
    return folder


def _open_regular(path: Path) -> BinaryIO | None:
    """Open a file for reading: a link is none, and a pipe would never end."""
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        file = os.fdopen(os.open(path, flags), "rb")
    except OSError:
        return None
    if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        return file
    file.close()
    return None


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        if error.errno in (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOSYS):
            return True  # a file system without locks: then nobody is kept out
        raise
    return True


def _is_same(descriptor: int, path: Path) -> bool:
    ours, there = os.fstat(descriptor), path.lstat()
    return (ours.st_dev, ours.st_ino) == (there.st_dev, there.st_ino)
