"""The keyed permutation is a bijection, depends on its key, and looks like a fair shuffle."""

import math
from collections import Counter
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.batches.permutation import permute
from groundup.core.seeds import derive_seed

keys = st.integers(0, 2**63 - 1)


def shuffled(size: int, key: int) -> list[int]:
    return [permute(index, size, key) for index in range(size)]


def assert_uniform(counts: Counter, cells: int) -> None:
    """Pearson's χ² is within six standard deviations of its mean."""
    expected = counts.total() / cells
    chi_squared = sum((count - expected) ** 2 / expected for count in counts.values())
    chi_squared += (cells - len(counts)) * expected
    assert chi_squared < cells - 1 + 6 * math.sqrt(2 * (cells - 1))


@settings(max_examples=150)
@given(st.integers(1, 2000), keys)
def test_it_is_a_bijection(size: int, key: int) -> None:
    assert sorted(shuffled(size, key)) == list(range(size))


@pytest.mark.parametrize("size", [2**31 - 1, 2**40 + 7])
def test_large_sizes_stay_inside_and_do_not_collide(size: int) -> None:
    found = [permute(index * (size // 500), size, key=3) for index in range(500)]
    assert len(set(found)) == 500
    assert all(0 <= value < size for value in found)
    assert max(found) > size // 2 > min(found)


@given(st.integers(20, 500), keys, keys)
def test_another_key_is_another_order(size: int, one: int, other: int) -> None:
    assert shuffled(size, one) == shuffled(size, one)
    assert (shuffled(size, one) == shuffled(size, other)) == (one == other)


@pytest.mark.parametrize("size", [2, 3, 5, 10, 16, 100])
@pytest.mark.parametrize("index", [0, -1])
def test_an_index_goes_everywhere_equally_often(size: int, index: int) -> None:
    drawn = 40 * size + 1000
    counts = Counter(permute(index % size, size, derive_seed("key", key)) for key in range(drawn))
    assert_uniform(counts, size)


@pytest.mark.parametrize("size", [3, 5, 20, 64])
def test_neighbours_are_independent(size: int) -> None:
    drawn = 20_000
    all_keys = [derive_seed("key", key) for key in range(drawn)]
    pairs = Counter((permute(0, size, key), permute(1, size, key)) for key in all_keys)
    assert_uniform(pairs, size * (size - 1))


def test_one_order_has_no_trend() -> None:
    for key in range(5):
        order = shuffled(2000, derive_seed("key", key))
        rises = sum(before < after for before, after in pairwise(order))
        assert abs(rises - 1000) < 6 * math.sqrt(2000 / 12)
        kept = sum(index == value for index, value in enumerate(order))
        assert kept < 10, "a fair shuffle keeps one in place on average"


@pytest.mark.parametrize("index", [-1, 7])
def test_an_index_outside_is_an_error(index: int) -> None:
    with pytest.raises(AssertionError, match=r"is outside 0\.\.6"):
        permute(index, 7, 0)
