import random
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.corpus.deduplication import (
    DeduplicationConfig,
    candidate_pairs,
    candidate_probability,
    exact_clusters,
    jaccard,
    minhash,
    near_clusters,
    survivor,
)
from groundup.corpus.documents import Document
from groundup.corpus.shingles import normalise, word_ngrams

CONFIG = DeduplicationConfig()


def word_sets(text, n):
    words = normalise(text).split()
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def true_jaccard(one, other, n):
    a, b = word_sets(one, n), word_sets(other, n)
    return len(a & b) / len(a | b) if a | b else 0.0


def random_text(generator, words=200):
    return " ".join(f"w{generator.randrange(5000)}" for _ in range(words))


def edited(text, changes, generator):
    words = text.split()
    for _ in range(changes):
        words[generator.randrange(len(words))] = f"new{generator.randrange(10**6)}"
    return " ".join(words)


def test_normalised_copies_are_equal():
    assert normalise("Café,  BAR!\n\tbaz") == normalise("cafe bar baz") == "cafe bar baz"
    documents = [Document(str(i), t) for i, t in enumerate(["A b.", "c", "a  B", "!!!", "???", "!!!"])]
    assert exact_clusters(documents) == [[0, 2], [3, 5]]


@given(st.lists(st.sampled_from("abcd"), max_size=30).map(" ".join), st.integers(1, 6))
def test_ngram_hashes_stand_for_ngrams(text, n):
    words = text.split()
    ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    hashes = word_ngrams(text, n).tolist()
    assert len(hashes) == len(ngrams)
    assert len(set(zip(ngrams, hashes, strict=True))) == len(set(ngrams)) == len(set(hashes))


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 40))
def test_minhash_estimates_jaccard(seed, changes):
    generator = random.Random(seed)
    text = random_text(generator)
    other = edited(text, changes, generator)
    shingles = [np.unique(word_ngrams(t, 3)) for t in (text, other)]
    true = true_jaccard(text, other, 3)
    assert jaccard(*shingles) == pytest.approx(true)
    one, two = minhash(shingles, 1024, seed)
    # five standard errors of a mean of 1024 coin flips
    assert (one == two).mean() == pytest.approx(true, abs=5 * (true * (1 - true) / 1024) ** 0.5 + 1e-9)


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 10**6))
def test_lsh_finds_what_comparing_all_pairs_finds(seed):
    generator = random.Random(seed)
    originals = [random_text(generator) for _ in range(15)]
    copies = [edited(generator.choice(originals), generator.choice([1, 2, 30, 100]), generator) for _ in range(15)]
    texts = [*originals, *copies]
    generator.shuffle(texts)
    documents = [Document(str(i), text) for i, text in enumerate(texts)]
    parent = {i: {i} for i in range(len(texts))}
    for a, b in combinations(range(len(texts)), 2):
        if true_jaccard(texts[a], texts[b], CONFIG.ngram) >= CONFIG.threshold and parent[a] is not parent[b]:
            merged = parent[a] | parent[b]
            parent.update(dict.fromkeys(merged, merged))
    expected = {tuple(sorted(cluster)) for cluster in parent.values() if len(cluster) > 1}
    assert {tuple(cluster) for cluster in near_clusters(documents, CONFIG, seed)} == expected


def test_share_of_candidates_is_as_the_formula_says():
    generator = random.Random(1)
    texts, pairs, expected = [], [], []
    for _ in range(300):
        text = random_text(generator, 100)
        other = edited(text, 12, generator)
        pairs.append((len(texts), len(texts) + 1))
        expected.append(candidate_probability(true_jaccard(text, other, 3), bands=8, rows=4))
        texts += [text, other]
    signatures = minhash([np.unique(word_ngrams(text, 3)) for text in texts], 32, seed=5)
    found = candidate_pairs(signatures, 8, [True] * len(texts))
    assert np.mean([pair in found for pair in pairs]) == pytest.approx(np.mean(expected), abs=0.12)
    assert 0.2 < np.mean(expected) < 0.8


def test_short_documents_do_not_match_each_other():
    documents = [Document(str(i), text) for i, text in enumerate(["one two", "three four", "", "one two three"])]
    assert near_clusters(documents, CONFIG, seed=0) == []


def test_the_survivor_does_not_depend_on_the_order():
    generator = random.Random(0)
    text = random_text(generator)
    documents = [Document(name, edited(text, 1, generator)) for name in "abcdef"]
    kept = set()
    for _ in range(5):
        generator.shuffle(documents)
        (cluster,) = near_clusters(documents, CONFIG, seed=3)
        kept.add(documents[survivor(documents, cluster, 3)].id)
    assert len(kept) == 1


def test_impossible_values_are_refused():
    with pytest.raises(ConfigError, match=r"deduplication\.bands is 0"):
        DeduplicationConfig(bands=0)
    with pytest.raises(ConfigError, match=r"threshold is 1\.5"):
        DeduplicationConfig(threshold=1.5)
