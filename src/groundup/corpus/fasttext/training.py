"""A fastText classifier from labelled texts: `train_fasttext(texts, labels, config)`.

With x the features of a text (`features.py`), n their number and y its label,

    hidden = Σ input[x] / n,   loss = -log p(y),   input[x] ← input[x] - rate · ∂loss/∂hidden / n,

one text at a time, the rate falling linearly to 0 over all tokens of all epochs. Input rows start uniform in
[-1/width, 1/width], output rows at 0. Loss: softmax, or the hierarchical softmax for hundreds of labels.
Joulin et al. 2016, arXiv:1607.01759.

Where it differs from the C++ program: texts are read and cut into tokens once, not once per epoch; every epoch visits
them in a new order (the C++ program takes the file's, and learns little from one that is sorted by label); there is one
thread, so the same input and seed give the same bytes on the same kind of processor.
"""

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import ConfigError, InputError
from groundup.corpus.fasttext.config import FastTextConfig
from groundup.corpus.fasttext.features import ABSENT, END, LABEL_PREFIX, Lookup, concatenate, make_lookup
from groundup.corpus.fasttext.learning import feature_rows, fill_uniform, learn_epoch, most_features
from groundup.corpus.fasttext.model_file import HIERARCHICAL, SOFTMAX, SUPERVISED, Dictionary, ModelFile, Settings
from groundup.corpus.fasttext.outputs import huffman_tree
from groundup.corpus.fasttext.predictor import FastText
from groundup.corpus.fasttext.vocabulary import Tokens, read_tokens

_LOSSES = {"softmax": SOFTMAX, "hierarchical": HIERARCHICAL}


def train_fasttext(
    texts: Sequence[str],
    labels: Sequence[str],
    config: FastTextConfig | None = None,
    report: Callable[[int, float], None] | None = None,
) -> FastText:
    """A classifier from texts with one label each; `report` hears each epoch's number and mean loss."""
    config = config or FastTextConfig()
    names, label_counts, targets = _labels(texts, labels)
    data, starts = concatenate([*(text.encode(errors="replace") for text in texts), END])
    tokens = read_tokens(data, starts)
    order, word_rows = _choose_words(tokens, config.min_count)
    dictionary = Dictionary(
        [bytes(data[tokens.begin[i] : tokens.end[i]]) for i in order],
        [LABEL_PREFIX + name.encode() for name in names],
        np.concatenate([tokens.counts[order], label_counts]),
        len(tokens.ids) + len(texts),  # a label is a token in fastText's own files
    )
    settings = _settings(config)
    lookup = make_lookup(
        dictionary.words,
        dictionary.labels,
        buckets=settings.buckets,
        pruned=None,
        subwords=(config.shortest_subword, config.longest_subword),
        word_ngrams=config.word_ngrams,
    )
    input_RD = np.empty((len(order) + settings.buckets, config.width), np.float32)
    fill_uniform(input_RD, 1 / config.width, config.seed)
    output_LD = np.zeros((len(names), config.width), np.float32)
    _learn(data, tokens, targets, word_rows, lookup, label_counts, input_RD, output_LD, config, report)
    return FastText(ModelFile(settings, dictionary, input_RD, output_LD))


def _learn(
    data: NDArray[np.uint8],
    tokens: Tokens,
    targets: NDArray[np.int32],
    word_rows: NDArray[np.int32],
    lookup: Lookup,
    label_counts: NDArray[np.int64],
    input_RD: NDArray[np.float32],
    output_LD: NDArray[np.float32],
    config: FastTextConfig,
    report: Callable[[int, float], None] | None,
) -> None:
    """Run the epochs."""
    rows = feature_rows(data, tokens, word_rows, lookup)
    scratch = np.empty(most_features(tokens, rows, config.word_ngrams), np.int32)
    tree = huffman_tree(label_counts)
    total = len(tokens.ids) * config.epochs
    for epoch in range(config.epochs):
        generator = np.random.default_rng([config.seed, epoch])
        visits = generator.permutation(len(targets))
        done = epoch * len(tokens.ids)
        loss = learn_epoch(
            visits, tokens, targets, rows, lookup, tree, input_RD, output_LD, scratch,
            _LOSSES[config.loss], config.learning_rate, done, total,
        )  # fmt: skip
        if not np.isfinite(loss):
            raise ConfigError(
                f"Training the classifier diverged in epoch {epoch + 1} (loss {loss}) at learning_rate "
                f"{config.learning_rate}; choose a lower one."
            )
        if report:
            report(epoch + 1, loss)


def _labels(texts: Sequence[str], labels: Sequence[str]) -> tuple[list[str], NDArray[np.int64], NDArray[np.int32]]:
    """(the distinct labels, frequent ones first; their counts; the number of each text's label)."""
    if len(texts) != len(labels):
        raise InputError(f"There are {len(texts):,} texts and {len(labels):,} labels; each text needs one label.")
    bare = [label.removeprefix(LABEL_PREFIX.decode()) for label in labels]
    wrong = next((label for label in bare if not label or label.split() != [label] or "\0" in label), None)
    if wrong is not None:
        raise InputError(f"{wrong!r} cannot be a label; a label is one word without white space.")
    counts: dict[str, int] = {}
    for label in bare:
        counts[label] = counts.get(label, 0) + 1
    if len(counts) < 2:
        raise InputError(f"A classifier needs texts of at least two labels; these have {', '.join(counts) or 'none'}.")
    names = sorted(counts, key=lambda name: (-counts[name], name))
    numbers = {name: number for number, name in enumerate(names)}
    targets = np.fromiter((numbers[label] for label in bare), np.int32, len(bare))
    return names, np.array([counts[name] for name in names], np.int64), targets


def _choose_words(tokens: Tokens, min_count: int) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(the tokens that are words of the dictionary, frequent ones first; the row of each token, or ABSENT)."""
    kept = np.flatnonzero(tokens.counts >= min_count)
    order = kept[np.argsort(-tokens.counts[kept], kind="stable")]
    rows = np.full(len(tokens.counts), ABSENT, np.int32)
    rows[order] = np.arange(len(order))
    return order, rows


def _settings(config: FastTextConfig) -> Settings:
    """The head of the file; what a classifier has no use for stands at fastText's defaults."""
    return Settings(
        width=config.width,
        window=5,
        epochs=config.epochs,
        min_count=config.min_count,
        negatives=5,
        word_ngrams=config.word_ngrams,
        loss=_LOSSES[config.loss],
        kind=SUPERVISED,
        buckets=config.buckets if config.uses_buckets else 0,
        shortest_subword=config.shortest_subword,
        longest_subword=config.longest_subword,
        rate_updates=100,
        sampling=1e-4,
    )
