"""The bounds on what others may ask of us: one home for the numbers.

They are looked up when they are needed: whoever embeds the package natively and knows what an
image is may raise them, as in ``limits.MAX_INODES *= 2``.
"""

MAX_LAYERS = 512
"""Layers of an image. Container engines stop at about 128; each costs requests and an index."""

MAX_BLOB_URLS = 8
"""Addresses of a blob (descriptor.md, ``urls``) that are asked: each is a request to any server."""

MAX_REQUESTS = 6
"""Requests under way at once for one purpose, as browsers allow for one HTTP/1.1 server."""

MAX_PATH = 4095
"""Bytes that a path or a symlink's target may have in Linux (PATH_MAX without the final NUL)."""

MAX_NAME = 255
"""Bytes that a file name or an attribute's may have in Linux (NAME_MAX, XATTR_NAME_MAX)."""

MAX_DIRECTORY_DEPTH = MAX_PATH // 2
"""How many directories there may be below each other: as many as a path can name.

A path of a layer cannot name more either, but may start from a symlink. To let go of a much
deeper tree would overflow the stack of a browser, which Python cannot catch.
"""

MAX_XATTRS_SIZE = 1 << 16
"""Bytes that a file's extended attributes may have together, as one may in Linux."""

MAX_META_SIZE = 1 << 20
"""Bytes that a pax header, a long name or a sparse map of tar may have, as in Go's archive/tar."""

MAX_METADATA = 256 << 20
"""Bytes that the members of an image's layers may take in memory, as :data:`ENTRY_COST` counts.

Half a million files take half of it; an image that lists a layer twice has its members twice.
"""

ENTRY_COST = 200
"""Bytes that a member is counted with, beside its names and attributes."""

SEGMENT_COST = 128
"""Bytes that a piece of a sparse file, or a chunk of a table of contents, is counted with."""

MAX_INODES = 1 << 20
"""Files and directories of an image, those included that layers only imply or remove again."""

MAX_DOCUMENT_DEPTH = 100
"""How deep JSON documents may be nested; the specification's are less than 10 deep.

In Pyodide, Python's own limit comes after the JavaScript stack's, which ends everything.
"""

MAX_DOCUMENT_VALUES = 4 << 20
"""Values that a JSON document may hold: each takes some 60 bytes at least."""

MAX_EXPANSION = 100
"""How many times its own size a compressed archive may have when it is unpacked into a file."""

FREE_EXPANSION = 4 << 30
"""Bytes that any archive may have when it is unpacked into a file."""

MIN_FREE_DISK = 256 << 20
"""Bytes that are left free on the disk into which an archive is unpacked."""

MAX_CHANGES = 8 << 30
"""Bytes of the archive in which a guest says what its container has changed."""

MAX_HOLES = 4 << 30
"""Bytes of holes that a file may have where they have to be written out as zeros."""

MAX_PENDING_REPLIES = 64
"""9P requests of a client on a socket whose replies may wait at once; then no more are read."""

MAX_BLOCK = 64 << 20
"""Plain bytes of a gzip layer's block: to read its end, all of it has to be decompressed.

zlib makes blocks of 8 MiB at most. The same holds for a zstd frame that is not the first.
"""

MIN_RATE = 64
"""Bytes in a second that a server has to send at least, over :data:`RATE_SECONDS` of waiting."""

RATE_SECONDS = 60.0
"""Seconds of waiting for a server's bytes over which its rate is measured."""

MAX_CHALLENGE = 1 << 13
"""Characters of a ``WWW-Authenticate`` header that are looked at."""

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

MAX_NEIGHBOURS = 256
"""Other containers that one is connected with at once."""

MAX_NEIGHBOUR_QUERIES = 64
"""Names of other containers that are looked up at once; whoever asks for more has to ask again."""

MAX_HTTP_HEAD = 64 << 10
"""Bytes of a request's line and headers."""

MAX_HTTP_BODY = 256 << 20
"""Bytes that a request uploads through the browser, which takes them at once."""

MAX_HTTP_UPLOADS = 384 << 20
"""Bytes that all such requests of a container have at once."""

MAX_WEBSOCKET_MESSAGE = 64 << 20
"""Bytes of one message of a WebSocket in a preview, in either direction."""

MAX_RELAY_UNREAD = 64 << 20
"""Bytes that a relay has sent and the guest has not taken; a relay cannot be told to wait."""

MAX_RELAY_WINDOW = 256
"""Packets of 32 KiB that are sent to a relay before it says that it has room for more."""

MAX_RELAY_BACKLOG = 4 << 20
"""Bytes that the browser still has to send to a relay, from which on the guest has to wait."""
