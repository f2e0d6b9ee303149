"""eStargz and zstd:chunked layers written by hand, to be wrong in ways that no tool is."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import struct
from typing import Any

from browsermount.layers.estargz import DIGEST_ANNOTATION
from browsermount.layers.index import LayerIndex
from browsermount.layers.lazy import open_index
from browsermount.oci.descriptor import Descriptor
from browsermount.oci.digest import Digest
from tests.core.images import member, sha256, tar
from tests.core.loop import run
from tests.core.spans import zstd_compress

Row = dict[str, Any]
KEY = "io.github.containers.zstd-chunked.manifest-"
GAP = b"a header of tar"


class Blob:
    """A layer that is being written: compressed pieces, and the table's rows."""

    def __init__(self, compress: Any = gzip.compress) -> None:
        self.compress = compress
        self.data = compress(GAP)
        self.rows: list[Row] = []

    def put(self, *contents: bytes) -> Row:
        """Store contents in one piece and return the last one's properties."""
        row: Row = {"offset": len(self.data)}
        if len(contents) > 1:
            row["innerOffset"] = sum(map(len, contents[:-1]))
        row["chunkDigest"] = sha256(contents[-1])
        self.data += self.compress(b"".join(contents))
        return row

    def file(self, name: str, content: bytes, chunk: int = 1 << 30, **more: Any) -> Row:
        """Add a regular file, in chunks."""
        first: Row = {"name": name, "type": "reg", "mode": 0o644, "size": len(content), **more}
        for start in range(0, len(content), chunk):
            row = first if not start else {"name": name, "type": "chunk", "chunkOffset": start}
            row |= self.put(content[start : start + chunk])
            if start + chunk < len(content):
                row["chunkSize"] = chunk
            self.rows.append(row)
            self.data += self.compress(GAP)
        if not content:
            self.rows.append(first)
        return first

    def toc(self) -> bytes:
        return json.dumps({"version": 1, "entries": self.rows}).encode()


def footer(offset: int) -> bytes:
    """Return eStargz's footer."""
    extra = b"SG" + struct.pack("<H", 22) + b"%016xSTARGZ" % offset
    return _footer(extra)


def legacy_footer(offset: int) -> bytes:
    """Return stargz's footer."""
    return _footer(b"%016xSTARGZ" % offset)


def _footer(extra: bytes) -> bytes:
    header = b"\x1f\x8b\x08\x04\0\0\0\0\0\xff" + struct.pack("<H", len(extra)) + extra
    return header + b"\x01\0\0\xff\xff" + bytes(8)


def estargz(blob: Blob, toc: bytes | None = None, *, make_footer: Any = footer) -> Descriptor:
    """Finish an eStargz layer and describe it as the manifest does."""
    toc = blob.toc() if toc is None else toc
    offset = len(blob.data)
    blob.data += gzip.compress(tar(member("stargz.index.json", toc))) + make_footer(offset)
    return describe(blob.data, {DIGEST_ANNOTATION: sha256(toc)})


def zstd_chunked(blob: Blob, toc: bytes | None = None) -> Descriptor:
    """Finish a zstd:chunked layer and describe it as the manifest does."""
    toc = blob.toc() if toc is None else toc
    packed = zstd_compress(toc)
    offset = len(blob.data) + 8
    position = (offset, len(packed), len(toc), 1)
    numbers = struct.pack("<7Q", *position, 0, 0, 0) + b"GNUlInUx"
    blob.data += b"".join(
        b"\x50\x2a\x4d\x18" + struct.pack("<I", len(data)) + data for data in (packed, numbers)
    )
    annotations = {
        f"{KEY}checksum": sha256(packed),
        f"{KEY}position": ":".join(map(str, position)),
    }
    return describe(blob.data, annotations)


def describe(data: bytes, annotations: dict[str, str] | None = None) -> Descriptor:
    """Return a layer's descriptor."""
    digest = Digest("sha256", hashlib.sha256(data).hexdigest())
    return Descriptor("", digest, len(data), annotations=annotations or {})


def open_blob(
    descriptor: Descriptor, data: bytes, *, allow_unverified: bool = False
) -> LayerIndex | None:
    """Open a layer that is in memory."""

    async def read(offset: int, size: int) -> bytes:
        assert offset >= 0
        assert size > 0
        return data[offset : offset + size]

    return run(open_index(descriptor, read, allow_unverified=allow_unverified))


def encoded(value: bytes) -> str:
    """Encode an extended attribute."""
    return base64.b64encode(value).decode()
