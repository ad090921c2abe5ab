"""From a hidden vector to the probabilities of the labels, for fastText's four losses.

    softmax                  p = softmax(output · hidden)
    one-vs-all, negative s.  p = σ(output · hidden), read from a table of 512 steps over [-8, 8], as in training
    hierarchical softmax     labels are the leaves of a Huffman tree over their counts; each inner node has a vector:
                             p(right) = σ(vector · hidden), p(label) = Π of the branches to it
                             (Morin and Bengio 2005)

fastText adds 1e-5 to a probability before it takes the logarithm, on every branch of a tree too, and gives exp of the
sum; that stays as it is here, so a probability can be 1.00001. A subtree below 1e-5 is not looked into: 0 stands for
its labels, and `predict` leaves them out. Source: loss.cc.
"""

from typing import NamedTuple

import numpy as np
from numba import njit

from groundup.corpus.fasttext.model_file import HIERARCHICAL, SOFTMAX

LOG_OFFSET = 1e-5
SIGMOID_STEPS, SIGMOID_LIMIT = 512, 8
_EDGES = np.arange(SIGMOID_STEPS + 1, dtype=np.float32) * np.float32(2 * SIGMOID_LIMIT) / np.float32(SIGMOID_STEPS)
SIGMOIDS = (1 / (1 + np.exp(-(_EDGES - np.float32(SIGMOID_LIMIT)).astype(np.float64)))).astype(np.float32)
LEAST_LOG = np.float32(np.log(LOG_OFFSET))


class Tree(NamedTuple):
    """A Huffman tree of L leaves (labels 0 … L - 1) and L - 1 inner nodes L …; parents come later, the root last."""

    left: np.ndarray
    right: np.ndarray
    parent: np.ndarray


def huffman_tree(counts: np.ndarray) -> Tree:
    """The tree over the labels' counts, which fall; the two rarest nodes are joined again and again."""
    labels = len(counts)
    nodes = 2 * labels - 1
    left, right, parent = (np.full(nodes, -1, np.int32) for _ in range(3))
    weights = [*map(int, counts), *[10**15] * (labels - 1)]
    leaf, node = labels - 1, labels
    for joined in range(labels, nodes):
        pair = []
        for _ in range(2):
            if leaf >= 0 and weights[leaf] < weights[node]:
                pair.append(leaf)
                leaf -= 1
            else:
                pair.append(node)
                node += 1
        left[joined], right[joined] = pair
        weights[joined] = weights[pair[0]] + weights[pair[1]]
        parent[pair] = joined
    return Tree(left, right, parent)


@njit(cache=True, nogil=True)
def probabilities_of(hidden: np.ndarray, output_DL: np.ndarray, loss: int, tree: Tree, out: np.ndarray) -> None:
    """Write the probability of each label to `out`; output_DL is transposed so that sums keep fastText's order."""
    out[:] = 0
    for d in range(len(hidden)):
        for label in range(len(out)):
            out[label] += output_DL[d, label] * hidden[d]
    if loss == HIERARCHICAL:
        _tree(out, tree)
        return
    if loss == SOFTMAX:
        _softmax(out)
    else:
        for label in range(len(out)):
            out[label] = table_sigmoid(out[label])
    for label in range(len(out)):
        out[label] = np.exp(_log(out[label]))


@njit(cache=True, nogil=True)
def _softmax(out: np.ndarray) -> None:
    largest = out.max()
    total = np.float32(0)
    for label in range(len(out)):
        out[label] = np.exp(out[label] - largest)
        total += out[label]
    for label in range(len(out)):
        out[label] /= total


@njit(cache=True, nogil=True)
def table_sigmoid(x: np.float32) -> np.float32:
    """σ(x) at the step below x."""
    if x < -SIGMOID_LIMIT:
        return np.float32(0)
    if x > SIGMOID_LIMIT:
        return np.float32(1)
    return SIGMOIDS[int((x + np.float32(SIGMOID_LIMIT)) * np.float32(SIGMOID_STEPS / SIGMOID_LIMIT / 2))]


@njit(cache=True, nogil=True)
def _tree(out: np.ndarray, tree: Tree) -> None:
    """Walk from the root down; `out` comes in with the inner nodes' products and goes out with probabilities."""
    labels = len(out)
    scores = np.full(len(tree.left), np.float32(-np.inf))
    scores[-1] = 0
    for node in range(len(scores) - 1, labels - 1, -1):
        if scores[node] >= LEAST_LOG:
            right = np.float32(1 / (1 + np.exp(-out[node - labels])))
            scores[tree.left[node]] = scores[node] + _log(np.float32(1 - right))
            scores[tree.right[node]] = scores[node] + _log(right)
    for label in range(labels):
        out[label] = np.exp(scores[label]) if scores[label] >= LEAST_LOG else np.float32(0)


@njit(cache=True, nogil=True)
def _log(x: np.float32) -> np.float32:
    return np.float32(np.log(np.float64(x) + LOG_OFFSET))
