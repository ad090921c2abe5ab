"""Mixtures: exact shares at every place, each source in its own order, and weights that make sense."""

import math
import re
from collections import Counter
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.batches.batch import Batch, Batches, Seen
from groundup.batches.config import MixturePhase
from groundup.batches.mixture import DIGITS, ONE, Mixture, points_below, reverse_digits
from groundup.core.errors import ConfigError


class Source:
    """Rows that say which source they come from, and their number there."""

    def __init__(self, name: int) -> None:
        self.name = name

    def rows(self, numbers: Sequence[int]) -> Batch:
        numbers_B = torch.tensor(numbers)
        return Batch(
            torch.stack((torch.full_like(numbers_B, self.name), numbers_B), dim=1),
            torch.zeros(len(numbers), 2),
            torch.ones(len(numbers), 2),
        )

    def seen(self, examples: int) -> tuple[Seen, ...]:
        return (Seen("", 2 * examples, 50),)


def mixture(phases: list[tuple[float, list[float]]], total: int, seed: int = 0) -> Mixture:
    count = len(phases[0][1])
    named = [MixturePhase(share, {str(n): weight for n, weight in enumerate(weights)}) for share, weights in phases]
    return Mixture({str(number): Source(number) for number in range(count)}, named, total, seed)


def shares(numbers: list[int]) -> list[float]:
    return [number / sum(numbers) for number in numbers]


weights = st.integers(1, 5).flatmap(
    lambda count: st.lists(st.integers(0, 100), min_size=count, max_size=count).filter(any).map(shares)
)


@given(st.integers(0, ONE), st.integers(0, 200), st.integers(0, ONE - 1))
def test_points_are_counted_without_listing_them(bound: int, count: int, shift: int) -> None:
    points = [int(format(n, "b").zfill(DIGITS)[::-1], 2) ^ shift for n in range(count)]
    assert points == [reverse_digits(n) ^ shift for n in range(count)]
    assert points_below(bound, count, shift) == sum(point < bound for point in points)


@given(weights, st.integers(0, 5), st.integers(0, 5), st.integers(0, 1000))
def test_a_window_holds_each_source_in_proportion(weights: list[float], seed: int, k: int, window: int) -> None:
    """Among 2^k aligned rows the counts are those of the weights, give or take less than two."""
    mixed = mixture([(0.0, weights)], 1, seed)
    counts = Counter(mixed.place(number)[0] for number in range(window << k, (window + 1) << k))
    for source, weight in enumerate(weights):
        assert abs(counts[source] - weight * 2**k) < 2
        assert weight > 0 or counts[source] == 0


@settings(max_examples=50)
@given(weights, weights, st.floats(0.05, 0.95), st.integers(1, 300), st.integers(0, 5))
def test_each_source_sees_its_own_rows_in_order(
    before: list[float], after: list[float], share: float, total: int, seed: int
) -> None:
    after = (after + [0.0] * len(before))[: len(before)]
    after = [weight / sum(after) for weight in after] if sum(after) else before
    mixed = mixture([(0.0, before), (share, after)], total, seed)
    placed = [mixed.place(number) for number in range(total + 50)]
    for source in range(len(before)):
        assert [own for part, own in placed if part == source] == list(range(sum(part == source for part, _ in placed)))
    for examples in (0, total // 3, total, total + 50):
        counts = Counter(part for part, _ in placed[:examples])
        assert mixed.counts(examples) == {str(source): counts[source] for source in range(len(before))}
    rows = mixed.rows(range(total + 50)).tokens_BT.tolist()
    assert [tuple(row) for row in rows] == placed


def test_any_number_of_rows_is_near_its_share() -> None:
    weights = [0.7, 0.2, 0.09, 0.01]
    mixed = mixture([(0.0, weights)], 1)
    for examples in (10**3, 10**6 + 1, 10**9 - 1, 10**14):
        off = [abs(mixed.counts(examples)[str(n)] - weight * examples) for n, weight in enumerate(weights)]
        assert max(off) < 2 * math.log2(examples)


def test_weights_change_where_the_config_says() -> None:
    """A curriculum and an anneal: nothing of the second source before half, nothing else in the last tenth."""
    mixed = mixture([(0.0, [1.0, 0.0, 0.0]), (0.5, [0.5, 0.5, 0.0]), (0.9, [0.0, 0.0, 1.0])], 1000)
    parts = [mixed.place(number)[0] for number in range(1200)]
    assert Counter(parts[:500]) == {0: 500}
    assert set(parts[500:900]) == {0, 1}
    assert abs(Counter(parts[500:900])[1] - 200) <= 2
    assert Counter(parts[900:]) == {2: 300}, "the last phase goes on behind the end"
    seen = mixed.seen(1000)
    assert [each.source for each in seen] == ["0", "1", "2"]
    assert [each.tokens for each in seen] == [2 * count for count in mixed.counts(1000).values()]


def test_seeds_and_phases_are_other_orders() -> None:
    orders = {tuple(mixture([(0.0, [0.6, 0.4])], 1, seed).place(n)[0] for n in range(64)) for seed in range(20)}
    assert len(orders) > 10


def test_shards_of_a_mixed_batch_are_its_rows() -> None:
    source = Batches(mixture([(0.0, [0.5, 0.3, 0.2])], 1), 12)
    whole = source.batch(7)
    for shard in range(4):
        part = source.batch(7, shard, 4)
        assert torch.equal(part.tokens_BT, whole.tokens_BT[shard::4])
    assert whole.positions_BT is None


@pytest.mark.parametrize(
    ("phases", "message"),
    [
        ([(0.0, {"a": 0.5, "b": 0.4})], "from 0 of the training on sum to 0.9, not to 1"),
        ([(0.0, {"a": 0.5, "b": 0.500002})], "sum to 1.000002, not to 1"),
        ([(0.0, {})], "sum to 0, not to 1"),
        ([(0.0, {"a": 1.5, "b": -0.5})], "gives 'a' the weight 1.5; it must be between 0 and 1"),
        ([(0.0, {"b": -0.5, "a": 1.0})], "gives 'b' the weight -0.5; it must be between"),
        ([(0.0, {"a": math.nan})], "gives 'a' the weight nan"),
        (
            [(0.0, {"a": 1.0}), (0.5, {"wiki": 1.0})],
            "from 0.5 of the training on names an unknown source 'wiki'; k",
        ),
        ([(0.2, {"a": 1.0})], "The first phase of the mixture begins at 0.2; it must begin at 0"),
        ([(0.0, {"a": 1.0}), (0.0, {"b": 1.0})], "A phase of the mixture begins at 0.0 of the training"),
        ([(0.0, {"a": 1.0}), (0.5, {"b": 1.0}), (0.4, {"b": 1.0})], "A phase of the mixture begins at 0.4"),
        ([(0.0, {"a": 1.0}), (1.0, {"b": 1.0})], "A phase of the mixture begins at 1.0"),
        ([(0.0, {"a": 1.0}), (math.nan, {"b": 1.0})], "A phase of the mixture begins at nan"),
    ],
)
def test_weights_without_sense_are_refused(phases: list[tuple[float, dict[str, float]]], message: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(message)):
        Mixture({"a": Source(0), "b": Source(1)}, [MixturePhase(*phase) for phase in phases], 100, 0)


def test_weights_may_miss_one_by_a_rounding() -> None:
    mixed = mixture([(0.0, [0.1] * 10)], 1)
    assert {mixed.place(number)[0] for number in range(100)} == set(range(10))
    thirds = mixture([(0.0, [0.3333333, 0.3333333, 0.3333333])], 1)
    assert sum(thirds.counts(10**6).values()) == 10**6
