"""A 9P2000.L server of a read-only tree, as a state machine: frames in, frames out.

The server never resolves symlinks and holds no host path: a fid is an inode.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from itertools import chain, islice
from typing import Any, TypeAlias

from browsermount.errors import InvalidState
from browsermount.layers.entry import FileType
from browsermount.ninep import wire
from browsermount.ninep.errno import Errno, NinepError, errno_of
from browsermount.rootfs.inode import Inode

MSIZE = 512_000
"""The largest frame in bytes; more than the guest's virtio transport cannot take."""

MIN_MSIZE = 4096
VERSION = b"9P2000.L"
MAX_FIDS = 1 << 20

_V9FS_MAGIC = 0x01021997
_BLOCK_SIZE = 4096
_GETATTR_BASIC = 0x7FF  # mode to blocks: what Linux's stat needs
_F_UNLCK = 2
_LOCK_SUCCESS = 0

# open(2) flags of Linux on x86 and the generic architectures, which 9P2000.L uses on the wire.
_O_ACCMODE = 0o3
_O_CREAT = 0o100
_O_TRUNC = 0o1000
_O_DIRECTORY = 0o200000

Reply: TypeAlias = bytes | Coroutine[Any, Any, bytes | None]
"""A frame, or a coroutine whose result is the frame, or None where the request was given up."""


@dataclass(slots=True)
class Fid:
    """What a client's number for a file stands for.

    Attributes:
        inode: The file.
        open: Whether it may be read.
        xattr: The name of the extended attribute that this is, empty for the list of them. What
            reading gives is made then: a client may have very many fids.
    """

    inode: Inode
    open: bool = False
    xattr: bytes | None = None


@dataclass(slots=True)
class _Waiting:
    """A request whose reply has to wait, and the task that waits for it once there is one."""

    flushed: bool = False
    task: asyncio.Task[Any] | None = None

    def give_up(self) -> None:
        """Let the request end without a reply."""
        self.flushed = True
        if self.task is not None:
            self.task.cancel()


@dataclass(slots=True)
class _Session:
    msize: int = MSIZE
    ready: bool = False
    fids: dict[int, Fid] = field(default_factory=dict)
    waiting: dict[int, _Waiting] = field(default_factory=dict)


class Server:
    """Answers the frames of one client.

    Args:
        root: The directory that clients attach to.
        msize: The largest frame in bytes that is taken and given.
    """

    def __init__(self, root: Inode, *, msize: int = MSIZE) -> None:
        self._root = root
        self._max_msize = msize
        self._session = _Session(msize)
        self._usage: tuple[int, int] | None = None

    @property
    def msize(self) -> int:
        """The largest frame in bytes that this session has agreed on."""
        return self._session.msize

    def handle(self, frame: bytes) -> Reply:
        """Answer one frame.

        Nothing is raised, whatever the frame holds.  A frame without a whole header, or of
        another length than it says, means that the two sides no longer agree where frames
        begin: the session is reset, and the reply is empty.

        Returns:
            The reply frame, or a coroutine to be awaited for it.
        """
        if len(frame) < wire.HEADER.size:
            return self._reset()
        size, number, tag = wire.HEADER.unpack_from(frame)
        if size != len(frame):
            return self._reset()
        try:
            if size > self._session.msize:
                raise NinepError(Errno.EMSGSIZE)
            message = wire.MESSAGES.get(number)
            handler = _HANDLERS.get(number)
            if message is None or handler is None:
                raise NinepError(Errno.EOPNOTSUPP)
            request = message.decode(frame[wire.HEADER.size :])
            if tag in self._session.waiting:
                raise NinepError(Errno.EINVAL)
            if not self._session.ready and number != wire.Tversion.TYPE:
                raise NinepError(Errno.EPROTO)
            answer = handler(self, request)
            if isinstance(answer, wire.Message):
                return answer.encode(tag)
        except wire.WireError:
            return _error(tag, Errno.EINVAL)
        except Exception as error:
            return _error(tag, errno_of(error))
        waiting = self._session.waiting[tag] = _Waiting()
        return self._later(tag, waiting, answer)

    async def _later(
        self, tag: int, waiting: _Waiting, answer: Coroutine[Any, Any, wire.Message]
    ) -> bytes | None:
        session = self._session
        if waiting.flushed:
            answer.close()
            return None
        waiting.task = asyncio.current_task()
        try:
            reply = (await answer).encode(tag)
        except asyncio.CancelledError:
            if waiting.flushed:
                return None
            raise
        except Exception as error:
            reply = _error(tag, errno_of(error))
        finally:
            waiting.task = None
            if session.waiting.get(tag) is waiting:
                del session.waiting[tag]
        return None if waiting.flushed else reply

    def save(self, tree: str) -> dict[str, Any]:
        """Return what the client's kernel relies on, for :meth:`restore`.

        Requests that wait for their reply are not in it: the client is to send them again, which
        may be done with reads alone.

        Args:
            tree: What the served tree is known by; see :attr:`browsermount.mount.Mount.identity`.

        Returns:
            JSON's types: the fids as lists of the number, the inode number, whether it is open,
            and for an extended attribute its name in hexadecimal digits.
        """
        session = self._session
        return {
            "tree": tree,
            "msize": session.msize,
            "ready": session.ready,
            "fids": [
                [number, fid.inode.ino, int(fid.open)]
                + ([] if fid.xattr is None else [fid.xattr.hex()])
                for number, fid in session.fids.items()
            ],
        }

    def restore(self, saved: object, tree: str) -> None:
        """Go on with a session that :meth:`save` has described.

        Args:
            saved: What it has returned.
            tree: What the served tree is known by.

        Raises:
            InvalidState: It is not that, or of another tree.
        """
        try:
            known, session = self._restored(saved)
        except (TypeError, ValueError, KeyError, AttributeError):
            raise InvalidState("what it says of the image's files makes no sense") from None
        if known != tree:
            raise InvalidState(
                "it belongs to another image, or to files that were numbered otherwise",
                hint="Take the image that it was made of, and the version that made it; or start "
                "the image anew.",
            )
        self._reset()
        self._session = session

    def _restored(self, saved: Any) -> tuple[str, _Session]:
        inodes = {inode.ino: inode for _, inode in self._root.walk()}
        session = _Session(int(saved["msize"]), bool(saved["ready"]))
        if not MIN_MSIZE <= session.msize <= self._max_msize or len(saved["fids"]) > MAX_FIDS:
            raise ValueError
        for number, ino, is_open, *xattr in saved["fids"]:
            if type(number) is not int or not 0 <= number < wire.NOFID:
                raise ValueError
            # Another tree has other numbers: that is not this one's fault, and said by its name.
            inode = inodes.get(ino, self._root)
            name = bytes.fromhex(xattr[0]) if xattr else None
            session.fids[number] = Fid(inode, bool(is_open), name)
        return str(saved["tree"]), session

    def _reset(self) -> bytes:
        """Forget the session; its waiting requests are not answered any more."""
        for waiting in self._session.waiting.values():
            waiting.give_up()
        self._session = _Session(self._max_msize)
        return b""

    def _fid(self, number: int) -> Fid:
        try:
            return self._session.fids[number]
        except KeyError:
            raise NinepError(Errno.EBADF) from None

    def _new_fid(self, number: int, fid: Fid) -> None:
        fids = self._session.fids
        if number in fids or number == wire.NOFID:
            raise NinepError(Errno.EBADF)
        if len(fids) >= MAX_FIDS:
            raise NinepError(Errno.ENFILE)
        fids[number] = fid

    def _parent(self, inode: Inode) -> Inode:
        if not inode.is_directory:
            raise NinepError(Errno.ENOTDIR)
        # Above the root there is nothing to be seen.
        return inode if inode is self._root else inode.parent

    def _entries(self, inode: Inode, offset: int) -> Iterator[bytes]:
        """Iterate over a directory's entries as they stand in an Rreaddir, from one of them on.

        Nothing is kept of them: any program in the container can hold very many directories open.
        """
        named = chain([(b".", inode), (b"..", self._parent(inode))], inode.children.items())
        for number, (name, child) in enumerate(islice(named, offset, None), offset + 1):
            # DT_ values are the file type bits of st_mode, shifted (readdir(3), IFTODT).
            yield wire.DirEntry(qid_of(child), number, child.type >> 12, name).encode()

    # One method for each request, in the order of their numbers.

    def _statfs(self, request: wire.Tstatfs) -> wire.Message:
        self._fid(request.fid)
        if self._usage is None:
            blocks = files = 0
            for _, inode in self._root.walk():
                blocks += -(-inode.size // _BLOCK_SIZE)
                files += 1
            self._usage = blocks, files
        blocks, files = self._usage
        return wire.Rstatfs(_V9FS_MAGIC, _BLOCK_SIZE, blocks, 0, 0, files, 0, 0, 255)

    def _lopen(self, request: wire.Tlopen) -> wire.Message:
        fid = self._fid(request.fid)
        inode = fid.inode
        if fid.open or fid.xattr is not None:
            raise NinepError(Errno.EINVAL)
        if request.flags & (_O_ACCMODE | _O_CREAT | _O_TRUNC):
            raise NinepError(Errno.EROFS)
        if request.flags & _O_DIRECTORY and not inode.is_directory:
            raise NinepError(Errno.ENOTDIR)
        if inode.type is FileType.SYMLINK:
            raise NinepError(Errno.ELOOP)
        if inode.type not in (FileType.REGULAR, FileType.DIRECTORY):
            raise NinepError(Errno.ENXIO)  # devices are the guest's own business
        fid.open = True
        return wire.Rlopen(qid_of(inode), 0)

    def _readlink(self, request: wire.Treadlink) -> wire.Message:
        inode = self._fid(request.fid).inode
        if inode.type is not FileType.SYMLINK:
            raise NinepError(Errno.EINVAL)
        return wire.Rreadlink(inode.target)

    def _getattr(self, request: wire.Tgetattr) -> wire.Message:
        inode = self._fid(request.fid).inode
        size = inode.size
        seconds, nanoseconds = divmod(inode.mtime_ns, 1_000_000_000)
        seconds &= 0xFFFFFFFFFFFFFFFF  # times before 1970, as the two's complement they are
        return wire.Rgetattr(
            _GETATTR_BASIC,
            qid_of(inode),
            inode.type | inode.mode,
            inode.uid,
            inode.gid,
            inode.nlink,
            _device_number(*inode.rdev),
            size,
            _BLOCK_SIZE,
            -(-size // 512),
            seconds,
            nanoseconds,
            seconds,
            nanoseconds,
            seconds,
            nanoseconds,
            0,
            0,
            0,
            0,
        )

    def _xattrwalk(self, request: wire.Txattrwalk) -> wire.Message:
        inode = self._fid(request.fid).inode
        value = _xattr(inode, request.name)
        if request.newfid == request.fid:
            raise NinepError(Errno.EBADF)
        self._new_fid(request.newfid, Fid(inode, open=True, xattr=request.name))
        return wire.Rxattrwalk(len(value))

    def _readdir(self, request: wire.Treaddir) -> wire.Message:
        fid = self._fid(request.fid)
        if not fid.open:
            raise NinepError(Errno.EBADF)
        if not fid.inode.is_directory or fid.xattr is not None:
            raise NinepError(Errno.ENOTDIR)
        if request.offset >= len(fid.inode.children) + 2:
            return wire.Rreaddir(b"")
        room = min(request.count, self._session.msize - wire.READ_OVERHEAD)
        data: list[bytes] = []
        for entry in self._entries(fid.inode, request.offset):
            room -= len(entry)
            if room < 0:
                break
            data.append(entry)
        if not data:
            raise NinepError(Errno.EINVAL)  # as Linux where not even one entry has room
        return wire.Rreaddir(b"".join(data))

    def _fsync(self, request: wire.Tfsync) -> wire.Message:
        self._fid(request.fid)
        return wire.Rfsync()

    def _lock(self, request: wire.Tlock) -> wire.Message:
        # There is one client, and its kernel sorts out the locks among its processes.
        self._fid(request.fid)
        return wire.Rlock(_LOCK_SUCCESS)

    def _getlock(self, request: wire.Tgetlock) -> wire.Message:
        self._fid(request.fid)
        return wire.Rgetlock(
            _F_UNLCK, request.start, request.length, request.proc_id, request.client_id
        )

    def _version(self, request: wire.Tversion) -> wire.Message:
        if request.msize < MIN_MSIZE:
            raise NinepError(Errno.EINVAL)
        self._reset()
        if request.version != VERSION:
            return wire.Rversion(min(request.msize, self._max_msize), b"unknown")
        self._session.msize = min(request.msize, self._max_msize)
        self._session.ready = True
        return wire.Rversion(self._session.msize, VERSION)

    def _auth(self, request: wire.Tauth) -> wire.Message:
        # No authentication is needed. diod's clients take no other number for that, and the
        # Linux client does not ask.
        raise NinepError(Errno.NONE)

    def _attach(self, request: wire.Tattach) -> wire.Message:
        if request.afid != wire.NOFID:
            raise NinepError(Errno.EINVAL)
        inode = self._root
        for name in filter(None, request.aname.split(b"/")):
            inode = _child(inode, name)
        self._new_fid(request.fid, Fid(inode))
        return wire.Rattach(qid_of(inode))

    def _flush(self, request: wire.Tflush) -> wire.Message:
        waiting = self._session.waiting.pop(request.oldtag, None)
        if waiting is not None:
            waiting.give_up()
        return wire.Rflush()

    def _walk(self, request: wire.Twalk) -> wire.Message:
        fid = self._fid(request.fid)
        if len(request.names) > wire.MAX_WELEM or fid.xattr is not None:
            raise NinepError(Errno.EINVAL)
        if fid.open and request.newfid == request.fid:
            raise NinepError(Errno.EBADF)
        # walk(5) forbids other walks from an open fid too, but Linux may clone the one that it
        # has when a file is opened a second time: from 5.11 until that was reverted always
        # ("fs/9p: search open fids first"), else where the dentry has no fid of its own.
        inode = fid.inode
        qids: list[wire.Qid] = []
        for name in request.names:
            try:
                inode = self._parent(inode) if name == b".." else _child(inode, name)
            except NinepError:
                if not qids:
                    raise
                return wire.Rwalk(tuple(qids))  # a part of the way: newfid stays free
            qids.append(qid_of(inode))
        if request.newfid == request.fid:
            fid.inode = inode
        else:
            self._new_fid(request.newfid, Fid(inode))
        return wire.Rwalk(tuple(qids))

    def _read(self, request: wire.Tread) -> wire.Message | Coroutine[Any, Any, wire.Message]:
        fid = self._fid(request.fid)
        if not fid.open:
            raise NinepError(Errno.EBADF)
        count = min(request.count, self._session.msize - wire.READ_OVERHEAD)
        if fid.xattr is not None:
            value = _xattr(fid.inode, fid.xattr)
            return wire.Rread(value[request.offset : request.offset + count])
        if fid.inode.is_directory:
            raise NinepError(Errno.EISDIR)
        content = fid.inode.content
        count = min(count, content.size - request.offset)
        if count <= 0:
            return wire.Rread(b"")
        data = content.read_now(request.offset, count)
        if data is not None:
            return wire.Rread(data)

        async def read() -> wire.Message:
            return wire.Rread(await content.read(request.offset, count))

        return read()

    def _clunk(self, request: wire.Tclunk) -> wire.Message:
        self._fid(request.fid)
        del self._session.fids[request.fid]
        return wire.Rclunk()

    def _remove(self, request: wire.Tremove) -> wire.Message:
        # remove(5): the fid is clunked even when the remove fails.
        self._fid(request.fid)
        del self._session.fids[request.fid]
        raise NinepError(Errno.EROFS)

    def _change(self, request: wire.Message) -> wire.Message:
        raise NinepError(Errno.EROFS)


_HANDLERS: dict[int, Callable[[Server, Any], wire.Message | Coroutine[Any, Any, wire.Message]]] = {
    wire.Tstatfs.TYPE: Server._statfs,
    wire.Tlopen.TYPE: Server._lopen,
    wire.Treadlink.TYPE: Server._readlink,
    wire.Tgetattr.TYPE: Server._getattr,
    wire.Txattrwalk.TYPE: Server._xattrwalk,
    wire.Treaddir.TYPE: Server._readdir,
    wire.Tfsync.TYPE: Server._fsync,
    wire.Tlock.TYPE: Server._lock,
    wire.Tgetlock.TYPE: Server._getlock,
    wire.Tversion.TYPE: Server._version,
    wire.Tauth.TYPE: Server._auth,
    wire.Tattach.TYPE: Server._attach,
    wire.Tflush.TYPE: Server._flush,
    wire.Twalk.TYPE: Server._walk,
    wire.Tread.TYPE: Server._read,
    wire.Tclunk.TYPE: Server._clunk,
    wire.Tremove.TYPE: Server._remove,
    **{
        message.TYPE: Server._change
        for message in (
            wire.Tlcreate,
            wire.Tsymlink,
            wire.Tmknod,
            wire.Trename,
            wire.Tsetattr,
            wire.Txattrcreate,
            wire.Tlink,
            wire.Tmkdir,
            wire.Trenameat,
            wire.Tunlinkat,
            wire.Twrite,
        )
    },
}


def qid_of(inode: Inode) -> wire.Qid:
    """Return an inode's identity; the tree never changes, so neither do versions."""
    # Newer versions of Linux (v9fs_fid_add_modes) do not cache files whose version is 0.
    return wire.Qid(_QID_TYPES.get(inode.type, wire.QTFILE), 1, inode.ino)


_QID_TYPES = {FileType.DIRECTORY: wire.QTDIR, FileType.SYMLINK: wire.QTSYMLINK}


def _child(inode: Inode, name: bytes) -> Inode:
    if not inode.is_directory:
        raise NinepError(Errno.ENOTDIR)
    child = inode.children.get(name)
    if child is None:
        raise NinepError(Errno.ENAMETOOLONG if len(name) > 255 else Errno.ENOENT)
    return child


def _xattr(inode: Inode, name: bytes) -> bytes:
    """Return an extended attribute's value, or the list of their names where ``name`` is empty."""
    if not name:
        return b"".join(name + b"\0" for name in inode.xattrs)
    value = inode.xattrs.get(name)
    if value is None:
        raise NinepError(Errno.ENODATA)
    return value


def _device_number(major: int, minor: int) -> int:
    """Return ``st_rdev`` as Linux's new_encode_dev has it, which v9fs decodes."""
    return (minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)


def _error(tag: int, errno: Errno) -> bytes:
    return wire.Rlerror(errno).encode(tag)
