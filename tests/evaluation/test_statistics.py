"""Intervals against what they are derived from."""

import itertools
import math
import random
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.evaluation.statistics import (
    mean_of_few,
    paired_difference,
    pass_at_k,
    ratio_of_sums,
    student_t,
    wilson,
)


def bound_by_bisection(share, n, low, high):
    """The p at which |share - p| is 1.96 standard errors sqrt(p(1-p)/n), between a p inside and one outside."""
    z = NormalDist().inv_cdf(0.975)
    for _ in range(200):
        middle = (low + high) / 2
        inside = abs(share - middle) <= z * math.sqrt(middle * (1 - middle) / n)
        low, high = (middle, high) if inside else (low, middle)
    return (low + high) / 2


@given(st.integers(1, 3000), st.data())
def test_wilson_inverts_the_score_test(n, data):
    correct = data.draw(st.integers(0, n))
    found = wilson(correct, n)
    share = correct / n
    assert found.estimate == share
    assert (found.correct, found.n) == (correct, n)
    assert found.low == pytest.approx(bound_by_bisection(share, n, share, 0.0), abs=1e-9)
    assert found.high == pytest.approx(bound_by_bisection(share, n, share, 1.0), abs=1e-9)
    assert 0 <= found.low <= share <= found.high <= 1


def test_wilson_of_nothing_says_nothing():
    found = wilson(0, 0)
    assert math.isnan(found.estimate)
    assert (found.low, found.high) == (0.0, 1.0)


def test_wilson_covers_the_truth_about_as_often_as_it_says():
    generator = np.random.default_rng(0)
    for truth in (0.05, 0.3, 0.5):
        intervals = [wilson(int(count), 200) for count in generator.binomial(200, truth, 2000)]
        assert 0.93 < np.mean([each.low <= truth <= each.high for each in intervals]) < 0.97


@given(st.integers(1, 9), st.data())
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_sample(n, data):
    correct, k = data.draw(st.integers(0, n)), data.draw(st.integers(1, n))
    subsets = list(itertools.combinations(range(n), k))
    share = sum(any(sample < correct for sample in subset) for subset in subsets) / len(subsets)
    assert pass_at_k(n, correct, k) == pytest.approx(share)


def test_the_paired_bootstrap_is_near_the_normal_interval_of_the_differences():
    generator = random.Random(1)
    before = [generator.random() < 0.4 for _ in range(600)]
    after = [hit or generator.random() < 0.2 for hit in before]
    differences = np.array(after, float) - np.array(before, float)
    error = differences.std() / math.sqrt(600)
    found = paired_difference(before, after)
    assert found.estimate == pytest.approx(differences.mean())
    assert found.low == pytest.approx(differences.mean() - 1.96 * error, abs=0.15 * error)
    assert found.high == pytest.approx(differences.mean() + 1.96 * error, abs=0.15 * error)
    assert found.low > 0
    assert paired_difference(before, after) == found  # the same seed, the same interval
    back = paired_difference(after, before)
    assert (back.low, back.high) == pytest.approx((-found.high, -found.low), abs=0.01)


def test_pairing_counts_where_the_examples_differ_more_than_the_models():
    """Each example's difficulty cancels: the interval of equal gains is a point."""
    before = [float(number) for number in range(50)]
    found = paired_difference(before, [value + 0.5 for value in before])
    assert (found.low, found.estimate, found.high) == pytest.approx((0.5, 0.5, 0.5))


def test_no_difference_is_no_difference():
    assert paired_difference([0, 1, 1], [0, 1, 1]).high == 0


def test_sides_of_different_length_are_a_fault_of_ours():
    with pytest.raises(AssertionError, match="same examples"):
        paired_difference([1.0], [1.0, 0.0])


def test_a_ratio_of_sums_resamples_documents_as_pairs():
    """Against all 5^5 equally likely draws of five documents."""
    bits, sizes = [10.0, 40.0, 90.0, 33.0, 71.0], [10.0, 20.0, 30.0, 25.0, 40.0]
    found = ratio_of_sums(bits, sizes)
    assert found.estimate == pytest.approx(sum(bits) / sum(sizes))
    draws = itertools.product(range(5), repeat=5)
    every = [sum(bits[i] for i in draw) / sum(sizes[i] for i in draw) for draw in draws]
    low, high = np.quantile(every, [0.025, 0.975], method="inverted_cdf")
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.02)


def test_students_quantiles_are_those_of_the_tables():
    known = {1: 12.7062, 2: 4.30265, 3: 3.18245, 4: 2.77645, 9: 2.26216, 30: 2.04227, 1000: 1.96234}
    for degrees, value in known.items():
        assert student_t(degrees) == pytest.approx(value, rel=2e-5)
    assert student_t(5, 0.99) == pytest.approx(4.03214, rel=2e-5)


def test_the_interval_of_a_few_runs_holds_the_truth_as_often_as_it_says():
    generator = np.random.default_rng(0)
    draws = [mean_of_few(list(generator.normal(3.0, 0.1, 3))) for _ in range(2000)]
    assert np.mean([each.low <= 3 <= each.high for each in draws]) == pytest.approx(0.95, abs=0.015)
    assert mean_of_few([2.0, 4.0]).estimate == 3.0
    assert mean_of_few([1.5]).high == np.inf
