"""A 9P2000.L client that talks to a server in the same process."""

from __future__ import annotations

from typing import TypeVar

from browsermount.ninep import Server, wire
from browsermount.rootfs.inode import Inode

R = TypeVar("R", bound=wire.Message)


class Client:
    """Sends requests one after the other; fid 0 is the root."""

    def __init__(self, root: Inode, msize: int = 65536) -> None:
        self.server = Server(root)
        self.ask(wire.Tversion(msize, b"9P2000.L"), wire.Rversion)
        self.ask(wire.Tattach(0, wire.NOFID, b"root", b"", 0), wire.Rattach)
        self._last_fid = 0

    def send(self, request: wire.Message, tag: int = 1) -> wire.Message:
        frame = self.server.handle(request.encode(tag))
        assert isinstance(frame, bytes)
        answered, reply = wire.decode(frame)
        assert answered == tag
        return reply

    def ask(self, request: wire.Message, kind: type[R]) -> R:
        reply = self.send(request)
        assert isinstance(reply, kind), reply
        return reply

    def error(self, request: wire.Message) -> int:
        return self.ask(request, wire.Rlerror).ecode

    def walk(self, *names: bytes, start: int = 0) -> int:
        self._last_fid += 1
        reply = self.ask(wire.Twalk(start, self._last_fid, names), wire.Rwalk)
        assert len(reply.qids) == len(names)
        return self._last_fid

    def open(self, *names: bytes) -> int:
        fid = self.walk(*names)
        self.ask(wire.Tlopen(fid, 0), wire.Rlopen)
        return fid

    def read(self, *names: bytes) -> bytes:
        fid = self.open(*names)
        data = b""
        while part := self.ask(wire.Tread(fid, len(data), 1000), wire.Rread).data:
            data += part
        self.ask(wire.Tclunk(fid), wire.Rclunk)
        return data

    def readdir(self, *names: bytes, count: int = 8192) -> list[wire.DirEntry]:
        fid = self.open(*names)
        entries: list[wire.DirEntry] = []
        offset = 0
        while data := self.ask(wire.Treaddir(fid, offset, count), wire.Rreaddir).data:
            entries += wire.decode_entries(data)
            offset = entries[-1].offset
        return entries
