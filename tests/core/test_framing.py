from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from browsermount.ninep import wire
from browsermount.ninep.framing import FrameSplitter, FramingError

FRAMES = [wire.Tclunk(i).encode(i) for i in range(5)] + [wire.Tread(1, 2, 3).encode(9)]


@given(st.lists(st.integers(0, 90), max_size=10))
def test_however_the_stream_is_cut(cuts: list[int]) -> None:
    stream = b"".join(FRAMES)
    splitter = FrameSplitter(100)
    ends = [0, *sorted(min(cut, len(stream)) for cut in cuts), len(stream)]
    found = []
    for start, end in pairwise(ends):
        found += splitter.feed(stream[start:end])
    assert found == FRAMES


@pytest.mark.parametrize("size", [0, 6, 101, 0xFFFFFFFF])
def test_sizes_that_cannot_be(size: int) -> None:
    with pytest.raises(FramingError):
        list(FrameSplitter(100).feed(size.to_bytes(4, "little")))
