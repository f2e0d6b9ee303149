"""What was fetched, kept by digest, within a limit of size.

A store holds blobs, possibly in parts, and small whole objects.  What it gives is
not verified: whoever reads checks it against a digest and drops what is damaged.
A catalog says which bytes of which blob are there and when each was last used.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from browsermount.blobs.files import File, Files, MemoryFile, MemoryFiles, NoRoom
from browsermount.blobs.ranges import RangeSet
from browsermount.errors import InvalidImage
from browsermount.oci.digest import Digest
from browsermount.oci.document import parse_object

CATALOG = "catalog.json"
DAMAGED_CATALOG = "catalog.damaged"
"""Where a catalog is put that cannot be read, for whoever wants to know why."""

MAX_CATALOG = 16 << 20
"""Bytes of a catalog that are read: an entry has about 150, and one more for each few ranges."""

_MAX_OFFSET = 1 << 53
_KEY = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,254}")

COMMIT_SECONDS = 0.5
"""How long changes of the catalog are gathered before it is written."""

DEFAULT_LIMIT = 4 << 30
"""Bytes that a store holds unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Usage:
    """How much a store holds: ``size`` of at most ``limit`` bytes, in so many ``objects``."""

    size: int
    limit: int
    objects: int


@dataclass(slots=True)
class _Record:
    """What is known of one object; ``added`` and ``dropped`` are not in the catalog yet.

    One that is ``gone`` was removed, though somebody may still have it open.
    """

    ranges: RangeSet = field(default_factory=RangeSet)
    used: float = 0.0
    whole: bool = False
    added: RangeSet = field(default_factory=RangeSet)
    dropped: RangeSet = field(default_factory=RangeSet)
    changed: bool = False
    gone: bool = False

    def take(self) -> _Record:
        """Return what is not in the catalog yet, and count it as being there."""
        change = _Record(RangeSet(), self.used, self.whole, self.added, self.dropped)
        self.added, self.dropped, self.changed = RangeSet(), RangeSet(), False
        return change

    def put_back(self, change: _Record) -> None:
        """Take note that what was taken did not come into the catalog."""
        for start, end in change.added:
            if not self.dropped.covers(start, end):
                self.added.add(start, end)
        self.dropped.update(change.dropped)
        self.changed = True

    def apply(self, change: _Record) -> None:
        """Bring a change, possibly of somebody else's, into this record of the catalog."""
        for start, end in change.dropped:
            self.ranges.discard(start, end)
        self.ranges.update(change.added)
        self.used = max(self.used, change.used)
        self.whole = change.whole


class StoredBlob:
    """The bytes of one blob as far as they are held."""

    def __init__(self, store: Store, key: str, record: _Record, file: File) -> None:
        self._store = store
        self._key = key
        self._record = record
        self._file = file

    @property
    def ranges(self) -> RangeSet:
        """Which bytes are held; not to be changed."""
        return self._record.ranges

    def covers(self, offset: int, size: int) -> bool:
        """Tell whether all of ``size`` bytes from ``offset`` are held."""
        return self._record.ranges.covers(offset, offset + size)

    def read(self, offset: int, size: int) -> bytes:
        """Return ``size`` bytes from ``offset``, which must be held; fewer when they are lost."""
        return self._file.read(offset, size)

    def write(self, offset: int, data: bytes) -> bool:
        """Keep bytes; False where there is no room for them."""
        record = self._record
        if record.gone or not self._store.has_room(len(data)):
            return False
        try:
            self._file.write(offset, data)
        except NoRoom:
            self._store.full = True
            return False
        before = record.ranges.total
        record.ranges.add(offset, offset + len(data))
        record.added.add(offset, offset + len(data))
        record.dropped.discard(offset, offset + len(data))
        self._store.note(record, record.ranges.total - before)
        return True

    def close(self) -> None:
        """Let the file go; it stays where it is kept."""
        self._file.close()

    async def reserve(self, size: int) -> bool:
        """Make room for ``size`` more bytes; False where that cannot be done."""
        return self._store.has_room(size) or await self._store.reserve(size)

    def drop(self, offset: int, size: int) -> None:
        """Forget bytes that turned out to be damaged."""
        record = self._record
        before = record.ranges.total
        record.ranges.discard(offset, offset + size)
        record.added.discard(offset, offset + size)
        record.dropped.add(offset, offset + size)
        if not record.gone:
            self._store.note(record, record.ranges.total - before)


class Store:
    """Objects by key, the least recently used of which go when there are too many.

    Args:
        files: Where they are kept; by default in memory.
        limit: How many bytes may be held.
        clock: Gives the time in seconds since 1970.
    """

    def __init__(
        self,
        files: Files | None = None,
        *,
        limit: int = DEFAULT_LIMIT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._files: Files = files or MemoryFiles()
        self.limit = limit
        self.full = False
        self._clock = clock
        self._records: dict[str, _Record] | None = None
        self._size = 0
        self._open: dict[str, StoredBlob] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._commits: set[asyncio.Task[None]] = set()
        self._unsaved: dict[str, bytes] = {}
        self._saving: asyncio.Task[None] | None = None

    async def covers(self, key: str, size: int) -> bool:
        """Tell whether all of a blob of ``size`` bytes is held, without opening it."""
        record = (await self._load()).get(key)
        return record is not None and record.ranges.covers(0, size)

    async def knows(self, digest: Digest) -> bool:
        """Tell whether anything is kept of a blob: bytes of it, its plain stream, its index."""
        start = f"{digest.algorithm}-{digest.encoded}."
        return any(key.startswith(start) for key in await self._load())

    async def open(self, key: str) -> StoredBlob:
        """Open a blob for reading and writing.

        Where it cannot be kept (no permission, locked by another tab of a browser that has no
        shared access), it is kept in memory for as long as this store lives.
        """
        if key in self._open:
            return self._open[key]
        records = await self._load()
        try:
            file = await self._files.open(key)
        except NoRoom:
            if key in self._open:  # by somebody else, while we waited
                return self._open[key]
            file = MemoryFile()
            self._forget(key)
        if key in self._open:
            file.close()
            return self._open[key]
        # Looked up only now, since it may have been let go while the file was opened.
        record = records.setdefault(key, _Record())
        self._use(record)
        self._open[key] = blob = StoredBlob(self, key, record, file)
        return blob

    async def load(self, key: str) -> bytes | None:
        """Return a whole object, or None where it is not held."""
        if key in self._unsaved:
            return self._unsaved[key]
        records = await self._load()
        if key not in records:
            return None
        data = await self._files.read(key)
        if data is None:
            await self.remove(key)
        elif key in records:  # else it was let go while it was read
            self._use(records[key])
        return data

    async def save(self, key: str, data: bytes) -> bool:
        """Keep a whole object; False where there is no room for it."""
        records = await self._load()
        if not await self.reserve(len(data)):
            return False
        try:
            await self._files.replace(key, data)
        except NoRoom:
            self.full = True
            return False
        record = records.setdefault(key, _Record())
        before = record.ranges.total
        record.dropped = RangeSet(record.ranges)
        record.ranges = RangeSet([(0, len(data))])
        record.added = RangeSet([(0, len(data))])
        record.whole = True
        self._use(record)
        self.note(record, record.ranges.total - before)
        return True

    def save_later(self, key: str, data: bytes) -> None:
        """Keep a whole object as :meth:`save` does, but let the caller go on.

        It can be loaded at once; :meth:`commit` waits until it is kept. Needs a running loop.
        """
        self._unsaved[key] = data
        self._start_saving()

    def _start_saving(self) -> asyncio.Task[None]:
        saving = self._saving
        # What one has not saved before its loop ended is left to the next.
        if saving is None or saving.done() or saving.get_loop() is not asyncio.get_running_loop():
            self._saving = saving = asyncio.ensure_future(self._save_all())
        return saving

    async def _save_all(self) -> None:
        while self._unsaved:
            key, data = next(iter(self._unsaved.items()))
            await self.save(key, data)
            if self._unsaved.get(key) is data:
                del self._unsaved[key]

    async def _settle(self) -> None:
        """Wait until what was to be saved later is saved."""
        if self._unsaved:
            await asyncio.shield(self._start_saving())

    async def remove(self, key: str) -> bool:
        """Remove an object; False when it is in use elsewhere and stays."""
        if key in self._unsaved:
            await self._settle()
        records = await self._load()
        # Taken out before anything is awaited: others make room at the same time.
        record = self._forget(key)
        if record is None:
            return True
        if not await self._files.remove(key):
            if records.setdefault(key, record) is record:
                record.gone = False
                self._size += record.ranges.total
            return False
        self._open.pop(key, None)
        await self._merge(removed={key})
        return True

    def _forget(self, key: str) -> _Record | None:
        """Take an object out of what is known to be held."""
        record = (self._records or {}).pop(key, None)
        if record is not None:
            record.gone = True
            self._size -= record.ranges.total
        return record

    async def discard(self, key: str) -> None:
        """Remove an object that is open here, since what was written is of no use."""
        blob = self._open.pop(key, None)
        if blob is not None:
            blob.drop(0, max((end for _, end in blob.ranges), default=0))
            blob.close()
        await self.remove(key)

    async def reserve(self, size: int) -> bool:
        """Make room for ``size`` more bytes; False where that cannot be done.

        Nothing is let go for what can never have room.
        """
        await self._load()
        if size > self.limit:
            return False
        if self.full:
            # What the place itself has no room for is as much as the least recently used object.
            await self._evict(self._size - size)
            self.full = False
        await self._evict(self.limit - size)
        return self.has_room(size)

    async def prune(self, size: int) -> None:
        """Let the least recently used objects go until at most ``size`` bytes are held."""
        await self._load()
        await self._evict(size)

    async def clear(self) -> None:
        """Let everything go that is not in use, what no catalog knows of included."""
        await self._settle()
        removed = set()
        for name in await self._files.names():
            if name not in self._open and name != CATALOG and await self._files.remove(name):
                removed.add(name)
        await self._merge(removed)
        records = await self._load()
        for key in removed & records.keys():
            self._forget(key)

    async def usage(self) -> Usage:
        """Return how much is held, by all that share the place."""
        await self.commit()
        records = await self._load()
        held = [record for record in records.values() if record.ranges]
        return Usage(self._size, self.limit, len(held))

    async def commit(self) -> None:
        """Write the catalog if it has changed."""
        await self._settle()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        await self._merge()

    async def close(self) -> None:
        """Write the catalog and let the files go."""
        await self.commit()
        for blob in self._open.values():
            blob.close()
        self._open.clear()

    def has_room(self, size: int) -> bool:
        """Tell whether ``size`` more bytes are within the limit."""
        return not self.full and self._size + size <= self.limit

    def note(self, record: _Record, growth: int) -> None:
        """Take note that a record has changed; the catalog is written a little later."""
        self._size += growth
        record.changed = True
        if self._timer is None:
            try:
                loop = asyncio.get_running_loop()
            except RuntimeError:
                return  # written by the next commit
            self._timer = loop.call_later(COMMIT_SECONDS, self._commit_later)

    def _commit_later(self) -> None:
        self._timer = None
        task = asyncio.ensure_future(self.commit())
        self._commits.add(task)
        task.add_done_callback(self._commits.discard)

    def _use(self, record: _Record) -> None:
        record.used = self._clock()
        self.note(record, 0)

    async def _load(self) -> dict[str, _Record]:
        if self._records is None:
            records = await self._read_catalog()
            if self._records is None:  # else somebody else was faster
                self._records = records
                self._size = sum(record.ranges.total for record in records.values())
        return self._records

    async def _read_catalog(self) -> dict[str, _Record]:
        """Return what the catalog says; one that is damaged or of another version is put aside."""
        data = await self._files.read(CATALOG)
        if data is None:
            return {}
        try:
            records = _parse(data)
        except _Damaged:
            with suppress(NoRoom):
                await self._files.replace(DAMAGED_CATALOG, data[:MAX_CATALOG])
            await self._files.remove(CATALOG)
            return {}
        now = self._clock()
        for record in records.values():  # one of the future would be the last to go, for ever
            record.used = min(record.used, now)
        return records

    async def _evict(self, limit: int) -> None:
        """Let the least recently used objects go that are not open, down to ``limit`` bytes.

        Blobs go before whole objects, which are small and of use without the blobs.
        """
        records = self._records or {}
        for key in sorted(records, key=lambda key: (records[key].whole, records[key].used)):
            if self._size <= limit:
                return
            # What is to be saved anew stays: its removal would wait for whoever saves, which may
            # be who makes room here.
            if key not in self._open and key not in self._unsaved:
                await self.remove(key)

    async def _merge(self, removed: set[str] | frozenset[str] = frozenset()) -> None:
        """Bring what is new here into the catalog that all share."""
        records = self._records or {}
        # Taken out before anything is awaited: what is written meanwhile is for the next time.
        changed = {key: record for key, record in records.items() if record.changed}
        changes = {key: record.take() for key, record in changed.items()}
        if not changes and not removed:
            return
        try:
            async with self._files.lock():
                catalog = await self._read_catalog()
                for key in removed:
                    catalog.pop(key, None)
                for key, change in changes.items():
                    catalog.setdefault(key, _Record()).apply(change)
                await self._files.replace(CATALOG, _serialise(catalog))
        except NoRoom:
            for key, change in changes.items():  # then it is tried again with the next change
                changed[key].put_back(change)


def _serialise(records: dict[str, _Record]) -> bytes:
    objects = {
        key: {
            "used": round(record.used, 3),
            "whole": record.whole,
            "ranges": list(record.ranges),
        }
        for key, record in records.items()
    }
    return json.dumps({"version": 1, "objects": objects}).encode()


class _Damaged(Exception):
    """A catalog is none of ours."""


def _parse(data: bytes) -> dict[str, _Record]:
    """Read a catalog, which somebody else may have written.

    Raises:
        _Damaged: It is not what :func:`_serialise` makes.
    """
    try:
        if len(data) > MAX_CATALOG:
            raise _Damaged
        # Deep nesting would overflow the stack of a browser.
        document = parse_object(data, "the catalog")
        if document["version"] != 1:
            raise _Damaged
        return {_key(key): _record(entry) for key, entry in document["objects"].items()}
    except (
        InvalidImage,
        ValueError,
        TypeError,
        LookupError,
        AttributeError,
        OverflowError,
        RecursionError,
    ) as error:
        raise _Damaged from error


def _key(key: str) -> str:
    # Each is the name of a file, which is removed when there is no room.
    if not _KEY.fullmatch(key) or key in (CATALOG, DAMAGED_CATALOG):
        raise _Damaged
    return key


def _record(entry: Any) -> _Record:
    ranges = [(start, end) for start, end in entry["ranges"]]
    for border in (border for pair in ranges for border in pair):
        if type(border) is not int or not 0 <= border <= _MAX_OFFSET:
            raise _Damaged
    used, whole = entry["used"], entry["whole"]
    if type(used) not in (int, float) or not math.isfinite(used) or type(whole) is not bool:
        raise _Damaged
    return _Record(RangeSet(ranges), float(used), whole)
