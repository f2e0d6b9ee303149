"""Tables of contents: the JSON documents in which eStargz and zstd:chunked list their members.

Both go back to CRFS and agree in all that is read here; see
:mod:`browsermount.layers.estargz` and :mod:`browsermount.layers.zstd_chunked`.
"""

from __future__ import annotations

import base64
import binascii
import re
from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from browsermount import limits
from browsermount.errors import InvalidImage, InvalidLayer
from browsermount.layers.entry import (
    MAJORS,
    MAX_FILE_SIZE,
    MINORS,
    Entry,
    FileType,
    Segment,
    check_xattrs,
)
from browsermount.layers.span import Codec, Span
from browsermount.oci.digest import Digest
from browsermount.oci.document import parse_object_in_steps
from browsermount.steps import Steps

MAX_TOC_SIZE = 64 << 20
"""Bytes that a table may have: room for some 150 000 members."""

MAX_CHUNK_SIZE = 256 << 20
"""Plain bytes that can only be had together; eStargz makes 4 MiB of it, as a rule."""

_FILES = 250
"""Members that are dealt with in one step."""

_TYPES = {
    "dir": FileType.DIRECTORY,
    "reg": FileType.REGULAR,
    "symlink": FileType.SYMLINK,
    "hardlink": None,
    "char": FileType.CHARACTER,
    "block": FileType.BLOCK,
    "fifo": FileType.FIFO,
}
_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[Tt](\d\d):(\d\d):(\d\d)(?:\.(\d{1,30}))?"
    r"(?:[Zz]|([+-])(\d\d):(\d\d))",
    re.ASCII,
)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_GO_ZERO = "0001-01-01T00:00:00Z"


@dataclass(slots=True)
class Chunk:
    """A piece of a file that is stored on its own.

    Attributes:
        file_offset: Where it begins in the file.
        size: Its plain length in bytes.
        offset: Where its stored bytes begin in the blob.
        end: Where they end; None where the table does not say it.
        skip: How many plain bytes come before it out of the stored ones.
        digest: Of its plain bytes.
    """

    file_offset: int
    size: int
    offset: int
    end: int | None
    skip: int
    digest: Digest


@dataclass(slots=True)
class TocFile:
    """A member of the table; ``chunks`` leaves out what is a hole."""

    entry: Entry
    chunks: list[Chunk] = field(default_factory=list)


def read_toc(data: bytes) -> Steps[list[TocFile]]:
    """Read a table of contents, in steps.

    Raises:
        InvalidLayer: It is malformed, or leaves something without a digest.
    """
    try:
        document = yield from parse_object_in_steps(data, "the table of contents")
    except InvalidImage as error:
        raise InvalidLayer(error.message) from None
    if document.get("version") != 1:
        raise InvalidLayer(
            f"the table of contents has the version {str(document.get('version'))[:20]}, not 1"
        )
    rows = document.get("entries")
    if rows is None:
        rows = []  # as Go writes an empty list
    if not isinstance(rows, list):
        raise InvalidLayer("the table of contents has no list of entries")
    files: list[TocFile] = []
    start = cost = 0
    while start < len(rows):
        end = start + 1
        while end < len(rows) and _type(rows[end]) == "chunk":
            end += 1
        file = _file(rows[start:end])
        rows[start:end] = [None] * (end - start)  # or all would be let go at once
        cost += file.entry.cost + limits.SEGMENT_COST * len(file.chunks)
        if cost > limits.MAX_METADATA:
            raise InvalidLayer(
                f"the members of the table of contents take more than {limits.MAX_METADATA >> 20} "
                "MiB of memory"
            )
        files.append(file)
        start = end
        if len(files) % _FILES == 0:
            yield
    return files


def place(
    files: list[TocFile], codec: Codec, limit: int, hidden: Callable[[bytes], bool]
) -> Steps[tuple[list[Entry], list[Span]]]:
    """Lay the contents out as one stream, file by file, in steps.

    Args:
        files: The members, whose entries have no segments yet. The list is empty afterwards.
        codec: How chunks are stored.
        limit: Where the chunks end in the blob.
        hidden: Tells by its name whether a member is left out.

    Raises:
        InvalidLayer: Chunks lie outside the blob or overlap each other.
    """
    borders = sorted({chunk.offset for file in files for chunk in file.chunks})
    borders.append(limit)
    entries: list[Entry] = []
    spans: list[Span] = []
    position = 0
    files.reverse()
    while files:
        file = files.pop()
        if hidden(file.entry.name):
            continue
        segments: list[Segment] = []
        for chunk in file.chunks:
            if not 0 < chunk.offset < limit:
                raise _invalid(file.entry, f"has a chunk at {chunk.offset} of {limit} bytes")
            border = borders[bisect_right(borders, chunk.offset)]
            end = border if chunk.end is None else chunk.end
            if not chunk.offset < end <= border:
                raise _invalid(file.entry, f"has a chunk that overlaps another at {border}")
            stored = end - chunk.offset
            if stored > 2 * MAX_CHUNK_SIZE:
                raise _invalid(file.entry, f"has a chunk of {stored} stored bytes")
            spans.append(
                Span(
                    position,
                    chunk.size,
                    chunk.offset,
                    stored,
                    codec,
                    chunk.digest,
                    "plain",
                    chunk.skip,
                )
            )
            last = segments[-1] if segments else None
            if last is not None and last.file_offset + last.size == chunk.file_offset:
                segments[-1] = Segment(last.file_offset, last.stream_offset, last.size + chunk.size)
            else:
                segments.append(Segment(chunk.file_offset, position, chunk.size))
            position += chunk.size
        entries.append(file.entry._replace(segments=tuple(segments)) if segments else file.entry)
        if len(entries) % _FILES == 0:
            yield
    return entries, spans


def _type(row: Any) -> Any:
    return row.get("type") if isinstance(row, dict) else None


def _file(rows: list[Any]) -> TocFile:
    row = rows[0]
    if not isinstance(row, dict):
        raise InvalidLayer("the table of contents holds something else than entries")
    entry = _entry(row)
    if entry.type is not FileType.REGULAR:
        if len(rows) > 1:
            raise _invalid(entry, "has chunks but is no regular file")
        return TocFile(entry)
    entry = entry._replace(size=_number(row, "size", MAX_FILE_SIZE))
    chunks = []
    position = 0
    for index, part in enumerate(rows if entry.size else []):
        file_offset = _number(part, "chunkOffset", MAX_FILE_SIZE)
        # Zero: to the end of the file.
        size = _number(part, "chunkSize", MAX_FILE_SIZE) or entry.size - position
        if file_offset != position or size <= 0 or size > entry.size - position:
            raise _invalid(entry, "has chunks with gaps, or that overlap")
        position += size
        if part.get("chunkType") == "zeros":
            continue
        if size > MAX_CHUNK_SIZE:
            raise _invalid(entry, f"has a chunk of {size} bytes, too many to be read at once")
        last = index == len(rows) - 1
        end = _number(row, "endOffset", MAX_FILE_SIZE) if last else 0
        chunks.append(
            Chunk(
                file_offset=file_offset,
                size=size,
                offset=_number(part, "offset", MAX_FILE_SIZE),
                end=end or None,
                skip=_number(part, "innerOffset", MAX_CHUNK_SIZE),
                digest=_digest(entry, part, whole=len(rows) == 1),
            )
        )
    if position != entry.size:
        raise _invalid(entry, f"has chunks of {position} bytes instead of {entry.size}")
    return TocFile(entry, chunks)


def _entry(row: dict[str, Any]) -> Entry:
    name = _text(row, "name")
    if not name or b"\0" in name or b".." in name.split(b"/"):
        raise InvalidLayer(f"the table of contents has the name {name[:100]!r}")
    kind = row.get("type")
    if not isinstance(kind, str) or kind not in _TYPES:
        raise InvalidLayer(
            f"the table of contents gives {name[:100]!r} the type {str(kind)[:20]!r}"
        )
    if len(name) > limits.MAX_PATH:
        raise InvalidLayer(
            f"the table of contents has a path longer than {limits.MAX_PATH} bytes: "
            f"{name[:40]!r}..."
        )
    entry = Entry(
        name,
        _TYPES[kind],
        mode=_number(row, "mode", 1 << 32) & 0o7777,
        uid=_number(row, "uid", 1 << 32),
        gid=_number(row, "gid", 1 << 32),
        mtime_ns=_time(_optional_text(row, "modtime") or _GO_ZERO),
    )
    if kind in ("symlink", "hardlink"):
        entry = entry._replace(link=_text(row, "linkName"))
        if len(entry.link) > limits.MAX_PATH:
            raise _invalid(entry, f"leads to a path longer than {limits.MAX_PATH} bytes")
    elif kind in ("char", "block"):
        rdev = (_number(row, "devMajor", MAJORS), _number(row, "devMinor", MINORS))
        entry = entry._replace(rdev=rdev)
    if xattrs := row.get("xattrs"):
        entry = entry._replace(xattrs=_xattrs(entry, xattrs))
        check_xattrs(entry, InvalidLayer)
    return entry


def _digest(entry: Entry, part: dict[str, Any], *, whole: bool) -> Digest:
    text = part.get("chunkDigest") or (part.get("digest") if whole else None)
    if not text:
        raise _invalid(entry, "has no digest for one of its chunks, so that nothing verifies it")
    try:
        return Digest.parse(text)
    except InvalidImage as error:
        raise _invalid(entry, f"cannot be verified: {error.message}") from None


def _number(row: dict[str, Any], key: str, limit: int) -> int:
    value = row.get(key, 0)
    if type(value) is int and 0 <= value < limit:
        return value
    if value is not None:
        raise InvalidLayer(f"the table of contents has the {key} {str(value)[:30]}")
    return 0


def _text(row: dict[str, Any], key: str) -> bytes:
    value = _optional_text(row, key)
    if value is None:
        raise InvalidLayer(f"the table of contents has an entry without a {key}")
    return value.encode("utf-8", "surrogatepass")


def _optional_text(row: dict[str, Any], key: str) -> str | None:
    value = row.get(key)
    if value is not None and not isinstance(value, str):
        raise InvalidLayer(f"the table of contents has the {key} {str(value)[:30]}")
    return value


def _xattrs(entry: Entry, values: Any) -> dict[bytes, bytes]:
    if not isinstance(values, dict) or not all(isinstance(v, str) for v in values.values()):
        raise _invalid(entry, "has malformed extended attributes")
    try:
        found = {
            key.encode("utf-8", "surrogatepass"): base64.b64decode(value, validate=True)
            for key, value in values.items()
        }
    except (binascii.Error, ValueError):
        raise _invalid(entry, "has an extended attribute that is not base64") from None
    if any(not name or b"\0" in name for name in found):
        raise _invalid(entry, "has an extended attribute without a valid name")
    return found


@lru_cache(maxsize=1024)
def _time(text: str) -> int:
    """Read an RFC 3339 time, as Go writes it; its zero time stands for an unknown one."""
    if text == _GO_ZERO:
        return 0
    match = _TIME.fullmatch(text)
    if match is None:
        raise InvalidLayer(f"the table of contents has the time {text[:40]!r}")
    *fields, fraction, sign, hours, minutes = match.groups()
    try:
        moment = datetime(*map(int, fields), tzinfo=UTC)  # type: ignore[misc,arg-type]
    except ValueError:
        raise InvalidLayer(f"the table of contents has the time {text!r}") from None
    seconds = (moment - _EPOCH).days * 86400 + (moment - _EPOCH).seconds
    if sign:
        offset = int(hours) * 3600 + int(minutes) * 60
        seconds -= offset if sign == "+" else -offset
    return seconds * 1_000_000_000 + int(((fraction or "") + "0" * 9)[:9])


def _invalid(entry: Entry, what: str) -> InvalidLayer:
    return InvalidLayer(f"in the table of contents, {entry.name[:100]!r} {what}")
