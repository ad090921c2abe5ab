"""The compiled loops of training: features of the distinct tokens, the first numbers, one epoch of updates."""

from typing import NamedTuple

import numpy as np
from numba import njit

from groundup.corpus.fasttext.features import ABSENT, Lookup, bracketed, ngram_rows, subword_rows
from groundup.corpus.fasttext.model_file import HIERARCHICAL
from groundup.corpus.fasttext.outputs import Tree
from groundup.corpus.fasttext.vocabulary import Tokens

LEAST_PROBABILITY = 1e-30  # so that the reported loss is finite
_SUMS = {"reassoc", "contract", "nsz"}  # lets the compiler add up several numbers at once


class Rows(NamedTuple):
    """The input rows of distinct token i: rows[starts[i]:starts[i + 1]]."""

    starts: np.ndarray
    rows: np.ndarray


def feature_rows(data: np.ndarray, tokens: Tokens, word_rows: np.ndarray, lookup: Lookup) -> Rows:
    """The rows of each distinct token: its own if it is a word, and those of its subwords."""
    return Rows(*_feature_rows(data, tokens, word_rows, lookup))


@njit(cache=True, nogil=True)
def _feature_rows(data: np.ndarray, tokens: Tokens, word_rows: np.ndarray, lookup: Lookup) -> tuple:
    longest = 0
    for token in range(len(tokens.begin)):
        longest = max(longest, tokens.end[token] - tokens.begin[token])
    word = np.empty(longest + 2, np.uint8)
    out = np.empty((longest + 3) * lookup.longest, np.int32)
    starts = np.zeros(len(tokens.begin) + 1, np.int64)
    rows = np.empty(2 * len(tokens.begin) + 1, np.int32)
    count = 0
    for token in range(len(tokens.begin)):
        found = 0
        if lookup.longest > 0 and token > 0:  # `</s>` has no subwords
            length = bracketed(data, tokens.begin[token], tokens.end[token], word)
            found, _ = subword_rows(word, length, 0, lookup, out)
        while count + found + 1 > len(rows):
            rows = np.append(rows, rows)
        if word_rows[token] != ABSENT:
            rows[count] = word_rows[token]
            count += 1
        rows[count : count + found] = out[:found]
        count += found
        starts[token + 1] = count
    return starts, rows[:count]


@njit(cache=True, nogil=True)
def most_features(tokens: Tokens, rows: Rows, word_ngrams: int) -> int:
    """The greatest number of features that a text can have."""
    most = 0
    for text in range(len(tokens.starts) - 1):
        count = (tokens.starts[text + 1] - tokens.starts[text]) * (word_ngrams - 1)
        for i in range(tokens.starts[text], tokens.starts[text + 1]):
            count += rows.starts[tokens.ids[i] + 1] - rows.starts[tokens.ids[i]]
        most = max(most, count)
    return most + word_ngrams


@njit(cache=True, nogil=True)
def fill_uniform(matrix: np.ndarray, limit: float, seed: int) -> None:
    """Fill with numbers uniform in [-limit, limit): SplitMix64 (Steele, Lea and Flood 2014) of seed and place."""
    flat = matrix.reshape(-1)
    scale = np.float32(limit / (1 << 23))
    state = np.uint64(seed) * np.uint64(0xD1342543DE82EF95)
    for i in range(len(flat)):
        state += np.uint64(0x9E3779B97F4A7C15)
        mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        flat[i] = np.float32(np.int64(mixed >> np.uint64(40)) - (1 << 23)) * scale


@njit(cache=True, nogil=True, fastmath=_SUMS)
def learn_epoch(
    visits: np.ndarray,
    tokens: Tokens,
    targets: np.ndarray,
    rows: Rows,
    lookup: Lookup,
    tree: Tree,
    input_RD: np.ndarray,
    output_LD: np.ndarray,
    scratch: np.ndarray,
    loss: int,
    learning_rate: float,
    done: int,
    total: int,
) -> float:
    """One pass over the texts in the order of `visits`; returns the mean loss. Changes the matrices."""
    width = input_RD.shape[1]
    hidden, gradient = np.empty(width, np.float32), np.empty(width, np.float32)
    outputs = np.empty(len(output_LD), np.float32)
    losses = 0.0
    for visit in range(len(visits)):
        text = int(visits[visit])
        first, last = tokens.starts[text], tokens.starts[text + 1]
        count = _collect(tokens, first, last, rows, lookup, scratch)
        rate = np.float32(learning_rate * (1 - done / total))
        done += last - first
        if count == 0:
            continue
        hidden[:] = 0
        for i in range(count):
            row = input_RD[scratch[i]]
            for d in range(width):
                hidden[d] += row[d]
        share = np.float32(1.0 / count)
        for d in range(width):
            hidden[d] *= share
        gradient[:] = 0
        if loss == HIERARCHICAL:
            losses += _update_tree(int(targets[text]), tree, hidden, output_LD, gradient, rate)
        else:
            losses += _update_softmax(int(targets[text]), hidden, output_LD, outputs, gradient, rate)
        for d in range(width):
            gradient[d] *= share
        for i in range(count):
            row = input_RD[scratch[i]]
            for d in range(width):
                row[d] += gradient[d]
    return losses / len(visits)


@njit(cache=True, nogil=True)
def _collect(tokens: Tokens, first: int, last: int, rows: Rows, lookup: Lookup, out: np.ndarray) -> int:
    """Write the input rows of a text's features to `out`; returns their number."""
    count = 0
    for i in range(first, last):
        token = tokens.ids[i]
        for place in range(rows.starts[token], rows.starts[token + 1]):
            out[count] = rows.rows[place]
            count += 1
    if lookup.word_ngrams > 1:
        hashes = tokens.hashes[tokens.ids[first:last]]
        found, _ = ngram_rows(hashes, last - first, 0, lookup, out[count:])
        count += found
    return count


@njit(cache=True, nogil=True, fastmath=_SUMS)
def _dot(a: np.ndarray, b: np.ndarray) -> np.float32:
    total = np.float32(0)
    for d in range(len(a)):
        total += a[d] * b[d]
    return total


@njit(cache=True, nogil=True, fastmath=_SUMS)
def _step(row: np.ndarray, hidden: np.ndarray, gradient: np.ndarray, alpha: np.float32) -> None:
    """Move an output row, and keep what its old value says about the hidden vector."""
    for d in range(len(row)):
        gradient[d] += alpha * row[d]
        row[d] += alpha * hidden[d]


@njit(cache=True, nogil=True)
def _update_softmax(
    target: int, hidden: np.ndarray, output_LD: np.ndarray, outputs: np.ndarray, gradient: np.ndarray, rate: np.float32
) -> float:
    for label in range(len(outputs)):
        outputs[label] = _dot(output_LD[label], hidden)
    largest, total = outputs.max(), np.float32(0)
    for label in range(len(outputs)):
        outputs[label] = np.exp(outputs[label] - largest)
        total += outputs[label]
    for label in range(len(outputs)):
        probability = outputs[label] / total
        _step(output_LD[label], hidden, gradient, rate * (np.float32(label == target) - probability))
    return -np.log(outputs[target] / total + LEAST_PROBABILITY)


@njit(cache=True, nogil=True)
def _update_tree(
    target: int, tree: Tree, hidden: np.ndarray, output_LD: np.ndarray, gradient: np.ndarray, rate: np.float32
) -> float:
    loss, node, labels = 0.0, target, len(output_LD)
    while tree.parent[node] >= 0:
        parent = tree.parent[node]
        goes_right = np.float32(tree.right[parent] == node)
        row = output_LD[parent - labels]
        right = np.float32(1 / (1 + np.exp(-_dot(row, hidden))))
        loss -= np.log(abs(1 - goes_right - right) + LEAST_PROBABILITY)
        _step(row, hidden, gradient, rate * (goes_right - right))
        node = parent
    return loss
