"""Opening layers, each in the laziest way that its form and what is held allow."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace

from browsermount import limits
from browsermount.blobs.buffers import Buffer, BufferCache
from browsermount.blobs.remote import RangesIgnored, RemoteBlob
from browsermount.blobs.store import Store, StoredBlob
from browsermount.blobs.verify import Verifier
from browsermount.errors import DigestMismatch, InvalidLayer, SizeMismatch, StorageFull
from browsermount.events import EventSink, LayerProgress, LayerState, Notice
from browsermount.layers.index import LayerIndex, LayerKind, UnusableIndex
from browsermount.layers.indexer import LayerIndexer
from browsermount.layers.lazy import open_index, toc_digest
from browsermount.layers.span import Span
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.image import Source
from browsermount.steps import TURN_SECONDS, in_turns
from browsermount.streams.early import EarlyLayers, NotEarly, read_early
from browsermount.streams.stream import LayerStream
from browsermount.streams.traffic import Traffic

PARALLEL_LAYERS = 3
"""How many layers are fetched whole at once, as by docker."""

KEPT_LIMIT = 512 << 20
"""Bytes of layers that may stay in memory because there is no other place for them."""

_PROGRESS_SECONDS = 0.1
"""Seconds between two events about a layer that comes as a whole: each has the page drawn anew."""

_WRITE_SIZE = 1 << 18
"""Bytes of a layer that are written at once at least: each call of the storage takes its time."""

_INPUT_STEP = 1 << 14
"""Bytes of a layer that are decompressed without a look at the time: they may be a bomb."""

_REPORT_SECONDS = 0.25
"""Seconds between two events about a layer that comes bit by bit."""

_SETTLE_SECONDS = 0.3
"""How long a container that is started has until layers are kept that are in memory alone."""

_READ_STEP = 1 << 20
"""Bytes that are read at once from a blob that is held already."""


@dataclass(slots=True)
class _Kept:
    """Spans that nothing but memory has room for, and their size together."""

    buffers: dict[int, Buffer]
    size: int = 0


class LayerOpener:
    """Opens the layers of one image.

    Args:
        source: Where the blobs are; an attribute, too.
        store: What is held of them.
        cache: Where decompressed spans go.
        traffic: The requests of the image.
        on_event: Is called with progress events.
        allow_unverified: Whether a table of contents is believed that the manifest has no
            digest of.
        early: Has layers that come already.
        known: What :meth:`index` and :meth:`pieces` have given for layers, by key: they are not
            looked at for it.
        sleep: Waits for some seconds; with 0, until others have had their turn.
    """

    def __init__(
        self,
        source: Source,
        store: Store,
        cache: BufferCache,
        traffic: Traffic,
        on_event: EventSink,
        *,
        allow_unverified: bool = False,
        early: EarlyLayers | None = None,
        known: Mapping[str, bytes] | None = None,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.source = source
        self._store = store
        self._cache = cache
        self._traffic = traffic
        self._on_event = on_event
        self._allow_unverified = allow_unverified
        self._early = early
        # The indexes of layers that are in memory alone: the others have lost their members.
        self._unsettled: dict[Digest, LayerIndex] = {}
        self._known = known or {}
        self._indexes: dict[str, LayerIndex] = {}
        self._sleep = sleep
        self._slots = asyncio.Semaphore(PARALLEL_LAYERS)
        self._tables = asyncio.Semaphore(limits.MAX_REQUESTS)
        # Spans in the cache are this opener's own: they are as good as its indexes.
        self._token = object()
        # The numbers of layers that were said to be here as a whole.
        self._whole: set[int] = set()

    async def read_known(self) -> None:
        """Read the indexes that are known, before it is known which layers there are."""
        for key in self._known:
            if _INDEX_KEY.search(key):
                await self._read_known(key)

    async def _read_known(self, key: str) -> LayerIndex | None:
        data = self._known.get(key)
        if data is not None and key not in self._indexes:
            with suppress(UnusableIndex):
                index = await in_turns(LayerIndex.from_bytes_in_steps(data), self._sleep)
                self._indexes[key] = index
        return self._indexes.get(key)

    async def open(self, number: int, descriptor: Descriptor) -> LayerStream:
        """Open a layer.

        Args:
            number: Its place in the image, for the events.
            descriptor: Which blob it is.

        Raises:
            BrowsermountError: It cannot be had, or is not what it should be.
        """
        remote = self._remote(descriptor)
        self._report(number, descriptor, LayerState.WAITING, 0)
        index = await self._known_index(descriptor)
        if index is None:
            async with self._tables:
                index = await self._index_from_toc(number, descriptor, remote)
        if index is not None:
            stream = await self._stream(number, descriptor, remote, index, {})
            # Where the blob cannot be entered in the middle, all of it has to be held.
            if index.stored == "blob" or stream.complete:
                self.report_held(number, descriptor, stream)
                return stream
        async with self._slots:
            index, kept = await self._read_whole(number, descriptor, remote)
        return await self._stream(number, descriptor, remote, index, kept)

    async def settle(self, descriptor: Descriptor, stream: LayerStream) -> None:
        """Keep a layer that is in memory alone, if it is one.

        The container has just been started: what it begins with goes first.
        """
        index = self._unsettled.pop(descriptor.digest, None)
        # For what cannot be kept anyway nothing else is let go.
        if index is None or sum(span.size for span in index.spans) > self._store.limit:
            return
        await self._sleep(_SETTLE_SECONDS)
        if await stream.settle(lambda: self._sleep(0)):
            data = await in_turns(index.to_bytes_in_steps(), self._sleep)
            self._store.save_later(_key(descriptor, "index"), data)
            # Another tab is to find it, too.
            await self._store.commit()

    async def blob(self, descriptor: Descriptor) -> AsyncGenerator[bytes, None]:
        """Iterate over a layer's blob, as it is held or comes; it is not verified.

        Raises:
            BrowsermountError: It cannot be had.
        """
        key = _key(descriptor, "blob")
        if await self._store.covers(key, descriptor.size):
            pieces: AsyncIterator[bytes] = _pieces(await self._store.open(key), descriptor.size)
        else:
            pieces = self._remote(descriptor).stream(0, descriptor.size)
        async for piece in pieces:
            yield piece

    async def index(self, descriptor: Descriptor) -> tuple[str, bytes] | None:
        """Return what is held of where things are in a layer, and its key; None where it is not.

        It is as trustworthy as the store.
        """
        for key in _index_keys(descriptor):
            if (data := await self._store.load(key)) is not None:
                return key, data
        return None

    async def pieces(
        self, descriptor: Descriptor, stream: LayerStream, offset: int, size: int
    ) -> dict[str, bytes]:
        """Return the stored bytes that a part of a layer's stream is made from, by key.

        Raises:
            OSError: They cannot be had.
        """
        if stream.index.stored != "blob":
            return {}
        start = _piece_key(descriptor)
        found = await stream.pieces(offset, size)
        return {f"{start}{offset}": data for offset, data in found.items()}

    def _pieces(self, descriptor: Descriptor) -> dict[int, bytes]:
        start = _piece_key(descriptor)
        found = {}
        for key, data in self._known.items():
            offset = key.removeprefix(start)
            if offset != key and offset.isdecimal():
                found[int(offset)] = data
        return found

    def _remote(self, descriptor: Descriptor) -> RemoteBlob:
        return RemoteBlob(
            self.source,
            descriptor,
            on_trouble=self._traffic.retrying,
            on_bytes=self._traffic.received,
            sleep=self._sleep,
        )

    def report_held(self, number: int, descriptor: Descriptor, stream: LayerStream) -> None:
        """Say how much of an open layer is held."""
        if stream.complete:
            self._whole.add(number)
            self._report(number, descriptor, LayerState.EXISTS, descriptor.size)
        else:
            self._report(number, descriptor, LayerState.LAZY, stream.held)

    def _report(self, number: int, descriptor: Descriptor, state: LayerState, current: int) -> None:
        digest = str(descriptor.digest)
        self._on_event(LayerProgress(number, digest, state, current, descriptor.size))

    async def _stream(
        self,
        number: int,
        descriptor: Descriptor,
        remote: RemoteBlob,
        index: LayerIndex,
        kept: dict[int, Buffer],
    ) -> LayerStream:
        held = await self._store.open(_key(descriptor, index.stored))
        timer: asyncio.TimerHandle | None = None

        def report() -> None:
            nonlocal timer
            timer = None
            if number not in self._whole:
                self._report(number, descriptor, LayerState.LAZY, held.ranges.total)

        def on_held() -> None:
            nonlocal timer
            if timer is None:
                loop = asyncio.get_running_loop()
                timer = loop.call_later(_REPORT_SECONDS, report)

        return LayerStream(
            (self._token, descriptor.digest),
            index,
            held,
            remote if index.stored == "blob" else None,
            cache=self._cache,
            traffic=self._traffic,
            kept=kept,
            pieces=self._pieces(descriptor) if index.stored == "blob" else None,
            on_held=on_held,
        )

    async def _known_index(self, descriptor: Descriptor) -> LayerIndex | None:
        """Return the index that was given, or that an earlier visit has made, if it is held."""
        for key in _index_keys(descriptor):
            if (known := await self._read_known(key)) is not None:
                return known
            if (data := await self._store.load(key)) is None:
                continue
            try:
                return await in_turns(LayerIndex.from_bytes_in_steps(data), self._sleep)
            except UnusableIndex:
                await self._store.remove(key)
        return None

    async def _index_from_toc(
        self, number: int, descriptor: Descriptor, remote: RemoteBlob
    ) -> LayerIndex | None:
        """Return the index that the layer itself brings, or None when it has to be read whole."""
        try:
            index = await open_index(
                descriptor,
                remote.read,
                allow_unverified=self._allow_unverified,
                sleep=self._sleep,
            )
        except RangesIgnored:
            self._say(number, descriptor, "the server takes no notice of ranges")
            return None
        except (InvalidLayer, DigestMismatch) as error:
            self._say(number, descriptor, f"its table of contents is of no use: {error.message}")
            return None
        key = _toc_key(descriptor)
        if index is not None and key is not None:
            # Others are believed only as long as that is allowed.
            data = await in_turns(index.to_bytes_in_steps(), self._sleep)
            self._store.save_later(key, data)
        return index

    def _say(self, number: int, descriptor: Descriptor, why: str, hint: str = "") -> None:
        where = f"layer {number + 1} ({str(descriptor.digest)[:19]})"
        self._on_event(Notice(f"{where} is fetched whole: {why}", hint))

    async def _read_whole(
        self, number: int, descriptor: Descriptor, remote: RemoteBlob
    ) -> tuple[LayerIndex, dict[int, Buffer]]:
        """Read the whole blob once, verify it, and learn where everything is in it."""
        with suppress(NotEarly):
            return await self._read_early(number, descriptor)
        if await self._store.covers(_key(descriptor, "blob"), descriptor.size):
            held = await self._store.open(_key(descriptor, "blob"))
            try:
                return await self._index(number, descriptor, _pieces(held, descriptor.size), None)
            except (DigestMismatch, SizeMismatch, InvalidLayer):
                await self._store.discard(_key(descriptor, "blob"))
        try:
            return await self._index_remote(number, descriptor, remote)
        except DigestMismatch:
            if not remote.resumed:
                raise
            # The blob may have been replaced between two parts of it: once more from its start.
            return await self._index_remote(number, descriptor, remote)

    async def _read_early(
        self, number: int, descriptor: Descriptor
    ) -> tuple[LayerIndex, dict[int, Buffer]]:
        """Read a layer that comes already.

        Raises:
            NotEarly: None does, or it is of no use.
        """
        sha256 = descriptor.digest.algorithm == "sha256"
        layer = await self._early(descriptor.digest.encoded) if self._early and sha256 else None
        if layer is None:
            raise NotEarly
        clock = asyncio.get_running_loop().time
        next_report = clock()

        def on_step(came: int) -> None:
            nonlocal next_report
            if clock() >= next_report:
                current = min(came, descriptor.size)
                self._report(number, descriptor, LayerState.DOWNLOADING, current)
                next_report = clock() + _PROGRESS_SECONDS

        index, buffers = await read_early(layer, descriptor, on_step)
        self._unsettled[descriptor.digest] = replace(index, entries=list(index.entries))
        self._report(number, descriptor, LayerState.READY, descriptor.size)
        return index, buffers

    async def _index_remote(
        self, number: int, descriptor: Descriptor, remote: RemoteBlob
    ) -> tuple[LayerIndex, dict[int, Buffer]]:
        self._report(number, descriptor, LayerState.DOWNLOADING, 0)
        # Both take their time: it is opened while the request is on its way.
        opening = asyncio.ensure_future(self._store.open(_key(descriptor, "blob")))
        try:
            async with aclosing(remote.stream(0, descriptor.size)) as chunks:
                return await self._index(number, descriptor, chunks, opening)
        except BaseException:
            # None of it was verified.
            await asyncio.wait([opening])
            await self._store.discard(_key(descriptor, "blob"))
            await self._store.discard(_key(descriptor, "plain"))
            raise

    async def _index(
        self,
        number: int,
        descriptor: Descriptor,
        chunks: AsyncIterator[bytes],
        opening: asyncio.Future[StoredBlob] | None,
    ) -> tuple[LayerIndex, dict[int, Buffer]]:
        """Index a blob that comes in chunks; keep it in ``opening`` unless it is there already."""
        held: StoredBlob | None = None
        plain: StoredBlob | None = None
        kept = _Kept({})
        taken = 0
        waiting: list[tuple[int, Span, bytes]] = []

        def take(span: Span, data: bytes) -> None:
            nonlocal taken
            if indexer.stored == "plain":
                waiting.append((taken, span, data))
            else:
                self._cache.put((key, taken), data)
            taken += 1

        async def write_plain() -> None:
            """Write what ``take`` could not: few layers need this file, so it is opened late."""
            nonlocal plain
            if not waiting:
                return
            plain = plain or await self._store.open(_key(descriptor, "plain"))
            for span_number, span, data in waiting:
                if await plain.reserve(len(data)) and plain.write(span.blob_offset, data):
                    self._cache.put((key, span_number), data)
                else:
                    self._keep(kept, span_number, data)
            waiting.clear()

        came: list[bytes] = []
        written = 0

        async def write_blob() -> None:
            """Write what has come."""
            nonlocal held, written
            if opening is None:
                return
            held = held or await opening
            data = b"".join(came)
            came.clear()
            # Room is made for what has come, however much is said to come: but not for what
            # cannot be kept anyway.
            if descriptor.size <= self._store.limit and await held.reserve(len(data)):
                held.write(written, data)
            written += len(data)

        key = (self._token, descriptor.digest)
        indexer = LayerIndexer(take)
        verifier = Verifier(descriptor)
        clock = asyncio.get_running_loop().time
        report = clock() + _PROGRESS_SECONDS
        turn = clock() + TURN_SECONDS
        damage: InvalidLayer | None = None
        async for chunk in _in_steps(chunks):
            verifier.feed(chunk)
            if damage is None:
                try:
                    indexer.feed(chunk)
                except InvalidLayer as error:
                    # If it is not even the right blob, that is the better thing to say.
                    damage = error
            if indexer.stored == "plain":
                await write_plain()
            elif opening is not None:
                came.append(chunk)
                if verifier.received - written >= _WRITE_SIZE:
                    await write_blob()
            if clock() >= report:
                self._report(number, descriptor, LayerState.DOWNLOADING, verifier.received)
                report = clock() + _PROGRESS_SECONDS
            if clock() >= turn:
                # Chunks that are there already must not keep everything else waiting, such as
                # a machine that reads its interpreter.
                await self._sleep(0)
                turn = clock() + TURN_SECONDS
        verifier.finish()
        if damage is not None:
            raise damage
        self._report(number, descriptor, LayerState.VERIFYING, descriptor.size)
        index = indexer.close()
        if index.stored == "plain":
            await write_plain()
            if opening is not None:
                await opening
            await self._store.discard(_key(descriptor, "blob"))
        else:
            await write_blob()
        data = await in_turns(index.to_bytes_in_steps(), self._sleep)
        self._store.save_later(_key(descriptor, "index"), data)
        has_toc = index.kind in (LayerKind.ESTARGZ, LayerKind.ZSTD_CHUNKED)
        if has_toc and _toc_key(descriptor) is None:
            why = "the manifest has no digest of its table of contents"
            self._say(
                number, descriptor, why, "It can be read lazily all the same if you allow it."
            )
        self._report(number, descriptor, LayerState.READY, descriptor.size)
        return index, kept.buffers

    def _keep(self, kept: _Kept, number: int, data: bytes) -> None:
        if kept.size + len(data) > KEPT_LIMIT:
            raise StorageFull(
                "there is no room for a layer's decompressed content: it has more than "
                f"{kept.size >> 20} MiB",
                hint="Free some of the storage that the page may use, or build the image with "
                "gzip or eStargz layers, which need not be kept decompressed.",
            )
        kept.buffers[number] = self._cache.new_buffer(data)
        kept.size += len(data)


async def _in_steps(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Cut what would take long to deal with at once."""
    async for chunk in chunks:
        for start in range(0, len(chunk), _INPUT_STEP):
            yield chunk[start : start + _INPUT_STEP]


def _key(descriptor: Descriptor, what: str) -> str:
    """Name an object of the store: a blob, its plain stream, or its index."""
    return f"{descriptor.digest.algorithm}-{descriptor.digest.encoded}.{what}"


def _piece_key(descriptor: Descriptor) -> str:
    """Return what a key of a part of a blob begins with; its offset follows."""
    return _key(descriptor, "blob@")


_INDEX_KEY = re.compile(r"\.(index|toc-[0-9a-f]+)$")


def _index_keys(descriptor: Descriptor) -> list[str]:
    """Return the names that a layer's index may have, the best first."""
    keys = (_toc_key(descriptor), _key(descriptor, "index"))
    return [key for key in keys if key is not None]


def _toc_key(descriptor: Descriptor) -> str | None:
    """Name the index from a layer's own table, as far as this manifest vouches for it.

    Another manifest may name the same layer with a table of its own making.
    """
    try:
        digest = toc_digest(descriptor)
    except InvalidLayer:
        return None
    if digest is None:
        return None
    return _key(descriptor, f"toc-{hashlib.sha256(digest.encode()).hexdigest()[:32]}")


async def _pieces(held: StoredBlob, size: int) -> AsyncIterator[bytes]:
    """Iterate over a blob that is held."""
    for offset in range(0, size, _READ_STEP):
        yield held.read(offset, min(_READ_STEP, size - offset))
