"""The decompressed stream of a layer, of which each part is fetched when it is read."""

from __future__ import annotations

import asyncio
import errno
from bisect import bisect_right
from collections.abc import (
    Awaitable,
    Callable,
    Coroutine,
    Hashable,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import aclosing, suppress
from typing import Any

from browsermount.blobs.buffers import Buffer, BufferCache
from browsermount.blobs.remote import RangesIgnored, RemoteBlob
from browsermount.blobs.store import StoredBlob
from browsermount.errors import BrowsermountError, DigestMismatch, InvalidLayer
from browsermount.layers.index import LayerIndex
from browsermount.layers.span import decode, decode_shared, own_digest
from browsermount.streams.traffic import Traffic

GAP = 16 << 10
"""Bytes between two spans that are rather fetched along than asked for separately."""

FIRST_AHEAD, MAX_AHEAD = 256 << 10, 4 << 20
"""Stored bytes that are read ahead of a sequential reader, at first and at most."""

_NEAR = 1 << 20
"""How far from the last read's end a sequential reader may go on, in bytes of the stream."""

STEP = 1 << 20
"""Stored bytes that are fetched in advance with one request."""

_LARGE = 1 << 18
"""Plain bytes whose decompression takes so long that others have their turn."""

_PAUSE_SECONDS = 0.001


class LayerStream:
    """Reads a layer's stream from what is held, and from the network what is not.

    Args:
        key: Names the layer in the cache, where each of its spans has the key ``(key, number)``.
        index: Where the spans of the stream are.
        stored: The bytes that the spans point into, as far as they are held.
        remote: Where the rest comes from; None when all has to be held, since the index points
            into the plain stream.
        cache: Where decompressed spans are kept for a while; shared by all layers.
        traffic: The requests of all layers.
        kept: Spans, by number, that the store had no room for and that cannot be fetched again.
        pieces: Stored bytes that are at hand, by their offset.
        on_held: Is called when more of the layer is held.
    """

    def __init__(
        self,
        key: Hashable,
        index: LayerIndex,
        stored: StoredBlob,
        remote: RemoteBlob | None,
        *,
        cache: BufferCache,
        traffic: Traffic,
        kept: Mapping[int, Buffer] | None = None,
        pieces: Mapping[int, bytes] | None = None,
        on_held: Callable[[], None] = lambda: None,
    ) -> None:
        self.key = key
        self.index = index
        self.stored = stored
        self._spans = index.spans
        self._starts = [span.stream_offset for span in index.spans]
        # The spans in the order of the blob, and each one's place in it.
        self._order = sorted(range(len(self._spans)), key=lambda i: self._spans[i].blob_offset)
        self._place = [0] * len(self._order)
        for place, number in enumerate(self._order):
            self._place[number] = place
        self._remote = remote
        self._cache = cache
        self._traffic = traffic
        self._on_held = on_held
        self._kept: dict[int, Buffer] = dict(kept or {})
        self._pieces = dict(pieces or {})
        self._wanted: set[int] = set()
        self._pending: dict[int, asyncio.Future[Buffer]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._whole: asyncio.Task[None] | None = None
        self._next = 0
        self._ahead = 0

    def read_now(self, offset: int, size: int) -> bytes | None:
        """Return ``size`` bytes from ``offset``, or None when they have to be awaited."""
        numbers = self._numbers(offset, size)
        buffers = []
        for number in numbers:
            buffer = self._buffer(number)
            if buffer is None:
                return None
            buffers.append(buffer)
        return self._assemble(offset, size, numbers, buffers)

    async def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``.

        Raises:
            OSError: With errno EIO: the bytes cannot be had; the cause says why.
        """
        numbers = self._numbers(offset, size)
        buffers = {number: self._buffer(number) for number in numbers}
        missing = [number for number, buffer in buffers.items() if buffer is None]
        if missing:
            self._plan_ahead(offset, size)
            waiting = [self._want(number) for number in missing]
            # Others may wait for the same spans: being cancelled must not cancel them.
            await asyncio.wait(waiting)
            buffers.update(zip(missing, (future.result() for future in waiting), strict=True))
        return self._assemble(offset, size, numbers, list(filter(None, buffers.values())))

    @property
    def complete(self) -> bool:
        """Whether everything is held that can be read."""
        return next(self._missing(), None) is None

    @property
    def held(self) -> int:
        """How many stored bytes are held."""
        return self.stored.ranges.total

    async def prefetch(self, end: int) -> None:
        """Fetch what lies before ``end`` in the blob, with one request."""
        group: list[int] = []
        for number in self._missing():
            if self._spans[number].blob_offset >= end:
                break
            group.append(number)
        # Whoever wants one of them meanwhile waits for it instead of asking again.
        await self._demand({number: self._promise(number) for number in group})

    async def pieces(self, offset: int, size: int) -> dict[int, bytes]:
        """Return the stored bytes that a part of the stream is made from, by their offset.

        They are verified and held; those that have no room are left out.

        Raises:
            OSError: See :meth:`read`.
        """
        await self.read(offset, size)
        spans = (self._spans[number] for number in self._numbers(offset, size))
        return {
            span.blob_offset: self.stored.read(span.blob_offset, span.blob_size)
            for span in spans
            if self.stored.covers(span.blob_offset, span.blob_size)
        }

    async def fill(self) -> bool:
        """Fetch everything that is not held yet, while the guest asks for nothing.

        Returns:
            Whether everything is held now; False when there is no room for it.

        Raises:
            BrowsermountError: It cannot be had.
        """
        place = 0
        while True:
            await self._traffic.idle()
            group = self._group(self._missing(place), STEP)
            if not group:
                return True
            place = self._place[group[0]]
            task = asyncio.ensure_future(self._obtain(group, self._ignore))
            if await self._traffic.in_advance(task) and not self._holds(group[0]):
                return False

    async def settle(self, pause: Callable[[], Awaitable[None]]) -> bool:
        """Write the plain stream, as far as only memory has it, to where it is kept.

        What it is verified by is found out then: the index has it afterwards.

        Args:
            pause: Lets others have their turn.

        Returns:
            Whether all is kept now; False when there is no room for it.
        """
        for number, buffer in list(self._kept.items()):
            await pause()
            span = self._spans[number]
            data = buffer.read(0, span.size)
            if not await self.stored.reserve(span.size):
                return False
            if not self.stored.write(span.blob_offset, data):
                return False
            self._spans[number] = span._replace(digest=own_digest(data))
            del self._kept[number]
        return True

    async def close(self) -> None:
        """Give up all requests."""
        tasks = [*self._tasks, *filter(None, [self._whole])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # What is held

    def _numbers(self, offset: int, size: int) -> range:
        """Return the numbers of the spans that overlap a part of the stream."""
        first = bisect_right(self._starts, offset) - 1
        last = bisect_right(self._starts, offset + size - 1)
        return range(max(first, 0), last)

    def _holds(self, number: int) -> bool:
        span = self._spans[number]
        return number in self._kept or self.stored.covers(span.blob_offset, span.blob_size)

    def _missing(self, place: int = 0) -> Iterator[int]:
        """Iterate over the spans that are not held, in the blob's order from ``place`` on."""
        return (number for number in self._order[place:] if not self._holds(number))

    def _buffer(self, number: int) -> Buffer | None:
        """Return a span's plain bytes if no request is needed for them."""
        key = (self.key, number)
        buffer = self._cache.get(key) or self._kept.get(number)
        if buffer is not None:
            return buffer
        span = self._spans[number]
        piece = self._pieces.get(span.blob_offset, b"")
        if len(piece) >= span.blob_size:
            with suppress(DigestMismatch, InvalidLayer):
                return self._cache.put(key, decode(span, piece[: span.blob_size]))
        if not self.stored.covers(span.blob_offset, span.blob_size):
            return None
        try:
            data = decode(span, self.stored.read(span.blob_offset, span.blob_size))
        except (DigestMismatch, InvalidLayer):
            # The place where it was kept has damaged it: it is fetched once more.
            self.stored.drop(span.blob_offset, span.blob_size)
            return None
        return self._cache.put(key, data)

    def _assemble(self, offset: int, size: int, numbers: range, buffers: Sequence[Buffer]) -> bytes:
        parts = []
        for number, buffer in zip(numbers, buffers, strict=True):
            skip = max(offset - self._starts[number], 0)
            parts.append(buffer.read(skip, offset + size - self._starts[number] - skip))
        # Nearly all reads lie in one span and are not copied again.
        return parts[0] if len(parts) == 1 else b"".join(parts)

    # What is fetched

    def _plan_ahead(self, offset: int, size: int) -> None:
        """Decide how far to read ahead of a reader that has come to ``offset``."""
        if 0 <= offset - self._next + _NEAR <= 2 * _NEAR and self._next:
            self._ahead = min(max(2 * self._ahead, FIRST_AHEAD), MAX_AHEAD)
        else:
            self._ahead = 0
        self._next = offset + size

    def _promise(self, number: int) -> asyncio.Future[Buffer]:
        """Return what will be a span's plain bytes when somebody has fetched them."""
        future = self._pending.get(number)
        if future is None:
            future = self._pending[number] = asyncio.get_running_loop().create_future()
        return future

    def _want(self, number: int) -> asyncio.Future[Buffer]:
        """Have a span fetched, if nobody fetches it already."""
        if number not in self._pending:
            if not self._wanted:
                # What is asked for at the same time can be fetched together.
                asyncio.get_running_loop().call_soon(self._dispatch)
            self._wanted.add(number)
        return self._promise(number)

    def _dispatch(self) -> None:
        """Start requests for all spans that are wanted."""
        wanted = sorted(self._wanted, key=self._place.__getitem__)
        self._wanted.clear()
        while wanted:
            group = self._group(wanted, 1 << 62)
            wanted = wanted[len(group) :]
            if not wanted:
                group += self._following(group[-1])
            self._start(self._demand({number: self._promise(number) for number in group}))

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _group(self, numbers: Iterable[int], limit: int) -> list[int]:
        """Take spans off the front, in the blob's order, that one request can bring."""
        group: list[int] = []
        start = end = 0
        for number in numbers:
            span = self._spans[number]
            if not group:
                start = span.blob_offset
            elif span.blob_offset > end + GAP or end - start >= limit:
                break
            group.append(number)
            end = max(end, span.blob_end)
        return group

    def _following(self, number: int) -> list[int]:
        """Return spans to read ahead, right behind one that is wanted."""
        ahead: list[int] = []
        end = self._spans[number].blob_end
        limit = end + self._ahead
        for following in self._order[self._place[number] + 1 :]:
            span = self._spans[following]
            taken = following in self._pending or self._holds(following)
            if taken or span.blob_offset >= limit or span.blob_offset > end + GAP:
                break
            end = max(end, span.blob_end)
            ahead.append(following)
        return ahead

    async def _demand(self, wanted: Mapping[int, asyncio.Future[Buffer]]) -> None:
        """Fetch spans that are waited for, and tell who waits how it went."""
        error: Exception | None = None
        try:
            async with self._traffic.demand():
                await self._obtain(list(wanted), self._resolve)
        except BrowsermountError as failure:
            self._traffic.failed(failure)
            error = failure
        finally:
            for number, future in wanted.items():
                if self._pending.get(number) is future:
                    del self._pending[number]
                if not future.done():
                    failed = OSError(errno.EIO, "the content cannot be fetched")
                    failed.__cause__ = error
                    future.set_exception(failed)
                    future.exception()  # nobody may be waiting, when it was read ahead

    async def _obtain(self, group: Sequence[int], got: Callable[[int, bytes], None]) -> None:
        """Fetch spans in the blob's order, verify and keep them."""
        if not group:
            return
        if self._remote is None:
            raise InvalidLayer(
                "a layer's decompressed content is damaged where it was kept",
                hint="Clear the cache and open the image once more.",
            )
        if not self._remote.ranged:
            await self._obtain_whole(group, got)
            return
        try:
            await self._pass(group, got)
        except (DigestMismatch, InvalidLayer):
            # A cache or a proxy on the way may have been at fault: once more, for what is left.
            await self._pass([n for n in group if not self._holds(n)], got)
        except RangesIgnored:
            await self._obtain_whole(group, got)

    async def _pass(self, group: Sequence[int], got: Callable[[int, bytes], None]) -> None:
        assert self._remote is not None
        if not group:
            return
        spans = [self._spans[number] for number in group]
        position = spans[0].blob_offset
        end = max(span.blob_end for span in spans)
        data = bytearray()
        done = 0
        busy = 0  # plain bytes since others had their turn
        async with aclosing(self._remote.stream(position, end - position)) as chunks:
            async for chunk in chunks:
                data += chunk
                while done < len(group):
                    # Spans that are made from the same bytes are decompressed together.
                    last = done
                    while (
                        last + 1 < len(group)
                        and spans[last + 1].blob_offset == spans[done].blob_offset
                    ):
                        last += 1
                    start = spans[done].blob_offset - position
                    stop = max(span.blob_end for span in spans[done : last + 1]) - position
                    if stop > len(data):
                        break
                    size = sum(span.size for span in spans[done : last + 1])
                    if busy + size >= _LARGE:
                        # Whoever waits for what came before can go on meanwhile.
                        await asyncio.sleep(_PAUSE_SECONDS)
                        busy = 0
                    busy += size
                    await self.stored.reserve(stop - start)
                    self._take(group[done : last + 1], bytes(data[start:stop]), got)
                    done = last + 1
                if done < len(group):
                    used = min(spans[done].blob_offset - position, len(data))
                    del data[:used]
                    position += used

    def _take(self, numbers: Sequence[int], data: bytes, got: Callable[[int, bytes], None]) -> None:
        """Verify and keep the spans that are made from ``data``."""
        spans = [self._spans[number] for number in numbers]
        plains = decode_shared(spans, data)
        written = self.stored.write(spans[0].blob_offset, data)
        for number, plain in zip(numbers, plains, strict=True):
            if not written and not (self._remote and self._remote.ranged):
                self._kept[number] = self._cache.new_buffer(plain)
            got(number, plain)
        self._on_held()

    def _resolve(self, number: int, plain: bytes) -> None:
        """Give a span to those who wait for it."""
        buffer = self._cache.put((self.key, number), plain)
        future = self._pending.pop(number, None)
        if future is not None and not future.done():
            future.set_result(buffer)

    def _ignore(self, number: int, plain: bytes) -> None:
        """Leave a span that nobody waits for where it is kept."""

    async def _obtain_whole(self, group: Sequence[int], got: Callable[[int, bytes], None]) -> None:
        """Read the whole blob, once for all who need a part of it."""
        if self._whole is None or self._whole.done():
            self._whole = asyncio.ensure_future(
                self._pass(list(self._missing()), self._resolve_if_wanted)
            )
        await asyncio.wait([self._whole])
        self._whole.result()
        for number in group:
            buffer = self._buffer(number)
            if buffer is not None:
                got(number, buffer.read(0, buffer.size))

    def _resolve_if_wanted(self, number: int, plain: bytes) -> None:
        if number in self._pending:
            self._resolve(number, plain)
