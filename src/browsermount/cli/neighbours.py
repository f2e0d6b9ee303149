"""Containers of this user's in one network: each is found by a socket in a directory of the user's.

A name is a lock on a file, which the kernel lets go however a process ends, and a socket beside it
at which the others connect. What two of them say to each other then are messages of
:mod:`browsermount.network.trunk`, each with its length in front; the first one says who asks. The
directory can be opened by the user alone, so that whoever is heard there is one of the user's.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import hashlib
import os
import secrets
import stat
import tempfile
from collections.abc import Callable, Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

from browsermount.errors import BrowsermountError
from browsermount.limits import MAX_CONNECTIONS
from browsermount.network.neighbours import is_name
from browsermount.network.trunk import MAX_DATA, WINDOW
from browsermount.network.udp import MAX_DATA as MAX_DATAGRAM

_LENGTH_SIZE = 4
_MAX_MESSAGE = max(MAX_DATA, MAX_DATAGRAM) + 64
"""Bytes: the largest content, and more than any head."""
_MAX_WAITING = MAX_CONNECTIONS * WINDOW
"""Bytes that one who does not read may have waiting: as much as the other side grants."""
_GREETING = b"browsermount trunk 1 "
"""What the first message begins with; the number is the protocol's version."""
_GREETING_SECONDS = 10.0
_CLAIM_SECONDS = 1.0
"""A container that has just ended may still have its name for a moment."""
_CLAIM_PAUSE = 0.05


class NetworkUnavailable(BrowsermountError):
    """A network of containers cannot be joined."""

    code = "network"


class Link:
    """A wire to a neighbour: see :class:`browsermount.network.neighbours.Wire`.

    Args:
        writer: The stream to it.
    """

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    def send(self, message: bytes) -> None:
        """Send a message, or drop it where the neighbour is gone."""
        if self._writer.is_closing():
            return
        if self._writer.transport.get_write_buffer_size() > _MAX_WAITING:
            # It answers what it does not read.
            self._writer.transport.abort()
            return
        self._writer.write(len(message).to_bytes(_LENGTH_SIZE, "big") + message)

    def close(self) -> None:
        """End it, for the neighbour, too."""
        self._writer.close()


Meet = Callable[[str, Link], tuple[Callable[[bytes], None], Callable[[], None]]]
"""Takes a neighbour: see :meth:`browsermount.network.neighbours.Neighbours.meet`."""


class LocalNeighbourhood:
    """A container's place in a network of this user's.

    Args:
        network: The network's name.
        name: The container's.
        directory: Where all networks are; by default the user's.

    Raises:
        NetworkUnavailable: There is no such directory.
    """

    def __init__(self, network: str, name: str, directory: Path | None = None) -> None:
        self.network = network
        self.name = name
        self._directory = directory or runtime_directory()
        self._claim: int | None = None
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._writers: set[asyncio.StreamWriter] = set()

    async def join(self, meet: Meet) -> None:
        """Join the network.

        Args:
            meet: Takes the neighbours that look for this one.

        Raises:
            NetworkUnavailable: The name is taken, or the directory cannot be used.
        """
        try:
            await self._take_name()
            # One with this name may have died, and have left it.
            self._socket.unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(
                lambda reader, writer: self._answer(reader, writer, meet),
                self._socket,
                limit=2 * _MAX_MESSAGE,
            )
        except OSError as error:
            self.leave()
            raise NetworkUnavailable(
                f"the network {self.network} cannot be joined: {error.strerror or error}"
            ) from None
        except BaseException:
            self.leave()
            raise

    def leave(self) -> None:
        """Leave the network: for the others, this container is gone."""
        if self._server is not None:
            self._server.close()
            self._server = None
            self._socket.unlink(missing_ok=True)
        for task in self._tasks:
            task.cancel()
        for writer in self._writers:
            writer.close()
        if self._claim is not None:
            claim, self._claim = self._claim, None
            # While it is ours, nobody else can have taken it under the same name.
            self._lock.unlink(missing_ok=True)
            os.close(claim)

    async def find(self, name: str) -> bool:
        """Tell whether there is one of this name now."""
        try:
            _, writer = await asyncio.open_unix_connection(self._path(name, "socket"))
        except OSError:
            return False
        writer.close()
        return True

    async def dial(
        self, name: str, receive: Callable[[bytes], None], lost: Callable[[], None]
    ) -> Link:
        """Return a wire to one; see :class:`browsermount.network.neighbours.Neighbourhood`."""
        try:
            reader, writer = await asyncio.open_unix_connection(
                self._path(name, "socket"), limit=2 * _MAX_MESSAGE
            )
        except OSError as error:
            raise ConnectionRefusedError(f"{name} is not in the network") from error
        link = Link(writer)
        link.send(_GREETING + self.name.encode())
        self._follow(self._hear(reader, writer, receive, lost))
        return link

    # -- Names -------------------------------------------------------------------------------

    def _path(self, name: str, kind: str) -> Path:
        # A socket's path has room for 100 characters, of which both names may take more.
        digest = hashlib.sha256(f"{self.network}/{name}".encode()).hexdigest()
        return self._directory / f"{digest[:16]}.{kind}"

    @property
    def _lock(self) -> Path:
        return self._path(self.name, "lock")

    @property
    def _socket(self) -> Path:
        return self._path(self.name, "socket")

    async def _take_name(self) -> None:
        end = asyncio.get_running_loop().time() + _CLAIM_SECONDS
        while (claim := _claim(self._lock)) is None:
            if asyncio.get_running_loop().time() > end:
                raise NetworkUnavailable(
                    f"there is a container called {self.name} in the network {self.network}",
                    hint="Give this one another name with --hostname, or end the other one.",
                )
            await asyncio.sleep(_CLAIM_PAUSE)
        self._claim = claim

    # -- Messages ----------------------------------------------------------------------------

    def _follow(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, meet: Meet
    ) -> None:
        """Take one that has looked for us."""
        self._writers.add(writer)
        try:
            async with asyncio.timeout(_GREETING_SECONDS):
                greeting = await _read_message(reader)
            name = greeting.removeprefix(_GREETING).decode(errors="replace")
            if not greeting.startswith(_GREETING) or not is_name(name):
                return  # of another version
            await self._hear(reader, writer, *meet(name, Link(writer)))
        except (OSError, EOFError, TimeoutError):
            pass  # it has only looked whether we are here
        finally:
            self._writers.discard(writer)
            writer.close()

    async def _hear(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        receive: Callable[[bytes], None],
        lost: Callable[[], None],
    ) -> None:
        """Hand on what comes, until the neighbour is gone."""
        self._writers.add(writer)
        try:
            while not writer.is_closing():
                receive(await _read_message(reader))
        except (OSError, EOFError):
            pass
        finally:
            self._writers.discard(writer)
            writer.close()
            lost()


async def _read_message(reader: asyncio.StreamReader) -> bytes:
    """Return the next message.

    Raises:
        EOFError: There is none, or one that is longer than any.
    """
    size = int.from_bytes(await reader.readexactly(_LENGTH_SIZE), "big")
    if size > _MAX_MESSAGE:
        raise EOFError
    return await reader.readexactly(size)


def _claim(path: Path) -> int | None:
    """Lock a file until its descriptor is closed; None where another process has done so."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Who had it may just have removed it.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(path)):
                return descriptor
    except BlockingIOError:
        pass
    os.close(descriptor)
    return None


def runtime_directory() -> Path:
    """Return the user's directory of networks: below ``XDG_RUNTIME_DIR``, else of temporary files.

    Raises:
        NetworkUnavailable: It cannot be made, or is somebody else's.
    """
    configured = Path(os.environ.get("XDG_RUNTIME_DIR", ""))
    if configured.is_absolute() and configured.is_dir():
        directory = configured / "browsermount"
    else:
        directory = Path(tempfile.gettempdir()) / f"browsermount-{os.getuid()}"
    try:
        with suppress(FileExistsError):
            directory.mkdir(mode=0o700)
        found = directory.lstat()
        if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid():
            raise OSError(errno.EPERM, "it is somebody else's")
        if stat.S_IMODE(found.st_mode) != 0o700:
            raise OSError(errno.EPERM, "others may open it")
    except OSError as error:
        raise NetworkUnavailable(
            f"there is no directory for networks: {directory}: {error.strerror}",
            hint="Remove it, or let XDG_RUNTIME_DIR name a directory of your own.",
        ) from None
    return directory


def random_name() -> str:
    """Return a name for a container that has none."""
    return f"c{secrets.token_hex(6)}"
