"""Sets of byte ranges against sets of numbers."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from browsermount.blobs.ranges import RangeSet

RANGE = st.tuples(st.integers(0, 30), st.integers(0, 30))


@given(st.lists(st.tuples(st.booleans(), RANGE), max_size=20), RANGE)
def test_as_a_set_of_numbers(
    steps: list[tuple[bool, tuple[int, int]]], asked: tuple[int, int]
) -> None:
    ranges, numbers = RangeSet(), set[int]()
    for add, (start, end) in steps:
        if add:
            ranges.add(start, end)
            numbers |= set(range(start, end))
        else:
            ranges.discard(start, end)
            numbers -= set(range(start, end))
    assert {n for start, end in ranges for n in range(start, end)} == numbers
    assert ranges.total == len(numbers)
    assert bool(ranges) == bool(numbers)
    pairs = list(ranges)
    assert all(before[1] < after[0] for before, after in pairwise(pairs))
    wanted = set(range(*asked))
    assert ranges.covers(*asked) == (wanted <= numbers)
    assert {n for low, high in ranges.missing(*asked) for n in range(low, high)} == wanted - numbers
    assert RangeSet(pairs) == ranges


def test_update() -> None:
    ranges = RangeSet([(0, 2)])
    ranges.update(RangeSet([(2, 4), (8, 9)]))
    assert list(ranges) == [(0, 4), (8, 9)]
    assert repr(ranges) == "RangeSet([(0, 4), (8, 9)])"
