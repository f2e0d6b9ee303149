"""The bounds on what an image may ask of us: one home for the numbers."""

MAX_LAYERS = 512
"""Layers of an image. Container engines stop at about 128; each costs requests and an index."""

MAX_BLOB_URLS = 8
"""Addresses of a blob (descriptor.md, ``urls``) that are asked: each is a request to any server."""

MAX_CONNECTIONS = 512
"""TCP connections of a guest at once. Linux gives a process 1024 descriptors by default."""

SEND_BUFFER = 256 << 10
"""Bytes for the guest that a connection holds, with those that are not acknowledged."""

RECEIVE_BUFFER = 256 << 10
"""Bytes of the guest that a connection holds until they are read: its window."""

MAX_NAMES = 4096
"""Names that have an address at once where addresses stand for names."""

MAX_UDP_FLOWS = 256
"""Pairs of ports between which datagrams go at once; the one that is silent longest goes."""

MAX_HTTP_HEAD = 64 << 10
"""Bytes of a request's line and headers."""

MAX_HTTP_BODY = 256 << 20
"""Bytes that a request uploads through the browser, which takes them at once."""
