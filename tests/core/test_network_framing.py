"""Ethernet frames on a stream."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsermount.network.framing import MAX_FRAME, FrameSplitter, InvalidFrame, framed


@given(st.lists(st.binary(max_size=200), max_size=10), st.integers(1, 50))
def test_frames_come_out_as_they_went_in_however_they_are_cut(
    frames: list[bytes], size: int
) -> None:
    stream = b"".join(map(framed, frames))
    splitter = FrameSplitter()
    got = [f for at in range(0, len(stream), size) for f in splitter.feed(stream[at : at + size])]
    assert got == frames


def test_the_largest_frame_and_one_that_is_larger() -> None:
    assert FrameSplitter().feed(framed(bytes(MAX_FRAME))) == [bytes(MAX_FRAME)]
    with pytest.raises(InvalidFrame, match=str(MAX_FRAME + 1)):
        FrameSplitter().feed((MAX_FRAME + 1).to_bytes(4, "big"))


def test_a_length_that_would_take_all_memory() -> None:
    with pytest.raises(InvalidFrame):
        FrameSplitter().feed(b"\xff\xff\xff\xff" + bytes(100))
