"""What is fuzzed: all that reads bytes of others, and which errors it may raise.

A target's seeds are well-formed, so that what is changed in them gets far.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import struct
import zlib
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, cast

import pytest

from browsermount import limits
from browsermount.cli.machine import parse_message
from browsermount.cli.run import exit_code
from browsermount.commit.delta import NotMerged
from browsermount.errors import BrowsermountError, InvalidLayer
from browsermount.layers.deflate import inflate_from, inflate_members
from browsermount.layers.index import LayerIndex, UnusableIndex
from browsermount.layers.indexer import LayerIndexer
from browsermount.layers.span import Codec
from browsermount.layers.tar import TarParser
from browsermount.layers.toc import place, read_toc
from browsermount.network import dns
from browsermount.network.connection import Connection
from browsermount.network.framing import FrameSplitter as NetworkFrames
from browsermount.network.framing import InvalidFrame, framed
from browsermount.network.http1 import InvalidMessage, RequestReader, ResponseReader
from browsermount.network.trunk import MAX_DATA as TRUNK_DATA
from browsermount.network.trunk import WINDOW, Kind, Trunk, TrunkError, TrunkStream
from browsermount.network.udp import MAX_DATA as MAX_DATAGRAM
from browsermount.network.websocket import (
    Close,
    FrameReader,
    Opcode,
    Ping,
    WebSocketError,
    close_frame,
)
from browsermount.network.websocket import frame as websocket_frame
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
from browsermount.steps import finish
from tests.attacks.layers import header, pax
from tests.core.guest_network import (
    ACK,
    FIN,
    GUEST_MAC,
    SYN,
    Guest,
    Peer,
    checksum,
    ethernet,
    ip,
)
from tests.core.images import hardlink, member, symlink, tar
from tests.core.random_layers import FORMATS
from tests.core.test_delta import facts, one
from tests.core.test_rootfs import merge

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


def _delta(data: bytes) -> None:
    """Layers that can be merged give the same tree."""
    layer = one(data, _OVER)
    try:
        expected = facts(merge(data, _OVER))
    except InvalidLayer:
        return  # what they would lie over has to have something for it
    assert facts(merge(layer)) == expected


def _table(codec: Codec) -> Callable[[bytes], None]:
    def run(data: bytes) -> None:
        entries, spans = finish(place(finish(read_toc(data)), codec, 1 << 20, lambda name: False))
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


def _control(data: bytes) -> None:
    """What the machine's process says to the command line, some of it in the guest's words."""
    for line in data.split(b"\n"):
        message = parse_message(line)
        if message is not None and message["type"] in ("exit", "error"):
            assert 0 <= exit_code(message) <= 255


def _network(data: bytes) -> None:
    """Frames of a guest, each with its length in front, and answers to its connections."""
    guest, opened = Guest(), list[Connection]()

    def connect(connection: Connection) -> None:
        connection.accept()
        opened.append(connection)

    guest.stack.on_connect = connect
    for frame in NetworkFrames().feed(data):
        guest.give(frame)
        for connection in opened:
            connection.write(connection.read())
        guest.wait(0.3)
    assert guest.stack.connections <= limits.MAX_CONNECTIONS
    assert all(len(frame) <= 14 + guest.mtu for frame in guest.sent)


class _Given:
    """A connection whose other end has sent all that it will."""

    def __init__(self, data: bytes) -> None:
        self._pieces = [data[i : i + 100] for i in range(0, len(data), 100)]

    async def read(self) -> bytes:
        return self._pieces.pop(0) if self._pieces else b""


def _at_once(work: Coroutine[Any, Any, None]) -> None:
    """Run what waits for nothing."""
    with pytest.raises(StopIteration):
        work.send(None)


def _answer(data: bytes) -> None:
    """What a web server in the container answers to the page."""

    async def work() -> None:
        reader = ResponseReader(cast(Any, _Given(data)), "GET")
        response = await reader.head()
        assert 200 <= response.status <= 999
        size = 0
        async for part in reader.parts(response):
            size += len(part)
        assert size <= len(data)

    _at_once(work())


def _request(data: bytes) -> None:
    """What a program in the container asks of the web."""

    async def work() -> None:
        reader = RequestReader(cast(Any, _Given(data)))
        while (request := await reader.request()) is not None:
            assert len(await reader.body(request)) <= len(data)

    _at_once(work())


def _trunk(data: bytes) -> None:
    """Messages of another container's network, each with its length in front."""
    sent: list[bytes] = []
    trunk = Trunk(sent.append, first=True)
    streams = [trunk.open(80)]

    def take(stream: TrunkStream) -> None:
        stream.accept()
        streams.append(stream)

    trunk.on_open = take
    trunk.on_datagram = lambda source, target, text: bool(trunk.send_datagram(target, source, text))
    for turn, message in enumerate(NetworkFrames().feed(data)):
        trunk.receive(message)
        assert trunk.streams <= limits.MAX_CONNECTIONS
        for stream in streams:
            # Some do not read for a while.
            while turn % 3 and (text := stream.read()):
                while text and stream.room:
                    stream.write(text[: stream.room])
                    text = text[stream.room :]
            if stream.at_eof:
                stream.finish()
        streams = [it for it in streams if not it.reset]
    longest = TRUNK_DATA + MAX_DATAGRAM
    assert all(len(message) <= longest for message in sent)
    assert sum(map(len, sent)) <= 2 * len(data) + WINDOW * (len(streams) + 1)
    trunk.lose()
    assert trunk.streams == 0


def _websocket(data: bytes) -> None:
    """What a server in the container sends by a WebSocket, at once and in pieces."""
    found: list[list[object]] = []
    for size in (len(data) + 1, 7):
        reader, events = FrameReader(), list[object]()
        found.append(events)
        try:
            for start in range(0, len(data), size):
                events.extend(reader.feed(data[start : start + size]))
        except WebSocketError as error:
            events.append((error.code, str(error)))
    assert found[0] == found[1]
    for event in found[0]:
        if isinstance(event, Ping):
            websocket_frame(Opcode.PONG, event.payload)
        elif isinstance(event, Close):
            assert len(close_frame(event)) <= 2 + 4 + 125


def _name(data: bytes) -> None:
    query = dns.parse(data)
    if query is not None:
        dns.answer(query, (1,))


def _text(function: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: function(data.decode("utf-8", "surrogateescape"))


def _index(data: bytes) -> None:
    """With the right checksum, which everybody can make, so that what is in it is looked at."""
    data = data[:-16]
    LayerIndex.from_bytes(data + hashlib.blake2b(data, digest_size=16).digest())


def _read_index() -> bytes:
    indexer = LayerIndexer(lambda span, plain: None)
    indexer.feed(gzip.compress(_archive(), mtime=0))
    return indexer.close().to_bytes()


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


def _connecting() -> bytes:
    """The frames of a guest that asks for its address, pings, opens a connection and ends it."""
    dhcp = b"\1\1\6\0" + bytes(24) + GUEST_MAC + bytes(202) + bytes.fromhex("63825363350101ff")
    udp = struct.pack("!HHHH", 68, 67, 8 + len(dhcp), 0) + dhcp
    peer = Peer(Guest())
    frames = [
        ethernet(ip(17, udp, source=bytes(4), target=b"\xff" * 4)),
        ethernet(
            ip(1, b"\x08\0" + checksum(b"\x08\0\0\0\0\1\0\1").to_bytes(2, "big") + b"\0\1" * 2)
        ),
        peer.segment(SYN, seq=7, options=b"\x02\x04\x05\xb4\x01\x03\x03\x07"),
        peer.segment(ACK, b"GET", seq=8, ack=0xFFFFFF01),
        peer.segment(FIN | ACK, seq=11, ack=0xFFFFFF01),
    ]
    return b"".join(map(framed, frames))


_ANSWER = (
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    b"3;a=b\r\nabc\r\n0\r\nX: y\r\n\r\n"
)
_REQUEST = (
    b"POST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc"
    b"PUT http://a/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
)
_QUERY = b"\0\1\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"


def _neighbour() -> bytes:
    """One that opens a connection, sends, ends it, and asks and answers by datagrams."""
    messages = [
        (Kind.OPEN, 2, b"\0\x50"),
        (Kind.ACCEPT, 1, b""),
        (Kind.DATA, 2, b"GET"),
        (Kind.CREDIT, 2, b"\0\0\0\3"),
        (Kind.DATA, 1, b"answer"),
        (Kind.DATAGRAM, 0, b"\0\7\0\x35question"),
        (Kind.CREDIT, 0, b"\0\0\0\x0f"),
        (Kind.FINISH, 2, b""),
        (Kind.OPEN, 4, b"\1\xbb"),
        (Kind.RESET, 4, b""),
        (Kind.FINISH, 1, b""),
    ]
    return b"".join(framed(struct.pack("!BI", *head) + body) for *head, body in messages)


_FRAMES = (
    b"\x81\5hello\1\3gr\xc3\x89\1?\x80\1\xbc\x82\x7e\0\x7e"
    + bytes(126)
    + b"\x82\x7f\0\0\0\0\0\1\0\0"
    + bytes(1 << 16)
    + b"\x8a\0\x88\5\3\xe8bye"
)
_PASSWD = b"root:x:0:0:root:/root:/bin/sh\nme:x:1000:1000::/home/me:\n"

_CONTROL = b"""{"type": "stage", "stage": "started"}
{"type": "exit", "code": 7}
{"type": "error", "message": "no such file", "code": 127}
{"type": "closed"}
"""


def _changes(format: int) -> bytes:
    """Return what a container may have changed."""
    attributes = {"SCHILY.xattr.user.a": "b", "mtime": "1.5"} if format == FORMATS[2] else {}
    return tar(
        member("d/"),
        member("d/first", b"content", pax=attributes),
        hardlink("d/second", "d/first"),
        symlink("d/third", "x" if format == FORMATS[0] else "x/" * 60),
        hardlink("d/fourth", "d/third"),
        format=format,
    )


_OVER = tar(member("d/"), member("d/.wh.first", b""), member("d/.wh.third", b""))

TARGETS = {
    "tar": Target(_tar, (_archive(),)),
    "delta": Target(_delta, tuple(map(_changes, FORMATS)), (NotMerged,)),
    "layer": Target(_layer, (gzip.compress(_archive(), mtime=0), _archive())),
    "estargz": Target(_table(Codec.GZIP), (_toc(),)),
    "zstd-chunked": Target(_table(Codec.ZSTD), (_toc(),)),
    "gzip": Target(_members, (gzip.compress(_archive(), mtime=0),)),
    "checkpoint": Target(_checkpoint, (b"\0" + zlib.compress(_archive(), wbits=-15) + bytes(8),)),
    "index": Target(_index, (_read_index(),), (UnusableIndex,)),
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
    "control": Target(_control, (_CONTROL,)),
    "network": Target(_network, (_connecting(),), (InvalidFrame,)),
    "answer": Target(_answer, (_ANSWER,), (InvalidMessage,)),
    "request": Target(_request, (_REQUEST,), (InvalidMessage,)),
    "trunk": Target(_trunk, (_neighbour(),), (InvalidFrame, TrunkError)),
    "websocket": Target(_websocket, (_FRAMES,)),
    "name": Target(_name, (_QUERY,)),
}
