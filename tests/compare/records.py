"""What is compared: one record for each name in a tree."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from urllib.parse import quote_from_bytes, unquote_to_bytes

ROOT = b"."


@dataclass(frozen=True)
class Record:
    """What is known of a name.

    Attributes:
        type: One of ``f d l c b p s``.
        size: Of regular files and symlinks.
        nlink: How many names there are; 0 for directories, where file systems disagree.
        names: All names of a file that has more than one.
        checksum: CRC-32 of a regular file's content, or why it could not be read.
    """

    type: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime_ns: int
    nlink: int
    rdev: tuple[int, int] = (0, 0)
    target: bytes = b""
    checksum: str = ""
    xattrs: Mapping[bytes, bytes] = field(default_factory=dict)
    names: tuple[bytes, ...] = ()


Records = dict[bytes, Record]


@dataclass(frozen=True)
class Known:
    """A difference that is understood; one that no longer exists is an error too."""

    path: bytes
    field: str
    reason: str


def with_names(entries: Iterable[tuple[bytes, Hashable, Record]]) -> Records:
    """Add to records which of them are names of one file, by what identifies the file."""
    records: Records = {}
    groups: dict[Hashable, list[bytes]] = defaultdict(list)
    for path, file, record in entries:
        assert path not in records, path
        records[path] = record
        if record.type != "d":
            groups[file].append(path)
    for paths in groups.values():
        if len(paths) > 1:
            for path in paths:
                records[path] = replace(records[path], names=tuple(sorted(paths)))
    return records


def parse_probe(output: bytes) -> Records:
    """Read what the probe printed; see tests/fixtures/probe/probe.c."""
    entries = []
    end = None
    for line in output.decode("ascii").splitlines():
        if line.startswith("# end "):
            end = int(line.removeprefix("# end "))
        elif line.startswith("#"):
            raise AssertionError(f"the probe says {line!r}")
        else:
            entries.append(_parse_line(line))
    assert end == len(entries), f"the probe listed {end} names, {len(entries)} arrived"
    return with_names(entries)


def _parse_line(line: str) -> tuple[bytes, str, Record]:
    path, *words = line.split(" ")
    assert len(words) == 12, f"the probe says {line!r}"
    kind, mode, uid, gid, size, mtime, nlink, rdev, file, target, checksum, xattrs = words
    seconds, _, nanoseconds = mtime.partition(".")
    major, _, minor = rdev.partition(":")
    record = Record(
        type=kind,
        mode=int(mode, 8),
        uid=int(uid),
        gid=int(gid),
        size=int(size),
        mtime_ns=int(seconds) * 1_000_000_000 + int(nanoseconds),
        nlink=int(nlink),
        rdev=(int(major), int(minor)),
        target=b"" if target == "-" else unescape(target),
        checksum="" if checksum == "-" else checksum,
        xattrs={} if xattrs == "-" else dict(map(_parse_xattr, xattrs.split(","))),
    )
    return unescape(path), file, record


def _parse_xattr(text: str) -> tuple[bytes, bytes]:
    name, _, value = text.rpartition("=")
    return unescape(name), value.encode() if value.startswith("!") else bytes.fromhex(value)


def differences(
    expected: Records, found: Records, known: Sequence[Known] = (), limit: int = 60
) -> str:
    """Describe how two trees differ, in lines; empty when they do not."""
    unused = {(item.path, item.field): item for item in known}
    lines = []

    def report(path: bytes, name: str, text: str) -> None:
        if unused.pop((path, name), None) is None:
            lines.append(f"{show(path)}: {text}")

    for path in sorted(expected.keys() | found.keys()):
        if path not in found:
            report(path, "missing", "is missing")
        elif path not in expected:
            report(path, "unexpected", f"should not be there: {found[path]}")
        else:
            for item in fields(Record):
                want, got = getattr(expected[path], item.name), getattr(found[path], item.name)
                if want != got:
                    render = oct if item.name == "mode" else _short
                    report(path, item.name, f"{item.name} is {render(got)}, not {render(want)}")
    lines += [
        f"{show(item.path)}: {item.field} no longer differs; drop it from the known differences"
        for item in unused.values()
    ]
    if len(lines) > limit:
        lines[limit:] = [f"... and {len(lines) - limit} more"]
    return "\n".join(lines)


def show(path: bytes) -> str:
    """Make a path readable, whatever bytes it has."""
    return quote_from_bytes(path, safe="/ !\"#$&'()*+,:;<=>?@[]^`{|}~")


def unescape(text: str) -> bytes:
    """Undo the probe's escapes."""
    return unquote_to_bytes(text)


def _short(value: object) -> str:
    return repr(value)[:300]
