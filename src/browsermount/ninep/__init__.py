"""9P2000.L, without any I/O.

Messages are those of 9P2000.L (https://github.com/chaos/diod/blob/master/protocol.md)
and the parts of 9P2000 (http://man.cat-v.org/plan_9/5/intro) that it builds on.
"""

from browsermount.ninep.server import Server

__all__ = ["Server"]
