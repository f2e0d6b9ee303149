"""Layers' streams, read lazily from servers of every kind."""

import asyncio
import errno
import gzip
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from browsermount.blobs.buffers import BufferCache
from browsermount.blobs.files import File, MemoryFile, MemoryFiles
from browsermount.blobs.remote import RemoteBlob
from browsermount.blobs.store import Store
from browsermount.errors import BrowsermountError, InvalidLayer, NetworkError
from browsermount.layers.index import LayerIndex, LayerKind
from browsermount.layers.span import Codec, Span, own_digest
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from browsermount.oci.layout import LayoutSource
from browsermount.reference import LayoutReference
from browsermount.streams.stream import FIRST_AHEAD, LayerStream
from browsermount.streams.traffic import IDLE_SECONDS, Traffic

from .images import BASE, FakeFetcher, FakeResponse, Hook
from .loop import run

SPAN = 64 << 10
COUNT = 40
PLAIN = random.Random(5).randbytes(SPAN * COUNT)


def spans_of(parts: list[bytes]) -> tuple[bytes, list[Span]]:
    """Make a blob of gzip members, and the spans of it."""
    blob, spans, offset = b"", [], 0
    for part in parts:
        member = gzip.compress(part, 1)
        span = Span(
            offset, len(part), len(blob), len(member), Codec.GZIP, own_digest(part), "plain"
        )
        spans.append(span)
        blob += member
        offset += len(part)
    return blob, spans


BLOB, SPANS = spans_of([PLAIN[i * SPAN : (i + 1) * SPAN] for i in range(COUNT)])
DESCRIPTOR = Descriptor("", Digest.of(BLOB), len(BLOB))


@dataclass
class Setup:
    """A stream and all around it."""

    hook: Hook | None = None
    blob: bytes = BLOB
    spans: list[Span] = field(default_factory=lambda: SPANS)
    store: Store = field(default_factory=Store)
    cache: BufferCache = field(default_factory=lambda: BufferCache(1 << 30))
    troubles: list[tuple[BrowsermountError, bool]] = field(default_factory=list)
    recoveries: int = 0

    def __post_init__(self) -> None:
        path = f"blobs/sha256/{DESCRIPTOR.digest.encoded}"
        self.fetcher = FakeFetcher({path: self.blob}, hook=self.hook)

    async def open(self, **options: Any) -> LayerStream:
        def recovered() -> None:
            self.recoveries += 1

        async def sleep(seconds: float) -> None:
            await asyncio.sleep(0)

        self.traffic = Traffic(lambda *trouble: self.troubles.append(trouble), recovered)
        remote = RemoteBlob(
            LayoutSource(self.fetcher, LayoutReference(BASE)),
            DESCRIPTOR,
            on_trouble=self.traffic.retrying,
            on_bytes=self.traffic.received,
            sleep=sleep,
        )
        held = await self.store.open("it.blob")
        index = LayerIndex(LayerKind.ESTARGZ, [], self.spans)
        return LayerStream(
            "it", index, held, remote, cache=self.cache, traffic=self.traffic, **options
        )

    @property
    def ranges(self) -> list[tuple[int, int] | None]:
        return self.fetcher.ranges


def with_stream(use: Callable[[LayerStream, Setup], Any], setup: Setup | None = None) -> Setup:
    setup = setup or Setup()

    async def work() -> None:
        stream = await setup.open()
        await use(stream, setup)
        await stream.close()

    run(work())
    assert all(response.closed for response in setup.fetcher.responses)
    return setup


def range_of(first: int, last: int) -> tuple[int, int]:
    """Return the range of the blob that these spans are made from, both ends included."""
    return SPANS[first].blob_offset, SPANS[last].blob_end - 1


def test_a_read_fetches_what_it_needs_and_only_once() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        start = 5 * SPAN - 100
        assert stream.read_now(start, 200) is None
        assert await stream.read(start, 200) == PLAIN[start : start + 200]
        assert setup.ranges == [range_of(4, 5)]
        assert stream.read_now(start, 200) == PLAIN[start : start + 200]
        assert stream.read_now(6 * SPAN - 1, 1) == PLAIN[6 * SPAN - 1 : 6 * SPAN]
        assert stream.read_now(6 * SPAN - 1, 2) is None
        assert len(setup.ranges) == 1

    with_stream(use)


def test_any_part_is_what_it_should_be() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        chance = random.Random(1)
        for _ in range(100):
            start = chance.randrange(len(PLAIN))
            size = chance.choice([1, 100, SPAN, 3 * SPAN])
            expected = PLAIN[start : start + size]
            assert await stream.read(start, len(expected)) == expected

    with_stream(use)
    # The smallest cache, and no room in the store: each read fetches anew.
    with_stream(use, Setup(cache=BufferCache(1), store=Store(limit=0)))


def test_readers_of_one_part_share_a_request() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        results = await asyncio.gather(*(stream.read(100, 10) for _ in range(20)))
        assert results == [PLAIN[100:110]] * 20
        assert len(setup.ranges) == 1

    with_stream(use)


def test_neighbours_are_fetched_together() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        await asyncio.gather(*(stream.read(i * SPAN, 10) for i in (3, 1, 2, 9)))
        first, second = setup.ranges
        assert first == range_of(1, 3)
        assert second is not None
        assert second[0] == range_of(9, 9)[0]

    with_stream(use)


def test_a_sequential_reader_is_read_ahead_of() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        for start in range(0, len(PLAIN), SPAN // 2):
            assert await stream.read(start, SPAN // 2) == PLAIN[start : start + SPAN // 2]
        assert len(setup.ranges) < COUNT / 4

    with_stream(use)


def test_a_random_reader_is_not() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        for number in (35, 0, 20):
            await stream.read(number * SPAN, 10)
        assert setup.ranges == [range_of(n, n) for n in (35, 0, 20)]
        assert FIRST_AHEAD > SPAN

    with_stream(use)


def test_a_reader_that_gives_up_does_not_disturb_others() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        first = asyncio.ensure_future(stream.read(0, 10))
        second = asyncio.ensure_future(stream.read(5, 10))
        await asyncio.sleep(0)
        first.cancel()
        assert await second == PLAIN[5:15]
        assert first.cancelled()
        assert len(setup.ranges) == 1

    with_stream(use)


def test_damage_on_the_way_is_fetched_once_more() -> None:
    damaged = bytearray(BLOB)
    damaged[SPANS[3].blob_offset + 50] ^= 1
    answers = [bytes(damaged)]

    def hook(url: str, span: tuple[int, int] | None, body: bytes) -> FakeResponse | None:
        if span is None or not answers:
            return None
        return FakeResponse(url, 206, answers.pop()[span[0] : span[1] + 1])

    async def use(stream: LayerStream, setup: Setup) -> None:
        assert await stream.read(2 * SPAN, 3 * SPAN) == PLAIN[2 * SPAN : 5 * SPAN]
        # What came before the damage was right and is not fetched again.
        assert setup.ranges == [range_of(2, 4), range_of(3, 4)]

    with_stream(use, Setup(hook))


def test_damage_at_the_source_is_an_error_each_time() -> None:
    damaged = bytearray(BLOB)
    damaged[SPANS[3].blob_offset + 50] ^= 1

    async def use(stream: LayerStream, setup: Setup) -> None:
        for _ in range(2):
            with pytest.raises(OSError, match="cannot be fetched") as caught:
                await stream.read(3 * SPAN, 1)
            assert caught.value.errno == errno.EIO
        assert await stream.read(4 * SPAN, 1) == PLAIN[4 * SPAN : 4 * SPAN + 1]
        assert [lost for _, lost in setup.troubles] == [True, True]
        assert not stream.stored.covers(SPANS[3].blob_offset, SPANS[3].blob_size)

    with_stream(use, Setup(blob=bytes(damaged)))


def test_damage_where_it_was_kept_is_fetched_anew() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        span = SPANS[3]
        stream.stored.write(span.blob_offset, bytes(span.blob_size))
        assert stream.read_now(3 * SPAN, 1) is None
        assert await stream.read(3 * SPAN, 9) == PLAIN[3 * SPAN : 3 * SPAN + 9]

    # Files that, unlike those in memory, are overwritten.
    class Overwritten(MemoryFile):
        def __init__(self) -> None:
            super().__init__()
            self.data = bytearray(len(BLOB))

        def write(self, offset: int, data: bytes) -> None:
            self.data[offset : offset + len(data)] = data

        def read(self, offset: int, size: int) -> bytes:
            return bytes(self.data[offset : offset + size])

    class Files(MemoryFiles):
        async def open(self, name: str) -> File:
            return Overwritten()

    with_stream(use, Setup(store=Store(Files())))


def test_the_network_fails_and_comes_back() -> None:
    down = True

    def hook(url: str, span: tuple[int, int] | None, body: bytes) -> FakeResponse | None:
        if down:
            raise NetworkError("no network", hint="wait")
        return None

    async def use(stream: LayerStream, setup: Setup) -> None:
        nonlocal down
        with pytest.raises(OSError, match="cannot be fetched") as caught:
            await stream.read(0, 10)
        assert isinstance(caught.value.__cause__, NetworkError)
        assert [lost for _, lost in setup.troubles][-2:] == [False, True]
        assert setup.recoveries == 0
        down = False
        assert await stream.read(0, 10) == PLAIN[:10]
        assert setup.recoveries == 1

    with_stream(use, Setup(hook))


@pytest.mark.parametrize("room", [1 << 30, 0])
def test_a_server_that_ignores_ranges_is_asked_for_the_whole_once(room: int) -> None:
    def hook(url: str, span: tuple[int, int] | None, body: bytes) -> FakeResponse | None:
        return FakeResponse(url, 200, body)

    async def use(stream: LayerStream, setup: Setup) -> None:
        starts = [30 * SPAN, 2 * SPAN, 35 * SPAN]
        results = await asyncio.gather(*(stream.read(start, 10) for start in starts))
        assert results == [PLAIN[start : start + 10] for start in starts]
        assert setup.ranges[-1] is None
        assert setup.ranges.count(None) == 1
        for start in range(0, len(PLAIN), SPAN):
            assert await stream.read(start, 10) == PLAIN[start : start + 10]
        assert setup.ranges.count(None) == 1
        assert stream.complete

    with_stream(use, Setup(hook, store=Store(limit=room), cache=BufferCache(SPAN)))


def test_prefetching_takes_one_request() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        prefetch = asyncio.ensure_future(stream.prefetch(SPANS[4].blob_offset))
        await asyncio.sleep(0)
        assert await stream.read(SPAN, 10) == PLAIN[SPAN : SPAN + 10]
        await prefetch
        assert setup.ranges == [range_of(0, 3)]
        assert stream.read_now(0, 4 * SPAN) == PLAIN[: 4 * SPAN]

    with_stream(use)


def test_who_waits_goes_on_before_all_that_comes_along_is_decompressed() -> None:
    part = bytes(100_000)
    blob, spans = spans_of([part] * 16)

    async def use(stream: LayerStream, setup: Setup) -> None:
        everything = asyncio.ensure_future(stream.prefetch(len(blob)))
        await asyncio.sleep(0)
        assert await stream.read(0, 1) == b"\0"
        assert stream.read_now(15 * len(part), 1) is None
        await everything
        assert stream.read_now(15 * len(part), 1) == b"\0"

    with_stream(use, Setup(blob=blob, spans=spans))


class FastLoop:
    """Lets a loop's clock jump to whatever it waits for."""

    def __init__(self) -> None:
        self.offset = 0.0
        loop = asyncio.get_running_loop()
        clock = loop.time
        loop.time = lambda: clock() + self.offset  # type: ignore[method-assign]


def test_the_rest_is_fetched_in_advance_while_nobody_reads() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        await stream.read(10 * SPAN, 1)
        clock = FastLoop()
        clock.offset += IDLE_SECONDS
        assert await stream.fill()
        assert stream.complete
        asked = [end - start + 1 for start, end in filter(None, setup.ranges)]
        assert sum(asked) == len(BLOB)
        assert not await asyncio.sleep(0)
        assert stream.read_now(0, len(PLAIN)) == PLAIN

    with_stream(use)


def test_filling_stops_where_there_is_no_room() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        assert not await stream.fill()
        assert not stream.complete

    with_stream(use, Setup(store=Store(limit=2 * SPAN)))


def test_filling_gives_way_to_a_read() -> None:
    gate: asyncio.Event

    class Slow(FakeResponse):
        async def chunks(self) -> Any:
            yield self.body[:1000]
            await gate.wait()
            yield self.body[1000:]

    def hook(url: str, span: tuple[int, int] | None, body: bytes) -> FakeResponse | None:
        if span is not None and not slowed:
            slowed.append(span)
            return Slow(url, 206, body[span[0] : span[1] + 1])
        return None

    slowed: list[tuple[int, int]] = []

    async def use(stream: LayerStream, setup: Setup) -> None:
        nonlocal gate
        gate = asyncio.Event()
        fill = asyncio.ensure_future(stream.fill())
        while not slowed:
            await asyncio.sleep(0)
        assert await stream.read(0, 10) == PLAIN[:10]
        for _ in range(50):
            await asyncio.sleep(0)
        assert setup.fetcher.responses[0].closed
        assert not fill.done()
        clock = FastLoop()
        clock.offset += IDLE_SECONDS
        assert await fill
        assert stream.complete

    with_stream(use, Setup(hook))


def test_spans_of_the_same_bytes_are_decompressed_together() -> None:
    whole = gzip.compress(PLAIN[: 3 * SPAN])
    spans = [
        Span(
            i * SPAN,
            SPAN,
            0,
            len(whole),
            Codec.GZIP,
            own_digest(PLAIN[i * SPAN : (i + 1) * SPAN]),
            "plain",
            skip=i * SPAN,
        )
        for i in range(3)
    ]

    async def use(stream: LayerStream, setup: Setup) -> None:
        assert await stream.read(SPAN, 10) == PLAIN[SPAN : SPAN + 10]
        assert await stream.read(0, 3 * SPAN) == PLAIN[: 3 * SPAN]

    with_stream(use, Setup(blob=whole, spans=spans))


def test_a_plain_stream_that_is_lost_says_what_to_do() -> None:
    async def use(stream: LayerStream, setup: Setup) -> None:
        index = LayerIndex(LayerKind.ZSTD, [], SPANS, "plain")
        held = await setup.store.open("it.plain")
        lost = LayerStream("p", index, held, None, cache=setup.cache, traffic=setup.traffic)
        with pytest.raises(OSError, match="cannot be fetched") as caught:
            await lost.read(0, 1)
        assert isinstance(caught.value.__cause__, InvalidLayer)
        assert "Clear" in caught.value.__cause__.hint

    with_stream(use)
