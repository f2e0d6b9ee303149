"""Layers of a few kilobytes that would cost gigabytes or minutes."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator

from browsermount import limits
from browsermount.layers.index import LayerIndex
from browsermount.layers.indexer import LayerIndexer
from browsermount.oci.document import parse_object
from browsermount.rootfs.merge import Merger
from browsermount.rootfs.tree import Tree

BLOCK = 512


def fewer(work: Callable[[], int]) -> Callable[[], int]:
    """Have the bounds on an image's members lower, so that a test takes a second."""

    def lowered() -> int:
        limits.MAX_METADATA = 8 << 20
        limits.MAX_INODES = 1 << 14
        return work()

    return lowered


def header(name: bytes, kind: bytes = b"0", size: int = 0) -> bytes:
    block = bytearray(BLOCK)
    block[: len(name)] = name
    block[100:108] = b"0000644\0"
    block[108:116] = block[116:124] = b"0000000\0"
    block[124:136] = b"%011o\0" % size
    block[136:148] = b"00000000000\0"
    block[156:157] = kind
    block[257:265] = b"ustar\x0000"
    block[148:156] = b" " * 8
    block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def described(kind: bytes, body: bytes) -> bytes:
    """Return a member that describes the next one."""
    return header(b"x", kind, len(body)) + body + bytes(-len(body) % BLOCK)


def pax(**records: bytes) -> bytes:
    """Return a pax header; ``__`` in a key stands for a dot."""
    body = b""
    for key, value in records.items():
        record = b" %s=%s\n" % (key.replace("__", ".").encode(), value)
        size = len(record)
        while size != len(b"%d" % size) + len(record):
            size = len(b"%d" % size) + len(record)
        body += b"%d%s" % (size, record)
    return described(b"x", body)


def gzipped(parts: Iterable[bytes]) -> Iterator[bytes]:
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    for part in parts:
        yield compressor.compress(part)
    yield compressor.flush()


def index(parts: Iterable[bytes]) -> LayerIndex:
    indexer = LayerIndexer(lambda span, data: None)
    for part in gzipped(parts):
        indexer.feed(part)
    return indexer.close()


def merge(layer: LayerIndex, times: int = 1) -> int:
    tree = Tree()
    rootfs = tree.new_directory()
    tree.root.link(b"rootfs", rootfs)
    merger = Merger(tree, rootfs)
    for _ in range(times):
        merger.apply(layer.entries, None)  # type: ignore[arg-type]
    return tree.inodes


@fewer
def endless_directories() -> int:
    """Files, each in two thousand directories that nothing else names: too many together."""
    return deep_directories(200)


def deep_directories(paths: int = 20) -> int:
    """Files, each in two thousand directories that nothing else names."""

    def parts() -> Iterator[bytes]:
        for number in range(paths):
            name = b"%d/" % number + b"d/" * 2036 + b"f"
            yield described(b"L", name + b"\0") + header(b"f")
        yield bytes(1024)

    return merge(index(parts()))


def long_names() -> int:
    """Names of eight megabytes."""
    name = described(b"L", b"n" * ((8 << 20) - 1) + b"\0") + header(b"f")
    return merge(index([*[name] * 300, bytes(1024)]))


@fewer
def long_paths() -> int:
    """Names as long as names may be, of very many members."""
    parts = (
        described(b"L", b"n" * 250 + b"/" + b"x/" * 1910 + b"%d\0" % i) + header(b"f")
        for i in range(200_000)
    )
    return merge(index(parts))


def large_attributes() -> int:
    """Attributes of eight megabytes."""
    member = pax(SCHILY__xattr__user__x=b"v" * ((8 << 20) - 100)) + header(b"f")
    return merge(index([*[member] * 300, bytes(1024)]))


@fewer
def many_attributes() -> int:
    """Attributes as large as Linux has them, of very many members."""
    member = pax(SCHILY__xattr__user__x=b"v" * 60_000) + header(b"f")
    return merge(index([*[member] * 40_000, bytes(1024)]))


@fewer
def many_members() -> int:
    """Very many members of the same name."""
    block = header(b"f") * 2000
    return merge(index([*[block] * 2000, bytes(1024)]))


@fewer
def many_pieces() -> int:
    """Sparse files of very many pieces."""
    numbers = b"".join(b"%d\n1\n" % (2 * i) for i in range(20_000))
    body = b"20000\n" + numbers
    body += bytes(-len(body) % BLOCK) + b"x" * 20_480
    member = (
        pax(GNU__sparse__major=b"1", GNU__sparse__minor=b"0", GNU__sparse__realsize=b"40000")
        + header(b"f", size=len(body))
        + body
    )
    return merge(index([*[member] * 600, bytes(1024)]))


@fewer
def repeated_layer() -> int:
    """One layer of 4000 members, 512 times."""
    parts = (header(b"d%d/f" % i) for i in range(4000))
    return merge(index([*parts, bytes(1024)]), 512)


def escapes() -> str:
    """A JSON document whose string is all escapes."""
    return str(len(parse_object(b'{"a": "' + b"\\n" * (1 << 20) + b'"}', "it")["a"]))


def many_values() -> str:
    """A JSON document of 64 MiB that is all empty objects."""
    return str(len(parse_object(b'{"entries": [' + b"{}," * ((64 << 20) // 3) + b"{}]}", "it")))
