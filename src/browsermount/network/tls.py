"""TLS with the container's programs: the server's end, by the engine of the folder ``tls``.

The engine is a WebAssembly module, which the page and the tests instantiate each in their own
way: see :class:`Module`.  It makes the certificates, too.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Protocol

from browsermount.network.stream import Stream

HANDSHAKE = b"\x16"
"""How a connection begins that is one of TLS: the type of its first record."""

_ESTABLISHED = 1
_ENDED = 2
_FAILED = 4
_DISTRUSTED = 8

_PIECE = 64 << 10
"""Bytes that are encrypted or decrypted at once: less than the engine's buffer has."""


class Module(Protocol):
    """An instance of ``tls.wasm``, whose import ``host.random`` fills memory with random bytes."""

    def call(self, name: str, *arguments: float) -> int:
        """Call an export; 0 where it gives nothing."""
        ...

    def read(self, address: int, size: int) -> bytes:
        """Return bytes of its memory."""
        ...

    def write(self, address: int, data: bytes | memoryview) -> None:
        """Write into its memory."""
        ...


class TlsError(Exception):
    """A connection cannot go on.

    Attributes:
        distrusted: Whether that is so as the client does not trust our certificate.
    """

    def __init__(self, reason: str, *, distrusted: bool = False) -> None:
        super().__init__(reason)
        self.distrusted = distrusted


class Engine:
    """An authority, and the connections with certificates of it.

    Args:
        module: A new instance of the engine.
        now: Gives the time in seconds since 1970.
        saved: What :meth:`save` has given, to be that authority again; by default it is a new one.

    Raises:
        ValueError: What was saved is no authority.
    """

    def __init__(
        self, module: Module, now: Callable[[], float] = time.time, saved: bytes = b""
    ) -> None:
        self._module = module
        self._now = now
        self._buffer = module.call("buffer")
        if not saved:
            module.call("create_authority", float(int(now())))
        elif not module.call("restore_authority", self._put(saved)):
            raise ValueError("what was saved is no certificate authority")

    @property
    def certificate(self) -> bytes:
        """The authority's certificate, in DER."""
        return self._get(self._module.call("certificate"))

    def save(self) -> bytes:
        """Return all that makes the authority, its secret key included."""
        return self._get(self._module.call("save_authority"))

    def open(self, host: str) -> Session:
        """Begin with a connection.

        Args:
            host: Whom the client believes to talk to; it gets a certificate for this where it
                does not say itself for which name.

        Raises:
            TlsError: There can be no certificate for this host.
        """
        number = self._module.call("open", self._put(host.encode()), float(int(self._now())))
        if number < 0:
            raise TlsError(f"there is no certificate for {host!r}")
        return Session(self, number)

    def call(self, name: str, *arguments: float) -> int:
        """Call an export of the module."""
        return self._module.call(name, *arguments)

    def give(self, name: str, number: int, data: bytes | memoryview) -> int:
        """Call an export that takes a connection and data."""
        return self._module.call(name, number, self._put(data))

    def take(self, name: str, number: int) -> bytes:
        """Call an export that gives data of a connection."""
        return self._get(self._module.call(name, number))

    def _put(self, data: bytes | memoryview) -> int:
        self._module.write(self._buffer, data)
        return len(data)

    def _get(self, size: int) -> bytes:
        return self._module.read(self._buffer, size) if size else b""


class Session:
    """The server's end of one connection, without I/O.

    Attributes:
        established: Whether data can be sent.
        ended: Whether the client has said that it sends no more.
        failed: Whether the connection is over, as something is wrong.
    """

    def __init__(self, engine: Engine, number: int) -> None:
        self._engine = engine
        self._number = number
        self._closed = False
        self.established = False
        self.ended = False
        self.failed = False
        self._distrusted = False

    def receive(self, data: bytes | memoryview) -> bytes:
        """Take what the client has sent, at most 64 KiB, and return what it says thereby."""
        progress = self._engine.give("receive", self._number, data)
        self.established = bool(progress & _ESTABLISHED)
        self.ended = bool(progress & _ENDED)
        self.failed = bool(progress & _FAILED)
        self._distrusted = bool(progress & _DISTRUSTED)
        return self._engine.take("take_plain", self._number)

    def send(self, data: bytes | memoryview) -> None:
        """Encrypt data, at most 64 KiB, once the connection is established."""
        self._engine.give("send", self._number, data)

    def finish(self) -> None:
        """Say that nothing more will be sent."""
        self._engine.call("finish", self._number)

    def encrypted(self) -> bytes:
        """Return what the client is to be sent next; nothing where that is all."""
        return self._engine.take("take_encrypted", self._number)

    @property
    def error(self) -> TlsError:
        """What is wrong where it has failed."""
        text = self._engine.take("failure", self._number).decode()
        return TlsError(text, distrusted=self._distrusted)

    def close(self) -> None:
        """Forget the connection."""
        if not self._closed:
            self._closed = True
            self._engine.call("close", self._number)


class TlsStream:
    """What :class:`Stream` is, with TLS between it and its user.

    Args:
        stream: The connection.
        session: The server's end.
        begun: What was read of the connection already.
    """

    def __init__(self, stream: Stream, session: Session, begun: bytes) -> None:
        self._stream = stream
        self._session = session
        self._begun = begun
        self._plain = b""
        self._sending = asyncio.Lock()

    async def handshake(self) -> None:
        """Wait until the connection is established.

        Raises:
            TlsError: It is not.
            ConnectionResetError: The client has gone.
        """
        while not self._session.established:
            if not await self._receive():
                raise ConnectionResetError("the client has gone in the middle of the handshake")

    async def read(self, limit: int = _PIECE) -> bytes:
        """Return what the client has said, at most ``limit`` bytes; nothing at the end.

        Raises:
            TlsError: What it has sent is not TLS, or was changed on the way.
            ConnectionResetError: The client has broken the connection off.
        """
        while not self._plain:
            if self._session.ended or not await self._receive():
                return b""
        data, self._plain = self._plain[:limit], self._plain[limit:]
        return data

    async def write(self, data: bytes) -> None:
        """Write all of some bytes.

        Raises:
            ConnectionResetError: The connection is gone.
        """
        view = memoryview(data)
        for at in range(0, len(data), _PIECE):
            self._session.send(view[at : at + _PIECE])
            await self._flush()

    async def finish(self) -> None:
        """Say that nothing more will be written, and wait until the client has all.

        Raises:
            ConnectionResetError: The connection is gone.
        """
        self._session.finish()
        await self._flush()
        await self._stream.drained()

    async def _receive(self) -> bool:
        """Take what comes next; False at the end."""
        data, self._begun = self._begun or await self._stream.read(_PIECE), b""
        view = memoryview(data)
        for at in range(0, len(data), _PIECE):
            self._plain += self._session.receive(view[at : at + _PIECE])
        # Who is writing writes what is to be sent now, too.
        if not self._sending.locked():
            await self._flush()
        if self._session.failed:
            raise self._session.error
        return bool(data)

    async def _flush(self) -> None:
        async with self._sending:
            while data := self._session.encrypted():
                await self._stream.write(data)
