"""Makes a container trust one more certificate authority, as its own tools would.

There is no one place for that.  Programs read a file with all authorities, of which each
distribution has its own path; or, as OpenSSL also does, a file for each authority whose name is a
hash of the authority's; or what a variable names.  What makes these files anew, such as
``update-ca-certificates``, reads a directory of the administrator's.
"""

from __future__ import annotations

import base64
import errno
from collections.abc import Awaitable, Callable, Iterable

from browsermount.errors import BrowsermountError
from browsermount.layers.entry import FileType
from browsermount.rootfs.content import EMPTY, Content
from browsermount.rootfs.inode import Inode
from browsermount.rootfs.tree import Tree, components, lookup

Certificate = Callable[[], Awaitable[bytes]]
"""Gives an authority's certificate, in DER, when it is asked for.

Raises :class:`browsermount.errors.BrowsermountError` where it cannot be had.
"""

ROOM = 1024
"""Bytes that a file has for the certificate: its length is asked for before there is one."""

NAME = b"browsermount"

OWN = b"/usr/local/share/ca-certificates/" + NAME + b".crt"
"""The certificate alone; Debian's and Alpine's ``update-ca-certificates`` look there."""

_BUNDLES = (
    b"/etc/ssl/certs/ca-certificates.crt",  # Debian, Alpine, Arch, Go's first choice
    b"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # Fedora and its like
    b"/etc/pki/tls/certs/ca-bundle.crt",
    b"/etc/pki/tls/cert.pem",
    b"/etc/ssl/ca-bundle.pem",  # openSUSE
    b"/var/lib/ca-certificates/ca-bundle.pem",
    b"/etc/ssl/cert.pem",  # Alpine's OpenSSL and LibreSSL
    b"/etc/ca-certificates/extracted/tls-ca-bundle.pem",  # Arch
)
_ANCHORS = (  # and the directories that say that there is such a tool
    (b"/etc/pki/ca-trust/source", b"anchors"),  # Fedora and its like
    (b"/etc/pki/trust", b"anchors"),  # openSUSE
    (b"/etc/ca-certificates/trust-source", b"anchors"),  # Arch
)
_HASHES = b"/etc/ssl/certs"
# X509_NAME_hash() of tls/src/authority.rs's name; a test compares.
SUBJECT_HASH = b"6289d807"

# Who names a file by these gets the one certificate, since there is no connection for which another
# one is needed: an emulated processor takes seconds to read a distribution's 140 authorities.
_VARIABLES = (
    "SSL_CERT_FILE",  # OpenSSL, Go, Python
    "CURL_CA_BUNDLE",
    "GIT_SSL_CAINFO",
    "REQUESTS_CA_BUNDLE",  # pip and other programs with Python's certifi
    "NODE_EXTRA_CA_CERTS",
)


class TrustContent:
    """A file of certificates, and behind them one that is made when it is read."""

    __slots__ = ("_before", "_certificate", "_text")

    def __init__(self, before: Content, certificate: Certificate) -> None:
        self._before = before
        self._certificate = certificate
        self._text: bytes | None = None

    @property
    def size(self) -> int:
        """The file's length in bytes."""
        return self._before.size + ROOM

    def read_now(self, offset: int, size: int) -> bytes | None:
        """Return up to ``size`` bytes from ``offset``, or None when they have to be awaited."""
        end = self._before.size
        if offset + size <= end:
            return self._before.read_now(offset, size)
        if self._text is None:
            return None
        before = self._before.read_now(offset, end - offset) if offset < end else b""
        return None if before is None else before + self._rest(offset, size)

    async def read(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from ``offset``; see :meth:`Content.read`."""
        end = self._before.size
        before = await self._before.read(offset, min(size, end - offset)) if offset < end else b""
        if offset + size <= end:
            return before
        if self._text is None:
            try:
                self._text = _pem(await self._certificate())
            except BrowsermountError as error:
                raise OSError(errno.EIO, error.message) from error
        return before + self._rest(offset, size)

    def _rest(self, offset: int, size: int) -> bytes:
        assert self._text is not None
        start = offset - self._before.size
        return self._text[max(start, 0) : max(start + size, 0)]


def _pem(certificate: bytes) -> bytes:
    """Return a certificate as text (RFC 7468), with line ends up to its room."""
    encoded = base64.b64encode(certificate)
    lines = [encoded[at : at + 64] for at in range(0, len(encoded), 64)]
    begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
    # The file before it may end without a line end.
    text = b"\n".join((b"", begin, *lines, end, b""))
    assert len(text) <= ROOM
    return text.ljust(ROOM, b"\n")


def add_authority(
    tree: Tree, root: Inode, environment: Iterable[str], certificate: Certificate
) -> tuple[str, ...]:
    """Make a container trust an authority.

    Args:
        tree: Where inode numbers come from.
        root: The container's root directory.
        environment: The container's variables, as ``NAME=value``.
        certificate: Gives the authority's certificate.

    Returns:
        Further variables, as ``NAME=value``, for where the container has none.
    """
    own = _new_file(tree, certificate)
    _put(tree, root, OWN, own)
    for directory, name in _ANCHORS:
        if _is_directory(root, directory):
            _put(tree, root, b"/".join((directory, name, NAME + b".crt")), own)
    bundles = [bundle for bundle in _BUNDLES if _is_file(root, bundle)]
    named = dict(variable.partition("=")[::2] for variable in environment)
    if not bundles:
        _put(tree, root, _BUNDLES[0], own)
    asked = [named[name].encode(errors="surrogateescape") for name in _VARIABLES if name in named]
    _append(root, (*bundles, *asked), certificate)
    _put(tree, root, _HASHES + b"/" + NAME + b".pem", _new_link(tree, OWN))
    _put(tree, root, _HASHES + b"/" + SUBJECT_HASH + b".0", _new_link(tree, NAME + b".pem"))
    return tuple(f"{name}={OWN.decode()}" for name in _VARIABLES)


def _append(root: Inode, paths: Iterable[bytes], certificate: Certificate) -> None:
    """Let files end with the certificate, each once, whatever it is called."""
    for path in paths:
        if _is_file(root, path):
            inode = lookup(root, path)
            if not isinstance(inode.content, TrustContent):
                inode.content = TrustContent(inode.content, certificate)


def _new_file(tree: Tree, certificate: Certificate) -> Inode:
    content = TrustContent(EMPTY, certificate)
    return Inode(tree.new_ino(), FileType.REGULAR, mode=0o644, content=content)


def _new_link(tree: Tree, target: bytes) -> Inode:
    return Inode(tree.new_ino(), FileType.SYMLINK, mode=0o777, target=target)


def _is_directory(root: Inode, path: bytes) -> bool:
    try:
        return lookup(root, path).is_directory
    except OSError:
        return False


def _is_file(root: Inode, path: bytes) -> bool:
    try:
        return lookup(root, path).type is FileType.REGULAR
    except OSError:
        return False


def _put(tree: Tree, root: Inode, path: bytes, inode: Inode) -> None:
    """Give a file a name, where the image has nothing in its way."""
    *parents, name = components(path)
    done = b""
    directory = root
    for parent in parents:
        done += b"/" + parent
        try:
            found = lookup(root, done)
        except OSError as error:
            if error.errno != errno.ENOENT or parent in directory.children:
                return
            found = tree.new_directory()
            directory.link(parent, found)
        if not found.is_directory:
            return
        directory = found
    there = directory.children.get(name)
    if there is None:
        directory.link(name, inode)
    elif not there.is_directory:
        directory.unlink(name)
        directory.link(name, inode)
