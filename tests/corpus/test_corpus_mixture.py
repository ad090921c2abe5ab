import math
from collections import Counter
from itertools import pairwise, permutations

import numpy as np
import pytest

from groundup.core.errors import ConfigError, InputError
from groundup.corpus.filters.tokens import token_hash, tokens
from groundup.corpus.mixture import (
    BIGRAM,
    DsirConfig,
    Share,
    choose_repeats,
    count_buckets,
    drawing_order,
    log_importance,
    log_ratio,
    plan_mixture,
    scaled_weights,
    temperature_weights,
)

SIZES = {"web": 800.0, "books": 150.0, "wiki": 50.0}


def test_scaled_weights():
    assert scaled_weights(SIZES, {"wiki": 3, "web": 0.5}) == pytest.approx(
        {"web": 400 / 700, "books": 150 / 700, "wiki": 150 / 700}
    )
    assert scaled_weights(SIZES, {"web": 0})["web"] == 0
    with pytest.raises(ConfigError, match="no domain 'news'"):
        scaled_weights(SIZES, {"news": 2})
    with pytest.raises(ConfigError, match="All weights"):
        scaled_weights({"web": 1}, {"web": 0})


def test_temperature_weights():
    assert temperature_weights(SIZES, 1) == pytest.approx({"web": 0.8, "books": 0.15, "wiki": 0.05})
    assert temperature_weights(SIZES, 1e9) == pytest.approx(dict.fromkeys(SIZES, 1 / 3))
    roots = {domain: size**0.5 for domain, size in SIZES.items()}
    assert temperature_weights(SIZES, 2) == pytest.approx({d: r / sum(roots.values()) for d, r in roots.items()})
    with pytest.raises(ConfigError, match="above 0"):
        temperature_weights(SIZES, 0)


def test_plan_shares_out_what_a_small_domain_cannot_give():
    weights = {"web": 0.5, "books": 0.25, "wiki": 0.25}
    assert plan_mixture(SIZES, weights, 100) == {
        "web": Share(0.5, 50, 50 / 800),
        "books": Share(0.25, 25, 25 / 150),
        "wiki": Share(0.25, 25, 0.5),
    }
    capped = plan_mixture(SIZES, weights, 1000, max_epochs=2)  # wiki stops at 100, then books at 300 - and 900 x 1/3
    assert {domain: share.bytes for domain, share in capped.items()} == pytest.approx(
        {"web": 600, "books": 300, "wiki": 100}
    )
    everything = plan_mixture(SIZES, weights, 1e9, max_epochs=4)
    assert {share.epochs for share in everything.values()} == {4.0}


def test_repeats_make_up_the_planned_bytes():
    generator = np.random.default_rng(0)
    domains = [("web", "books", "wiki")[n % 3] for n in range(3000)]
    sizes = generator.integers(100, 3000, 3000)
    totals = {d: float(sum(s for s, own in zip(sizes, domains, strict=True) if own == d)) for d in SIZES}
    plan = {d: Share(0, 0, epochs) for d, epochs in (("web", 0.25), ("books", 1.0), ("wiki", 2.5))}
    repeats = choose_repeats(domains, sizes.tolist(), plan, seed=1)
    for domain, share in plan.items():
        own = np.array([d == domain for d in domains])
        assert (repeats[own] * sizes[own]).sum() == pytest.approx(share.epochs * totals[domain], abs=3000)
        assert set(repeats[own].tolist()) <= {math.floor(share.epochs), math.ceil(share.epochs)}
    assert np.array_equal(repeats, choose_repeats(domains, sizes.tolist(), plan, seed=1))
    assert not np.array_equal(repeats, choose_repeats(domains, sizes.tolist(), plan, seed=2))
    with pytest.raises(InputError, match="'news'"):
        choose_repeats(["news"], [1], plan, 0)


TARGET = ["the river crossed the village. the council met in winter."] * 3 + ["a letter from the council"]
RAW = ["Buy now! cheap cheap watches", "the council crossed the river in winter", "", "win win a letter", "the the"]


def plain_buckets(text, buckets):
    hashes = [token_hash(token) for token in tokens(text)]
    bigrams = []
    for first, second in pairwise(hashes):
        value = (first * int(BIGRAM) + second) % 2**64
        value = (value ^ value >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ value >> 27) * 0x94D049BB133111EB % 2**64
        bigrams.append(value ^ value >> 31)
    return Counter(value % buckets for value in (*hashes, *bigrams))


@pytest.mark.parametrize("buckets", [7, 10_000])
def test_importance_weights_are_those_of_counting(buckets):
    config = DsirConfig(buckets, smoothing=0.5)
    p = sum((plain_buckets(text, buckets) for text in TARGET), Counter())
    q = sum((plain_buckets(text, buckets) for text in RAW), Counter())
    target, raw = count_buckets(TARGET, config, batch=2), count_buckets(iter(RAW), config)
    assert Counter({j: n for j, n in enumerate(target.astype(int).tolist()) if n}) == p
    ratio = log_ratio(target, raw, config)
    p_total, q_total = p.total() + 0.5 * buckets, q.total() + 0.5 * buckets
    expected = [
        sum(
            z * (math.log((p[j] + 0.5) / p_total) - math.log((q[j] + 0.5) / q_total))
            for j, z in plain_buckets(text, buckets).items()
        )
        for text in RAW
    ]
    assert log_importance(RAW, ratio, config, batch=2) == pytest.approx(expected)
    assert log_importance(RAW, ratio, config).argmax() == 1 or buckets == 7
    with pytest.raises(InputError, match="DSIR needs words"):
        log_ratio(count_buckets([""], config), raw, config)


def test_resampling_draws_without_replacement_in_proportion_to_the_weights():
    weights = np.array([1.0, 2.0, 3.0, 6.0])
    expected = Counter()
    for first, second in permutations(range(4), 2):
        chance = weights[first] / weights.sum() * weights[second] / (weights.sum() - weights[first])
        expected[first, second] += chance
    draws = 20_000
    found = Counter(tuple(drawing_order(np.log(weights) + 5, seed)[:2].tolist()) for seed in range(draws))
    for pair, chance in expected.items():
        assert found[pair] / draws == pytest.approx(chance, abs=5 * math.sqrt(chance * (1 - chance) / draws))
    assert sorted(drawing_order(np.zeros(5), 0).tolist()) == [0, 1, 2, 3, 4]
