"""Headers of tar members that are not as another archive has them.

POSIX.1-2017, pax, "ustar Interchange Format" and "pax Extended Header"; what a header says beside
names is left as it is.
"""

from __future__ import annotations

from collections.abc import Iterator

from browsermount.errors import InvalidLayer
from browsermount.layers.tar import BLOCK

_NAME = slice(0, 100)
_SIZE = slice(124, 136)
_CHECKSUM = slice(148, 156)
_TYPE = slice(156, 157)
_LINK = slice(157, 257)
_MAGIC = slice(257, 265)
_PREFIX = slice(345, 500)
_USTAR = b"ustar\x0000"
_AFTER_DEVICE = slice(345, BLOCK)
_NO_SIZE = b"%011o\0" % 0
_PATH_KEYS = (b"path", b"GNU.sparse.name")
_CONTENT_KEYS = (b"path", b"linkpath", b"size")
_HARD_LINK = b"1"


def marker(path: bytes) -> bytes:
    """Return the headers of an empty file: a whiteout (OCI image specification, layer.md)."""
    header = _header(b"0", mode=0o644)
    return _named(header, path, None, [])


def renamed(head: bytes, path: bytes) -> bytes:
    """Return the headers of a member under another path.

    Args:
        head: All of its headers.
        path: The other path.
    """
    records, header, rest = _split(head)
    return _named(header, path, None, [r for r in records if r[0] not in _PATH_KEYS]) + rest


def link(head: bytes, path: bytes, target: bytes) -> bytes:
    """Return the headers of another name of a file: a hard link.

    Args:
        head: All of the file's headers. Who unpacks it may give the file what the link says.
        path: The other name.
        target: The one that the archive has already.
    """
    records, header, _ = _split(head)
    header[_SIZE] = _NO_SIZE
    header[_TYPE] = _HARD_LINK
    # In old GNU's format, there are times and a sparse file's map.
    header[_MAGIC] = _USTAR
    header[_AFTER_DEVICE] = bytes(BLOCK - _AFTER_DEVICE.start)
    kept = [r for r in records if r[0] not in _CONTENT_KEYS and not r[0].startswith(b"GNU.sparse.")]
    return _named(header, path, target, kept)


def _header(kind: bytes, mode: int) -> bytearray:
    header = bytearray(BLOCK)
    header[100:108] = b"%07o\0" % mode
    for field in (slice(108, 116), slice(116, 124)):
        header[field] = b"%07o\0" % 0
    for field in (_SIZE, slice(136, 148)):
        header[field] = _NO_SIZE
    header[_TYPE] = kind
    header[_MAGIC] = _USTAR
    return header


def _named(
    header: bytearray, path: bytes, target: bytes | None, records: list[tuple[bytes, bytes]]
) -> bytes:
    records = list(records)
    if len(path) > 100:
        records.append((b"path", path))
    header[_NAME] = path[:100].ljust(100, b"\0")
    if header[_MAGIC][:6] == _USTAR[:6]:
        header[_PREFIX] = bytes(155)
    if target is not None:
        if len(target) > 100:
            records.append((b"linkpath", target))
        header[_LINK] = target[:100].ljust(100, b"\0")
    return _extended(records) + _summed(header)


def _extended(records: list[tuple[bytes, bytes]]) -> bytes:
    if not records:
        return b""
    body = b"".join(_record(key, value) for key, value in records)
    header = _header(b"x", mode=0o644)
    header[_NAME] = b"pax".ljust(100, b"\0")
    header[_SIZE] = b"%011o\0" % len(body)
    return _summed(header) + body + bytes(-len(body) % BLOCK)


def _record(key: bytes, value: bytes) -> bytes:
    """Return ``LENGTH KEY=VALUE`` and a newline; the length counts its own digits, too."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    if rest + len(str(length)) != length:
        length = rest + len(str(length))
    return b"%d %s=%s\n" % (length, key, value)


def _summed(header: bytearray) -> bytes:
    header[_CHECKSUM] = b" " * 8
    header[_CHECKSUM] = b"%06o\0 " % sum(header)
    return bytes(header)


def _split(head: bytes) -> tuple[list[tuple[bytes, bytes]], bytearray, bytes]:
    """Return a member's pax records, its own header, and what follows that.

    The parser has read these headers, so that they are whole.

    Raises:
        InvalidLayer: A number in them is written as nobody writes it.
    """
    records: list[tuple[bytes, bytes]] = []
    target: bytes | None = None
    position = 0
    while True:
        header = bytearray(head[position : position + BLOCK])
        kind = bytes(header[_TYPE])
        position += BLOCK
        if kind not in b"xXgLK":
            if target is not None:
                # A pax record of the same stands behind it, and says more.
                header[_LINK] = target[:100].ljust(100, b"\0")
                records.insert(0, (b"linkpath", target))
            return records, header, head[position:]
        try:
            size = int(bytes(header[_SIZE]).strip(b" \0"), 8)
        except ValueError:
            raise InvalidLayer("the size of a header is no octal number") from None
        body = head[position : position + size]
        if kind in b"xX":
            records += _records(body)
        elif kind == b"K":
            target = body.partition(b"\0")[0]
        position += -(-size // BLOCK) * BLOCK


def _records(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 0
    while position < len(body):
        space = body.find(b" ", position)
        if space < 0:
            return  # zeros at the end
        end = position + int(body[position:space])
        key, _, value = body[space + 1 : end - 1].partition(b"=")
        yield key, value
        position = end
