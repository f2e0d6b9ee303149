"""What is fuzzed: all that reads bytes of others, and which errors it may raise.

A target's seeds are well-formed, so that what is changed in them gets far.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass

from browsermount.errors import BrowsermountError
from browsermount.layers.deflate import inflate_from, inflate_members
from browsermount.layers.index import LayerIndex, UnusableIndex
from browsermount.layers.indexer import LayerIndexer
from browsermount.layers.span import Codec
from browsermount.layers.tar import TarParser
from browsermount.layers.toc import place, read_toc
from browsermount.ninep import wire
from browsermount.ninep.framing import FrameSplitter, FramingError
from browsermount.ninep.server import MSIZE, Server
from browsermount.oci.challenge import parse_challenges
from browsermount.oci.config import parse_config
from browsermount.oci.digest import Digest
from browsermount.oci.manifest import parse_manifest
from browsermount.reference import parse_reference
from browsermount.rootfs.merge import Merger
from browsermount.rootfs.tree import Tree
from browsermount.runtime.user import resolve_user
from tests.attacks.layers import header, pax

_DIGEST = str(Digest.of(b""))


@dataclass(frozen=True)
class Target:
    """Something that reads bytes of others.

    Attributes:
        run: Takes them.
        seeds: Well-formed ones.
        expected: What it may raise.
    """

    run: Callable[[bytes], object]
    seeds: tuple[bytes, ...]
    expected: tuple[type[Exception], ...] = (BrowsermountError,)


def _tar(data: bytes) -> None:
    whole, parts = TarParser(), TarParser()
    found = whole.feed(data)
    pieces = [entry for i in range(0, len(data), 100) for entry in parts.feed(data[i : i + 100])]
    assert found == pieces
    whole.close()
    tree = Tree()
    Merger(tree, tree.root).apply(found, None)  # type: ignore[arg-type]
    for path, _ in tree.root.walk():
        assert b".." not in path.split(b"/")


def _layer(data: bytes) -> None:
    indexer = LayerIndexer(lambda span, plain: None)
    for start in range(0, len(data), 1000):
        indexer.feed(data[start : start + 1000])
    index = indexer.close()
    again = LayerIndex.from_bytes(index.to_bytes())
    assert again.entries == index.entries
    assert again.spans == index.spans


def _table(codec: Codec) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        entries, spans = place(read_toc(data), codec, 1 << 20, lambda name: False)
        LayerIndex.from_bytes(
            LayerIndex(kind=1, entries=entries, spans=spans).to_bytes()  # type: ignore[arg-type]
        )

    return run


def _members(data: bytes) -> None:
    for _ in inflate_members(data):
        pass


def _checkpoint(data: bytes) -> None:
    """Start in the middle, as the first byte says at which bit."""
    for _ in inflate_from(data[1:], data[0] % 8 if data else 0, b"window"):
        pass


def _frames(data: bytes) -> None:
    for frame in FrameSplitter(MSIZE).feed(data):
        wire.decode(frame)


def _session(data: bytes) -> None:
    tree = Tree()
    tree.root.link(b"d", directory := tree.new_directory())
    directory.link(b"f", tree.new_file(b"content"))
    server = Server(tree.root)
    server.handle(wire.Tversion(8192, b"9P2000.L").encode(0xFFFF))
    server.handle(wire.Tattach(0, wire.NOFID, b"", b"", 0).encode(1))
    try:
        for frame in FrameSplitter(MSIZE).feed(data):
            reply = server.handle(frame)
            assert isinstance(reply, bytes)
            assert len(reply) <= max(server.msize, 8192)
            if reply:
                assert wire.decode(reply)[0] == int.from_bytes(frame[5:7], "little")
    except FramingError:
        pass


def _text(function: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: function(data.decode("utf-8", "surrogateescape"))


def _index(data: bytes) -> None:
    LayerIndex.from_bytes(data)


def _archive() -> bytes:
    return (
        header(b"d/", b"5")
        + pax(path=b"d/f", mtime=b"1.5", SCHILY__xattr__user__a=b"b")
        + header(b"f", size=3)
        + b"abc".ljust(512, b"\0")
        + header(b"d/.wh.f")
        + header(b"l", b"2")
        + pax(GNU__sparse__map=b"0,1,10,2", GNU__sparse__size=b"20")
        + header(b"s", size=3)
        + b"abc".ljust(512, b"\0")
        + bytes(1024)
    )


def _toc() -> bytes:
    rows = [
        {"name": "d/", "type": "dir", "mode": 493, "modtime": "2020-01-01T00:00:00Z"},
        {"name": "f", "type": "reg", "size": 10, "offset": 100, "chunkSize": 6,
         "chunkDigest": _DIGEST, "digest": _DIGEST, "endOffset": 300},
        {"name": "f", "type": "chunk", "offset": 200, "chunkOffset": 6, "chunkSize": 4,
         "chunkDigest": _DIGEST},
        {"name": "l", "type": "symlink", "linkName": "f", "xattrs": {"user.a": "Yg=="}},
        {"name": "c", "type": "char", "devMajor": 1, "devMinor": 3},
    ]  # fmt: skip
    return json.dumps({"version": 1, "entries": rows}).encode()


def _manifest() -> bytes:
    blob = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": _DIGEST, "size": 1}
    layer = {**blob, "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip"}
    return json.dumps({"schemaVersion": 2, "config": blob, "layers": [layer]}).encode()


def _image_index() -> bytes:
    entry = {
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "digest": _DIGEST,
        "size": 1,
        "platform": {"os": "linux", "architecture": "arm", "variant": "v7"},
        "annotations": {"a": "b"},
        "data": "YQ==",
        "urls": ["https://example.com/"],
    }
    return json.dumps({"schemaVersion": 2, "manifests": [entry]}).encode()


def _config() -> bytes:
    config = {"Env": ["A=b"], "Cmd": ["sh"], "User": "1:2", "Labels": {"a": "b"}}
    return json.dumps({"os": "linux", "architecture": "amd64", "config": config}).encode()


def _requests() -> bytes:
    requests: list[wire.Message] = [
        wire.Twalk(0, 1, (b"d", b"f")),
        wire.Tgetattr(1, 0x7FF),
        wire.Tlopen(1, 0),
        wire.Tread(1, 0, 100),
        wire.Twalk(0, 2, (b"d",)),
        wire.Tlopen(2, 0),
        wire.Treaddir(2, 0, 1000),
        wire.Txattrwalk(1, 3, b""),
        wire.Tstatfs(0),
        wire.Tflush(1),
        wire.Tclunk(1),
    ]
    return b"".join(request.encode(tag) for tag, request in enumerate(requests, 1))


_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:\n"

TARGETS = {
    "tar": Target(_tar, (_archive(),)),
    "layer": Target(_layer, (gzip.compress(_archive(), mtime=0), _archive())),
    "estargz": Target(_table(Codec.GZIP), (_toc(),)),
    "zstd-chunked": Target(_table(Codec.ZSTD), (_toc(),)),
    "gzip": Target(_members, (gzip.compress(_archive(), mtime=0),)),
    "checkpoint": Target(_checkpoint, (b"\0" + zlib.compress(_archive(), wbits=-15) + bytes(8),)),
    "index": Target(_index, (LayerIndex(kind=1).to_bytes(),), (UnusableIndex,)),  # type: ignore[arg-type]
    "manifest": Target(lambda data: parse_manifest(data, "it"), (_manifest(), _image_index())),
    "config": Target(lambda data: parse_config(data, "it"), (_config(),)),
    "passwd": Target(lambda data: resolve_user("me:root", data, data), (_PASSWD,)),
    "reference": Target(
        _text(lambda text: str(parse_reference(text, base="https://page.example/a/"))),
        (b"ghcr.io/a/b:c@" + _DIGEST.encode(), b"https://a.example/b?tag=c#d", b"./a", b"debian"),
    ),
    "challenge": Target(
        _text(parse_challenges),
        (b'Bearer realm="https://a/t",service="s",scope="x:y:pull", Basic realm="b\\"c"',),
    ),
    "frames": Target(_frames, (_requests(),), (FramingError, wire.WireError)),
    "session": Target(_session, (_requests(),)),
}
