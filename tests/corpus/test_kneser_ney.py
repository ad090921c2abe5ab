import math
from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import ConfigError, InputError
from groundup.corpus.kneser_ney import train

ALL_BYTES = [bytes([b]) for b in range(256)]
texts = st.lists(st.text(alphabet="abc ", max_size=40).map(str.encode), min_size=1, max_size=4).filter(any)


class Reference:
    """Chen and Goodman's recursion word for word, on dictionaries of byte strings."""

    def __init__(self, documents, order):
        self.order = order
        counts = [Counter() for _ in range(order + 1)]
        for text in documents:
            padded = bytes(order - 1) + text
            counts[order].update(padded[i : i + order] for i in range(len(text)))
        for n in range(order - 1, 0, -1):
            for longer in counts[n + 1]:
                counts[n][longer[1:]] += 1  # one for each different byte in front
        self.counts = counts
        self.followers = [defaultdict(dict) for _ in range(order + 1)]
        for n in range(1, order + 1):
            for ngram, count in counts[n].items():
                self.followers[n][ngram[:-1]][ngram[-1:]] = count
        self.discounts = [self._discounts(c) for c in counts]

    @staticmethod
    def _discounts(counts):
        n = Counter(counts.values())
        result = {}
        for i in (1, 2, 3):
            estimate = 0.0
            if n[1] and n[2] and (n[i] if i < 3 else sum(v for c, v in n.items() if c == 3)):
                estimate = i - (i + 1) * n[1] / (n[1] + 2 * n[2]) * n[i + 1] / n[i]
            result[i] = estimate if 0 < estimate <= i else 0.5
        return result

    def probability(self, context, byte, n=None):
        n = self.order if n is None else n
        if n == 0:
            return 1 / 256
        context = context[len(context) - (n - 1) :]
        lower = self.probability(context[1:], byte, n - 1)
        followers = self.followers[n].get(context)
        if followers is None:
            return lower
        discount = {b: self.discounts[n][min(c, 3)] for b, c in followers.items()}
        total = sum(followers.values())
        own = (followers[byte] - discount[byte]) / total if byte in followers else 0.0
        return own + sum(discount.values()) / total * lower


@settings(max_examples=40, deadline=None)
@given(texts, st.text(alphabet="abcd ", min_size=1, max_size=20).map(str.encode), st.integers(1, 8))
def test_equals_the_recursion(documents, scored, order):
    model, reference = train(documents, order), Reference(documents, order)
    padded = bytes(order - 1) + scored
    expected = [reference.probability(padded[i : i + order - 1], scored[i : i + 1]) for i in range(len(scored))]
    np.testing.assert_allclose(2 ** model.log2_probabilities(scored), expected, rtol=1e-9)


@settings(max_examples=15, deadline=None)
@given(texts, st.binary(max_size=10) | st.text(alphabet="abc ", max_size=10).map(str.encode), st.integers(1, 8))
def test_every_distribution_sums_to_one(documents, context, order):
    model = train(documents, order)
    total = sum(2 ** model.log2_probabilities(context + byte)[-1] for byte in ALL_BYTES)
    assert total == pytest.approx(1, abs=1e-9)


def test_discounts_of_real_counts_are_estimated():
    # Enough text that all three discounts come from counts of counts at the highest order, not from the fallback.
    text = b" ".join(f"{i * i % 97} {i % 13}".encode() for i in range(600))
    reference = Reference([text], 4)
    assert 0.5 not in reference.discounts[4].values()
    scored = b"49 8 64 9 1234"
    padded = bytes(3) + scored
    expected = [reference.probability(padded[i : i + 3], scored[i : i + 1]) for i in range(len(scored))]
    np.testing.assert_allclose(2 ** train([text], 4).log2_probabilities(scored), expected, rtol=1e-9)


def test_documents_do_not_see_each_other():
    model = train([b"abcabcabc", b"xyz"], 4)
    separate = np.concatenate([model.log2_probabilities(t) for t in (b"abc", b"xyz")])
    assert model.bits_per_byte([b"abc", b"xyz"]) == pytest.approx(-separate.sum() / 6)
    together = model.log2_probabilities(b"abcxyz")
    assert together[3] != pytest.approx(separate[3])


def test_order_one_is_smoothed_frequencies():
    probabilities = 2 ** train([b"aaab"], 1).log2_probabilities(b"abz")
    assert probabilities[0] > probabilities[1] > probabilities[2] > 0


def test_more_context_helps_on_english():
    text = b"the cat sat on the mat and the dog sat on the log and the cat saw the dog. " * 3
    held = [b"the dog sat on the mat and saw the cat."]
    bits = [train([text], order).bits_per_byte(held) for order in (1, 3, 5)]
    assert bits[0] > bits[1] > bits[2]
    assert bits[0] < 8
    assert math.isfinite(train([text], 8).bits_per_byte([bytes(range(256))]))


def test_wrong_use_is_refused():
    with pytest.raises(ConfigError, match="order of 9"):
        train([b"abc"], 9)
    with pytest.raises(InputError, match="training text"):
        train([b"", b""], 3)
    with pytest.raises(InputError, match="at least one byte"):
        train([b"abc"], 3).bits_per_byte([b""])
