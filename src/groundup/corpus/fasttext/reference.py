"""The classifier in plain Python, for reading and as the oracle of the compiled one: slow, and a page long."""

import math
import re

import numpy as np

from groundup.corpus.fasttext.features import END, LABEL_PREFIX
from groundup.corpus.fasttext.model_file import HIERARCHICAL, SOFTMAX, ModelFile
from groundup.corpus.fasttext.quantization import QuantizedMatrix


def hash_token(token: bytes) -> int:
    """FNV-1a of 32 bits over signed bytes."""
    value = 2166136261
    for byte in token:
        signed = byte - 256 if byte > 127 else byte
        value = ((value ^ (signed & 0xFFFFFFFF)) * 16777619) & 0xFFFFFFFF
    return value


def tokens_of(text: str) -> list[bytes]:
    """The tokens of a text, `</s>` at the end."""
    tokens = [token for token in re.split(rb"[ \t\n\v\f\r\0]+", text.encode(errors="replace")) if token]
    tokens = [*tokens, END]
    return tokens[: tokens.index(END) + 1]


def subwords_of(token: bytes, shortest: int, longest: int) -> list[bytes]:
    """The character n-grams of `<token>`, by where they begin; bytes that are no UTF-8 go with the character before."""
    characters = re.findall(rb".[\x80-\xbf]*", b"<" + token + b">", re.DOTALL)
    found = []
    for first in range(len(characters)):
        for n in range(max(shortest, 1), longest + 1):
            last = first + n
            bracket_alone = n == 1 and (first == 0 or last == len(characters))
            if last <= len(characters) and not bracket_alone:
                found.append(b"".join(characters[first:last]))
    return found


def features_of(text: str, file: ModelFile) -> list[int]:
    """The rows of the input matrix that the text's hidden vector is the mean of."""
    settings, dictionary = file.settings, file.dictionary
    words = {word: row for row, word in enumerate(dictionary.words)}

    def row_of(bucket: int) -> list[int]:
        if dictionary.pruned is None:
            return [len(words) + bucket]
        return [len(words) + dictionary.pruned[bucket]] if bucket in dictionary.pruned else []

    rows: list[int] = []
    hashes = []
    for token in tokens_of(text):
        if token not in words and (token in dictionary.labels or token.startswith(LABEL_PREFIX)):
            continue
        rows += [words[token]] if token in words else []
        if token != END:
            for subword in subwords_of(token, settings.shortest_subword, file.longest_subword):
                rows += row_of(hash_token(subword) % settings.buckets)
        value = hash_token(token)
        hashes.append(value - 2**32 if value >= 2**31 else value)
    for first in range(len(hashes)):
        value = hashes[first]
        for following in hashes[first + 1 : first + settings.word_ngrams]:
            value = (value * 116049371 + following) % 2**64
            rows += row_of(value % settings.buckets)
    return rows


def probabilities_of(text: str, file: ModelFile) -> list[float]:
    """The probability of each label, 1e-5 added as fastText does; 0 for labels in a subtree that is not looked into."""
    labels = len(file.dictionary.labels)
    rows = features_of(text, file)
    if not rows:
        return [0.0] * labels
    dense = [m.dense() if isinstance(m, QuantizedMatrix) else m for m in (file.input, file.output)]
    products = dense[1].astype(float) @ dense[0][rows].astype(float).mean(axis=0)
    if file.settings.loss == HIERARCHICAL:
        return _tree_probabilities(products, [int(c) for c in file.dictionary.counts[-labels:]])
    if file.settings.loss == SOFTMAX:
        exponentials = np.exp(products - products.max())
        return (exponentials / exponentials.sum() + 1e-5).tolist()
    steps = np.clip(np.floor((products + 8) * 32), 0, 512) / 32 - 8
    inside = 1 / (1 + np.exp(-steps))
    return (np.where(products < -8, 0, np.where(products > 8, 1, inside)) + 1e-5).tolist()


def _tree_probabilities(products: np.ndarray, counts: list[int]) -> list[float]:
    """Huffman's tree by its definition: join the two rarest, of equals the inner node, then the later label."""
    labels = len(counts)
    nodes = dict(enumerate(counts))
    children = {}
    for joined in range(labels, 2 * labels - 1):
        rarest = sorted(nodes, key=lambda n: (nodes[n], n < labels, n if n >= labels else -n))[:2]
        children[joined] = rarest
        nodes[joined] = nodes.pop(rarest[0]) + nodes.pop(rarest[1])
    logs = {2 * labels - 2: 0.0}
    for joined in sorted(children, reverse=True):
        if logs.get(joined, -math.inf) >= math.log(1e-5):
            right = 1 / (1 + math.exp(-products[joined - labels]))
            for child, branch in zip(children[joined], (1 - right, right), strict=True):
                logs[child] = logs[joined] + math.log(branch + 1e-5)
    found = [logs.get(label, -math.inf) for label in range(labels)]
    return [math.exp(log) if log >= math.log(1e-5) else 0.0 for log in found]
