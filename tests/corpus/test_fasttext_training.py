from collections import Counter
from itertools import chain

import numpy as np
import pytest
from fasttext_models import WORDS

from groundup.core.errors import ConfigError, InputError
from groundup.corpus.fasttext import reference
from groundup.corpus.fasttext.config import FastTextConfig
from groundup.corpus.fasttext.features import concatenate
from groundup.corpus.fasttext.learning import fill_uniform
from groundup.corpus.fasttext.predictor import load_fasttext
from groundup.corpus.fasttext.training import train_fasttext
from groundup.corpus.fasttext.vocabulary import read_tokens

CONFIG = FastTextConfig(width=8, epochs=12, learning_rate=0.5, buckets=2000)


def made_texts(labels=4, count=400, seed=0):
    """Texts of words that the labels share, and one in four that is the label's own."""
    random = np.random.default_rng(seed)
    names = [f"kind{i}" for i in range(labels)]
    texts, chosen = [], []
    for _ in range(count):
        label = random.integers(labels)
        words = [
            f"own{label}-{random.integers(9)}" if random.random() < 0.25 else f"any{random.integers(50)}"
            for _ in range(12)
        ]
        texts.append(" ".join(words))
        chosen.append(names[label])
    return texts, chosen


def accuracy(model, texts, labels):
    return np.mean([found[0][0] == label for found, label in zip(model.predict(texts), labels, strict=True)])


@pytest.mark.parametrize("loss", ["softmax", "hierarchical"])
@pytest.mark.parametrize(
    "extra", [{}, {"longest_subword": 4, "shortest_subword": 2, "min_count": 3}, {"word_ngrams": 1}]
)
def test_it_learns_and_the_file_predicts_the_same(loss, extra, tmp_path):
    model = train_fasttext(*made_texts(), FastTextConfig(**{**CONFIG.__dict__, "loss": loss, **extra}))
    unseen = made_texts(seed=1)
    assert accuracy(model, *unseen) > 0.9  # by chance 0.25
    model.save(tmp_path / "x.bin")
    again = load_fasttext(tmp_path / "x.bin")
    np.testing.assert_array_equal(again.probabilities(unseen[0]), model.probabilities(unseen[0]))
    expected = [reference.probabilities_of(text, model.file) for text in unseen[0][:10]]
    np.testing.assert_allclose(model.probabilities(unseen[0][:10]), expected, rtol=1e-4, atol=1e-5)


def test_the_order_of_the_input_does_not_ruin_it():
    texts, labels = made_texts()
    order = np.argsort(labels, kind="stable")
    model = train_fasttext([texts[i] for i in order], [labels[i] for i in order], CONFIG)
    assert accuracy(model, *made_texts(seed=1)) > 0.9


def test_same_seed_same_bytes_other_seed_others(tmp_path):
    for name, seed in (("a", 0), ("b", 0), ("c", 1)):
        train_fasttext(*made_texts(), FastTextConfig(width=4, epochs=1, buckets=100, seed=seed)).save(tmp_path / name)
    a, b, c = ((tmp_path / name).read_bytes() for name in "abc")
    assert a == b != c


@pytest.mark.parametrize("loss", ["softmax", "hierarchical"])
def test_one_step_is_the_gradient(loss):
    """One text, one epoch: the matrices move by the gradient of -log p, taken here by differences in float64."""
    texts, labels = ["the house über the", "это"], ["yes", "no"]
    config = FastTextConfig(width=3, epochs=1, buckets=20, learning_rate=1e-3, loss=loss, seed=5)
    start = train_fasttext(texts, labels, FastTextConfig(**{**config.__dict__, "learning_rate": 1e-30})).file
    moved = train_fasttext(texts, labels, config).file
    input_RD, output_LD = start.input.astype(float), start.output.astype(float)
    names = [label.decode().removeprefix("__label__") for label in start.dictionary.labels]

    def loss_of(text, label, output):
        rows = reference.features_of(text, start)
        products = output @ input_RD[rows].mean(axis=0)
        if loss == "softmax":
            return -np.log(np.exp(products)[names.index(label)] / np.exp(products).sum())
        return np.log1p(np.exp(products[0] if names.index(label) == TREE_LEFT else -products[0]))

    TREE_LEFT = 1  # of two leaves of equal count the later label is taken first, so it is the left branch
    visits = np.random.default_rng([5, 0]).permutation(2)
    lengths = [5, 2]
    output, done = output_LD, 0
    for text in visits:
        rate = 1e-3 * (1 - done / sum(lengths))
        done += lengths[text]
        gradient = np.zeros_like(output)
        for place in np.ndindex(output.shape):
            up, down = output.copy(), output.copy()
            up[place] += 1e-5
            down[place] -= 1e-5
            gradient[place] = (loss_of(texts[text], labels[text], up) - loss_of(texts[text], labels[text], down)) / 2e-5
        output = output - rate * gradient
    np.testing.assert_allclose(moved.output, output, atol=1e-8)
    assert np.abs(output).max() > 1e-5


def test_tokens_are_counted_as_by_a_counter():
    texts = ["a b a </s> c", "", "über a\nb\tc __label__x", " ".join(f"w{i % 70_000}" for i in range(200_000)), *WORDS]
    data, starts = concatenate([*(text.encode() for text in texts), b"</s>"])
    found = read_tokens(data, starts)
    expected = [[t for t in reference.tokens_of(text) if not t.startswith(b"__label__")] for text in texts]
    names = [bytes(data[a:b]) for a, b in zip(found.begin, found.end, strict=True)]
    assert [
        [names[i] for i in found.ids[a:b]] for a, b in zip(found.starts[:-1], found.starts[1:], strict=True)
    ] == expected
    assert dict(zip(names, found.counts.tolist(), strict=True)) == Counter(chain.from_iterable(expected))
    hashes = [reference.hash_token(name) for name in names]
    assert found.hashes.astype(np.uint32).tolist() == hashes


def test_first_numbers_are_uniform():
    matrix = np.empty((1000, 100), np.float32)
    fill_uniform(matrix, 0.25, 3)
    assert -0.25 <= matrix.min() < -0.249
    assert 0.249 < matrix.max() <= 0.25
    assert abs(matrix.mean()) < 0.002
    assert abs(matrix.std() - 0.5 / 12**0.5) < 0.001
    counts = np.histogram(matrix, 16, (-0.25, 0.25))[0]
    assert np.abs(counts / counts.mean() - 1).max() < 0.05


def test_wrong_input_is_named():
    for texts, labels, words in (
        (["a", "b"], ["x"], "2 texts and 1 labels"),
        (["a", "b"], ["x", "x"], "at least two labels; these have x"),
        (["a", "b"], ["x", "y z"], "'y z' cannot be a label"),
        (["a", "b"], ["x", "__label__"], "'' cannot be a label"),
    ):
        with pytest.raises(InputError, match=words):
            train_fasttext(texts, labels)
    for values, words in (
        ({"width": 0}, "width of the classifier is 0"),
        ({"learning_rate": 0}, "above 0"),
        ({"shortest_subword": 4, "longest_subword": 3}, "longest cannot be shorter"),
        ({"buckets": 0}, "buckets is 0"),
    ):
        with pytest.raises(ConfigError, match=words):
            FastTextConfig(**values)


def test_divergence_is_told():
    with pytest.raises(ConfigError, match="diverged in epoch 1"):
        train_fasttext(*made_texts(count=50), FastTextConfig(width=4, buckets=10, learning_rate=1e30))


def test_labels_may_carry_the_prefix_and_epochs_are_reported():
    texts, labels = made_texts(labels=2, count=40)
    told = []
    model = train_fasttext(texts, ["__label__" + label for label in labels], CONFIG, lambda *args: told.append(args))
    assert set(model.labels) == {"kind0", "kind1"}
    assert [epoch for epoch, _ in told] == list(range(1, 13))
    assert told[-1][1] < told[0][1]
