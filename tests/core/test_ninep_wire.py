import inspect
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsermount.ninep import wire

QIDS = st.builds(
    wire.Qid, st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(0, 2**64 - 1)
)
FIELDS = {
    "B": st.integers(0, 2**8 - 1),
    "H": st.integers(0, 2**16 - 1),
    "I": st.integers(0, 2**32 - 1),
    "Q": st.integers(0, 2**64 - 1),
    "string": st.binary(max_size=100),
    "data": st.binary(max_size=1000),
    "names": st.lists(st.binary(max_size=20), max_size=16).map(tuple),
    "qid": QIDS,
    "qids": st.lists(QIDS, max_size=16).map(tuple),
}


def messages() -> st.SearchStrategy[wire.Message]:
    return st.one_of(
        *(
            st.builds(
                kind,
                *(
                    FIELDS[hint.__metadata__[0]]
                    for name, hint in inspect.get_annotations(kind, eval_str=True).items()
                ),
            )
            for kind in wire.MESSAGES.values()
        )
    )


@given(messages(), st.integers(0, 0xFFFF))
def test_round_trip(message: wire.Message, tag: int) -> None:
    assert wire.decode(message.encode(tag)) == (tag, message)


@given(messages(), st.data())
def test_another_length_is_refused(message: wire.Message, data: st.DataObject) -> None:
    body = message.encode(1)[7:]
    if body:
        cut = data.draw(st.integers(0, len(body) - 1))
        with pytest.raises(wire.WireError):
            type(message).decode(body[:cut])
    with pytest.raises(wire.WireError):
        type(message).decode(body + b"\0")


def test_known_bytes() -> None:
    """Frames as the 9P2000 manual pages lay them out, written down by hand."""
    assert wire.Tversion(8192, b"9P2000.L").encode(0xFFFF) == bytes.fromhex(
        "15000000 64 ffff 00200000 0800 3950323030302e4c"
    )
    assert wire.Twalk(1, 2, (b"usr", b"bin")).encode(5) == bytes.fromhex(
        "1b000000 6e 0500 01000000 02000000 0200 0300 757372 0300 62696e"
    )
    assert wire.Rlerror(2).encode(5) == bytes.fromhex("0b000000 07 0500 02000000")
    assert wire.Rwalk((wire.Qid(0x80, 0, 7),)).encode(1) == bytes.fromhex(
        "16000000 6f 0100 0100 80 00000000 0700000000000000"
    )
    assert wire.Rread(b"abc").encode(1) == bytes.fromhex("0e000000 75 0100 03000000 616263")


@pytest.mark.parametrize("frame", [b"", b"\0" * 6, b"\x08\0\0\0\x6e\0\0", b"\x07\0\0\0\xfe\0\0"])
def test_malformed_frames(frame: bytes) -> None:
    with pytest.raises(wire.WireError):
        wire.decode(frame)


@given(st.binary(max_size=200))
def test_rubbish_raises_nothing_else(data: bytes) -> None:
    for kind in wire.MESSAGES.values():
        with suppress(wire.WireError):
            kind.decode(data)


def test_directory_entries() -> None:
    entries = [
        wire.DirEntry(wire.Qid(0x80, 0, 1), 1, 4, b"."),
        wire.DirEntry(wire.Qid(0, 0, 9), 2, 8, b"f"),
    ]
    data = b"".join(entry.encode() for entry in entries)
    assert wire.decode_entries(data) == entries
    with pytest.raises(wire.WireError):
        wire.decode_entries(data[:-1])
    with pytest.raises(wire.WireError):
        wire.decode_entries(data[:-5])
