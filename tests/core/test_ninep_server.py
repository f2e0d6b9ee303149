"""The server's behaviour, request by request, as a client sees it."""

import tarfile
from collections.abc import Coroutine
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsermount.ninep import Server, wire
from browsermount.ninep.errno import Errno, errno_of
from browsermount.rootfs.inode import Inode

from .client import Client
from .images import hardlink, member, symlink, tar
from .loop import run
from .test_ninep_wire import messages
from .test_rootfs import merge


def tree() -> Inode:
    return merge(
        tar(
            member("dir/", mode=0o1777, uid=1, gid=2, mtime=5),
            member(
                "dir/file", b"0123456789" * 1000, mode=0o4755, uid=3, gid=4, mtime=1_700_000_000
            ),
            hardlink("hard", "dir/file"),
            symlink("link", "dir/file"),
            member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3),
            member("sda", type=tarfile.BLKTYPE, devmajor=259, devminor=70000),
            member("pipe", type=tarfile.FIFOTYPE),
            member("old", b"", mtime=-10),
            member("attr", b"x", pax={"SCHILY.xattr.user.a": "1", "SCHILY.xattr.user.b": "two"}),
            member("many/", b""),
            *(member(f"many/{i:04}", b"") for i in range(1000)),
        )
    )


@pytest.fixture
def client() -> Client:
    return Client(tree())


def attributes(client: Client, *names: bytes) -> wire.Rgetattr:
    return client.ask(wire.Tgetattr(client.walk(*names), 0x7FF), wire.Rgetattr)


class Slow:
    """A content that has to be awaited."""

    size = 10

    def __init__(self) -> None:
        self.error: Exception | None = None

    def read_now(self, offset: int, size: int) -> bytes | None:
        return None

    async def read(self, offset: int, size: int) -> bytes:
        if self.error:
            raise self.error
        return b"slow bytes"[offset : offset + size]


@pytest.fixture
def slow(client: Client) -> tuple[Client, int, Slow]:
    root = client.server._root
    content = Slow()
    root.children[b"old"].content = content
    return client, client.open(b"old"), content


def later(client: Client, request: wire.Message, tag: int) -> Coroutine[Any, Any, bytes | None]:
    reply = client.server.handle(request.encode(tag))
    assert not isinstance(reply, bytes)
    return reply


def finish(reply: Coroutine[Any, Any, bytes | None]) -> tuple[int, wire.Message] | None:
    frame = run(reply)
    return None if frame is None else wire.decode(frame)


class TestVersion:
    def test_msize_is_the_smaller_one(self) -> None:
        server = Server(tree(), msize=100_000)
        for asked, given_ in ((8192, 8192), (500_000, 100_000)):
            frame = server.handle(wire.Tversion(asked, b"9P2000.L").encode(wire.NOTAG))
            assert isinstance(frame, bytes)
            assert wire.decode(frame) == (wire.NOTAG, wire.Rversion(given_, b"9P2000.L"))

    @pytest.mark.parametrize("version", [b"9P2000", b"9P2000.u", b"", b"9P2000.Lx"])
    def test_other_dialects_are_unknown(self, version: bytes) -> None:
        server = Server(tree())
        frame = server.handle(wire.Tversion(8192, version).encode(1))
        assert isinstance(frame, bytes)
        assert wire.decode(frame)[1] == wire.Rversion(8192, b"unknown")
        frame = server.handle(wire.Tattach(0, wire.NOFID, b"", b"", 0).encode(1))
        assert isinstance(frame, bytes)
        assert wire.decode(frame)[1] == wire.Rlerror(Errno.EPROTO)

    def test_a_tiny_msize_is_refused(self, client: Client) -> None:
        assert client.error(wire.Tversion(100, b"9P2000.L")) == Errno.EINVAL

    def test_it_starts_afresh(self, client: Client) -> None:
        fid = client.open(b"dir", b"file")
        client.ask(wire.Tversion(8192, b"9P2000.L"), wire.Rversion)
        assert client.error(wire.Tread(fid, 0, 1)) == Errno.EBADF

    def test_frames_beyond_msize_are_refused(self, client: Client) -> None:
        client.ask(wire.Tversion(4096, b"9P2000.L"), wire.Rversion)
        assert client.error(wire.Twrite(0, 0, bytes(5000))) == Errno.EMSGSIZE


class TestAttach:
    def test_below_the_root(self, client: Client) -> None:
        client.ask(wire.Tattach(50, wire.NOFID, b"", b"/dir/", 0), wire.Rattach)
        client.walk(b"file", start=50)
        assert client.error(wire.Tattach(51, wire.NOFID, b"", b"/no", 0)) == Errno.ENOENT

    def test_no_authentication(self, client: Client) -> None:
        assert client.error(wire.Tauth(9, b"root", b"", 0)) == Errno.NONE
        assert client.error(wire.Tattach(9, 8, b"root", b"", 0)) == Errno.EINVAL

    def test_a_fid_in_use(self, client: Client) -> None:
        assert client.error(wire.Tattach(0, wire.NOFID, b"", b"", 0)) == Errno.EBADF


class TestWalk:
    def test_qids_tell_types_and_hard_links(self, client: Client) -> None:
        reply = client.ask(wire.Twalk(0, 1, (b"dir", b"file")), wire.Rwalk)
        assert [qid.type for qid in reply.qids] == [wire.QTDIR, wire.QTFILE]
        assert client.ask(wire.Twalk(0, 2, (b"hard",)), wire.Rwalk).qids == reply.qids[1:]
        assert client.ask(wire.Twalk(0, 3, (b"link",)), wire.Rwalk).qids[0].type == wire.QTSYMLINK

    def test_nowhere_clones(self, client: Client) -> None:
        assert client.ask(wire.Twalk(0, 1, ()), wire.Rwalk).qids == ()
        assert client.walk(b"dir", start=1)

    def test_to_itself(self, client: Client) -> None:
        fid = client.walk(b"dir")
        client.ask(wire.Twalk(fid, fid, (b"file",)), wire.Rwalk)
        assert client.ask(wire.Tgetattr(fid, 0), wire.Rgetattr).size == 10000

    def test_part_of_the_way(self, client: Client) -> None:
        assert len(client.ask(wire.Twalk(0, 9, (b"dir", b"no", b"x")), wire.Rwalk).qids) == 1
        assert client.error(wire.Tgetattr(9, 0)) == Errno.EBADF
        assert client.error(wire.Twalk(0, 9, (b"no", b"x"))) == Errno.ENOENT

    def test_dot_dot(self, client: Client) -> None:
        fid = client.walk(b"dir")
        root = client.ask(wire.Tgetattr(0, 0), wire.Rgetattr).qid
        reply = client.ask(wire.Twalk(fid, 9, (b"..", b"..", b"dir")), wire.Rwalk)
        assert reply.qids[0] == reply.qids[1] == root

    def test_symlinks_are_not_followed(self, client: Client) -> None:
        fid = client.walk(b"link")
        assert client.error(wire.Twalk(fid, 9, (b"x",))) == Errno.ENOTDIR

    @pytest.mark.parametrize("name", [b"", b".", b"dir/file", b"/", b"\0", b"dir\0"])
    def test_names_that_are_none(self, client: Client, name: bytes) -> None:
        assert client.error(wire.Twalk(0, 9, (name,))) == Errno.ENOENT

    def test_an_open_fid_can_be_cloned(self, client: Client) -> None:
        # Linux may open a file that is open already in this way; see the server.
        opened = client.open(b"dir")
        client.ask(wire.Twalk(opened, 9, ()), wire.Rwalk)
        client.ask(wire.Tlopen(9, 0), wire.Rlopen)

    def test_refused(self, client: Client) -> None:
        opened = client.open(b"dir")
        assert client.error(wire.Twalk(0, 0xFFFFFFFF, ())) == Errno.EBADF
        assert client.error(wire.Twalk(77, 9, ())) == Errno.EBADF
        assert client.error(wire.Twalk(0, opened, ())) == Errno.EBADF
        assert client.error(wire.Twalk(opened, opened, ())) == Errno.EBADF
        assert client.error(wire.Twalk(0, 9, (b"..",) * 17)) == Errno.EINVAL
        assert client.error(wire.Twalk(0, 9, (b"n" * 300,))) == Errno.ENAMETOOLONG


class TestGetattr:
    def test_file(self, client: Client) -> None:
        reply = attributes(client, b"dir", b"file")
        assert (reply.mode, reply.uid, reply.gid, reply.nlink) == (0o104755, 3, 4, 2)
        assert (reply.size, reply.blocks, reply.blksize) == (10000, 20, 4096)
        assert (reply.mtime_sec, reply.mtime_nsec) == (1_700_000_000, 0)
        assert reply.valid & 0x7FF == 0x7FF

    def test_other_types(self, client: Client) -> None:
        assert attributes(client, b"dir").mode == 0o041777
        assert attributes(client, b"link").mode & 0o170000 == 0o120000
        assert attributes(client, b"link").size == len("dir/file")
        assert attributes(client, b"pipe").mode & 0o170000 == 0o010000

    def test_devices_as_the_kernel_encodes_them(self, client: Client) -> None:
        assert attributes(client, b"null").rdev == 0x103
        major, minor = 259, 70000
        expected = (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)
        assert attributes(client, b"sda").rdev == expected

    def test_times_before_1970(self, client: Client) -> None:
        assert attributes(client, b"old").mtime_sec == 2**64 - 10


class TestRead:
    def test_file(self, client: Client) -> None:
        assert client.read(b"dir", b"file") == b"0123456789" * 1000

    def test_ends(self, client: Client) -> None:
        fid = client.open(b"dir", b"file")
        for offset, count, data in (
            (9998, 100, b"89"),
            (10000, 100, b""),
            (1 << 63, 100, b""),
            (0, 0, b""),
        ):
            assert client.ask(wire.Tread(fid, offset, count), wire.Rread).data == data

    def test_no_more_than_msize(self, client: Client) -> None:
        client.ask(wire.Tversion(4096, b"9P2000.L"), wire.Rversion)
        client.ask(wire.Tattach(0, wire.NOFID, b"", b"", 0), wire.Rattach)
        fid = client.open(b"dir", b"file")
        assert len(client.ask(wire.Tread(fid, 0, 0xFFFFFFFF), wire.Rread).encode(1)) == 4096

    def test_refused(self, client: Client) -> None:
        assert client.error(wire.Tread(client.walk(b"hard"), 0, 1)) == Errno.EBADF
        assert client.error(wire.Tread(client.open(b"dir"), 0, 1)) == Errno.EISDIR
        assert client.error(wire.Tread(99, 0, 1)) == Errno.EBADF


class TestOpen:
    @pytest.mark.parametrize("flags", [0o1, 0o2, 0o3, 0o100, 0o1000, 0o101])
    def test_for_writing(self, client: Client, flags: int) -> None:
        assert client.error(wire.Tlopen(client.walk(b"hard"), flags)) == Errno.EROFS

    def test_what_cannot_be_opened(self, client: Client) -> None:
        assert client.error(wire.Tlopen(client.walk(b"link"), 0)) == Errno.ELOOP
        assert client.error(wire.Tlopen(client.walk(b"null"), 0)) == Errno.ENXIO
        assert client.error(wire.Tlopen(client.walk(b"pipe"), 0)) == Errno.ENXIO
        assert client.error(wire.Tlopen(client.walk(b"hard"), 0o200000)) == Errno.ENOTDIR
        assert client.error(wire.Tlopen(client.open(b"hard"), 0)) == Errno.EINVAL

    def test_other_flags_do_no_harm(self, client: Client) -> None:
        client.ask(wire.Tlopen(client.walk(b"dir"), 0o200000 | 0o2000000 | 0o4000), wire.Rlopen)


class TestReaddir:
    @pytest.mark.parametrize("count", [50, 100, 4000, 1 << 20])
    def test_all_once(self, client: Client, count: int) -> None:
        entries = client.readdir(b"many", count=count)
        names = [entry.name for entry in entries]
        assert names[:2] == [b".", b".."]
        assert names[2:] == [b"%04d" % i for i in range(1000)]

    def test_types_and_identities(self, client: Client) -> None:
        entries = {entry.name: entry for entry in client.readdir()}
        types = {name: entry.type for name, entry in entries.items()}
        assert types[b"dir"] == types[b"."] == 4
        assert (types[b"hard"], types[b"link"], types[b"pipe"]) == (8, 10, 1)
        assert (types[b"null"], types[b"sda"]) == (2, 6)
        assert entries[b"hard"].qid == attributes(client, b"dir", b"file").qid
        assert entries[b".."].qid == entries[b"."].qid == attributes(client).qid

    def test_refused(self, client: Client) -> None:
        fid = client.open(b"many")
        assert client.error(wire.Treaddir(fid, 0, 10)) == Errno.EINVAL
        assert client.error(wire.Treaddir(client.open(b"hard"), 0, 1000)) == Errno.ENOTDIR
        assert client.error(wire.Treaddir(client.walk(b"many"), 0, 1000)) == Errno.EBADF
        assert client.ask(wire.Treaddir(fid, 1 << 62, 1000), wire.Rreaddir).data == b""


class TestXattrwalk:
    def test_list_and_values(self, client: Client) -> None:
        fid = client.walk(b"attr")
        assert client.ask(wire.Txattrwalk(fid, 90, b""), wire.Rxattrwalk).size == 14
        assert client.ask(wire.Tread(90, 0, 100), wire.Rread).data == b"user.a\0user.b\0"
        assert client.ask(wire.Txattrwalk(fid, 91, b"user.b"), wire.Rxattrwalk).size == 3
        assert client.ask(wire.Tread(91, 1, 100), wire.Rread).data == b"wo"
        client.ask(wire.Tclunk(91), wire.Rclunk)

    def test_refused(self, client: Client) -> None:
        fid = client.walk(b"attr")
        assert client.error(wire.Txattrwalk(fid, 90, b"user.no")) == Errno.ENODATA
        assert client.error(wire.Txattrwalk(fid, fid, b"")) == Errno.EBADF
        client.ask(wire.Txattrwalk(fid, 90, b""), wire.Rxattrwalk)
        assert client.error(wire.Twalk(90, 91, ())) == Errno.EINVAL
        assert client.error(wire.Tlopen(90, 0)) == Errno.EINVAL
        assert client.error(wire.Treaddir(90, 0, 100)) == Errno.ENOTDIR


def test_readlink(client: Client) -> None:
    reply = client.ask(wire.Treadlink(client.walk(b"link")), wire.Rreadlink)
    assert reply.target == b"dir/file"
    assert client.error(wire.Treadlink(client.walk(b"hard"))) == Errno.EINVAL


def test_statfs(client: Client) -> None:
    reply = client.ask(wire.Tstatfs(0), wire.Rstatfs)
    assert (reply.fstype, reply.bsize, reply.namelen) == (0x01021997, 4096, 255)
    assert (reply.bfree, reply.bavail, reply.ffree) == (0, 0, 0)
    assert reply.files > 1000


def test_locks_and_fsync(client: Client) -> None:
    fid = client.open(b"hard")
    assert client.ask(wire.Tlock(fid, 0, 0, 0, 0, 1, b"c"), wire.Rlock).status == 0
    reply = client.ask(wire.Tgetlock(fid, 0, 5, 6, 7, b"c"), wire.Rgetlock)
    assert reply == wire.Rgetlock(2, 5, 6, 7, b"c")
    client.ask(wire.Tfsync(fid, 0), wire.Rfsync)


def test_clunk(client: Client) -> None:
    fid = client.walk(b"dir")
    client.ask(wire.Tclunk(fid), wire.Rclunk)
    assert client.error(wire.Tclunk(fid)) == Errno.EBADF


@pytest.mark.parametrize(
    "request_",
    [
        wire.Tlcreate(0, b"x", 0, 0o644, 0),
        wire.Tsymlink(0, b"x", b"y", 0),
        wire.Tmknod(0, b"x", 0o644, 1, 3, 0),
        wire.Trename(1, 0, b"x"),
        wire.Tsetattr(0, 1, 0o644, 0, 0, 0, 0, 0, 0, 0),
        wire.Txattrcreate(0, b"user.x", 1, 0),
        wire.Tlink(0, 1, b"x"),
        wire.Tmkdir(0, b"x", 0o755, 0),
        wire.Trenameat(0, b"dir", 0, b"x"),
        wire.Tunlinkat(0, b"dir", 0x200),
        wire.Twrite(1, 0, b"x"),
        wire.Tremove(1),
    ],
    ids=lambda message: type(message).__name__,
)
def test_every_change_is_answered_erofs(client: Client, request_: wire.Message) -> None:
    client.walk(b"hard")
    assert client.error(request_) == Errno.EROFS


def test_remove_forgets_its_fid(client: Client) -> None:
    fid = client.walk(b"hard")
    client.error(wire.Tremove(fid))
    assert client.error(wire.Tgetattr(fid, 0)) == Errno.EBADF


class TestWaiting:
    def test_replies_come_out_of_order(self, slow: tuple[Client, int, Slow]) -> None:
        client, fid, _ = slow
        first = later(client, wire.Tread(fid, 0, 4), 7)
        second = later(client, wire.Tread(fid, 5, 100), 8)
        assert client.read(b"hard")
        assert finish(second) == (8, wire.Rread(b"bytes"))
        assert finish(first) == (7, wire.Rread(b"slow"))

    def test_failures_are_error_numbers(self, slow: tuple[Client, int, Slow]) -> None:
        client, fid, content = slow
        content.error = OSError("the network is gone")
        assert finish(later(client, wire.Tread(fid, 0, 4), 7)) == (7, wire.Rlerror(Errno.EIO))
        content.error = RuntimeError("a bug")
        assert finish(later(client, wire.Tread(fid, 0, 4), 7)) == (7, wire.Rlerror(Errno.EIO))

    def test_flushed(self, slow: tuple[Client, int, Slow]) -> None:
        client, fid, _ = slow
        old = later(client, wire.Tread(fid, 0, 4), 7)
        client.ask(wire.Tflush(7), wire.Rflush)
        new = later(client, wire.Tread(fid, 5, 5), 7)
        assert finish(old) is None
        assert finish(new) == (7, wire.Rread(b"bytes"))
        client.ask(wire.Tflush(7), wire.Rflush)

    def test_a_tag_in_use(self, slow: tuple[Client, int, Slow]) -> None:
        client, fid, _ = slow
        waiting = later(client, wire.Tread(fid, 0, 4), 7)
        assert client.send(wire.Tclunk(fid), tag=7) == wire.Rlerror(Errno.EINVAL)
        assert finish(waiting) == (7, wire.Rread(b"slow"))

    def test_a_new_version_gives_them_up(self, slow: tuple[Client, int, Slow]) -> None:
        client, fid, _ = slow
        waiting = later(client, wire.Tread(fid, 0, 4), 7)
        client.ask(wire.Tversion(8192, b"9P2000.L"), wire.Rversion)
        assert finish(waiting) is None


class TestMalformed:
    @pytest.mark.parametrize("frame", [b"", b"\0", b"\7\0\0\0\x78\1", b"\xff\0\0\0\x78\1\0"])
    def test_without_frame_boundaries_the_session_is_reset(
        self, client: Client, frame: bytes
    ) -> None:
        assert client.server.handle(frame) == b""
        assert client.error(wire.Tgetattr(0, 0)) == Errno.EPROTO

    def test_unknown_types(self, client: Client) -> None:
        for number in (0, 6, 7, 106, 112, 126, 255):
            frame = client.server.handle(wire.HEADER.pack(7, number, 5))
            assert isinstance(frame, bytes)
            assert wire.decode(frame) == (5, wire.Rlerror(Errno.EOPNOTSUPP))

    def test_bodies(self, client: Client) -> None:
        for body in (b"", b"\0" * 3, b"\0" * 5, b"\0" * 12 + b"\xff\xff"):
            frame = client.server.handle(wire.HEADER.pack(7 + len(body), 110, 5) + body)
            assert isinstance(frame, bytes)
            assert wire.decode(frame) == (5, wire.Rlerror(Errno.EINVAL))

    @given(st.lists(st.one_of(messages(), st.binary(max_size=60)), max_size=20))
    def test_whatever_comes_is_answered(self, requests: list[wire.Message | bytes]) -> None:
        client = Client(_TREE)
        for request in requests:
            frame = request if isinstance(request, bytes) else request.encode(3)
            reply = client.server.handle(frame)
            assert isinstance(reply, bytes)
            assert len(reply) <= client.server.msize
            if reply:
                wire.decode(reply)


_TREE = tree()


def test_error_numbers_are_those_of_linux() -> None:
    assert errno_of(OSError(1_000_000, "")) == Errno.EIO
    assert errno_of(FileNotFoundError(2, "")) in (Errno.ENOENT, Errno.EIO)
    assert errno_of(MemoryError()) == Errno.ENOMEM
    assert (Errno.ELOOP, Errno.ENODATA, Errno.EOPNOTSUPP) == (40, 61, 95)
