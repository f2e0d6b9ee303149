"""The one place that maps exceptions to the error numbers that a Linux guest knows.

The numbers are Linux's (asm-generic/errno.h) whatever the host is: Pyodide's
:mod:`errno` has those of WASI.
"""

from __future__ import annotations

import errno as host_errno
from enum import IntEnum


class Errno(IntEnum):
    """Linux error numbers that the server answers with."""

    NONE = 0
    ENOENT = 2
    EIO = 5
    ENXIO = 6
    EBADF = 9
    ENOMEM = 12
    ENOTDIR = 20
    EISDIR = 21
    EINVAL = 22
    ENFILE = 23
    EROFS = 30
    ENAMETOOLONG = 36
    ELOOP = 40
    ENODATA = 61
    EPROTO = 71
    EMSGSIZE = 90
    EOPNOTSUPP = 95


class NinepError(Exception):
    """A request fails with this error number."""

    def __init__(self, errno: Errno) -> None:
        super().__init__(errno.name)
        self.errno = errno


_FROM_HOST = {
    getattr(host_errno, name): number
    for name, number in Errno.__members__.items()
    if hasattr(host_errno, name)
}


def errno_of(error: Exception) -> Errno:
    """Return the error number that tells a Linux guest about ``error``."""
    match error:
        case NinepError():
            return error.errno
        case OSError():
            return _FROM_HOST.get(error.errno or 0, Errno.EIO)
        case MemoryError():
            return Errno.ENOMEM
        case _:
            return Errno.EIO
