"""Where umoci 0.4.7's result differs from what the layers say, and why.

Each of these is checked to still differ: see `differences`.
"""

from __future__ import annotations

from tests.compare.records import Known

UNPACKING_TIME = (
    "the directory's time is that of unpacking: umoci does not set the time of a directory "
    "that no entry names, nor restore it when a whiteout removes something"
)

FEATURES = [
    *(
        Known(path, "mtime_ns", UNPACKING_TIME)
        for path in (
            b"hand",
            b"hand/double",
            b"hand/parents",
            b"hand/parents/that",
            b"hand/parents/that/are",
            b"hand/removed-and-made-again",
            b"opaque/hand/sub",
        )
    ),
    Known(
        b"hand/year-9999",
        "mtime_ns",
        "ext4 holds no time after the year 2446, and umoci's way of setting one overflows",
    ),
    Known(
        b"xattrs/empty",
        "xattrs",
        "Go's archive/tar, which umoci reads with, drops pax records without a value, "
        "so that extended attributes without one are lost",
    ),
]

DEFAULT = [
    Known(
        path,
        "missing",
        "umoci does not know eStargz: what belongs to the format and not to the file system is "
        "left out by us, as by containerd's snapshotter for it",
    )
    for path in (b".prefetch.landmark", b"stargz.index.json")
]
