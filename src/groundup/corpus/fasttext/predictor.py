"""A fastText classifier in memory: `load_fasttext(path)`, `predict`, `scores`, `save`.

    hidden = mean of the input rows of a text's features (`features.py`),   p = loss(output · hidden)  (`outputs.py`)

All of it runs in one compiled loop over a batch. Quantized matrices are spread out to float32 once, at loading: the
rows then cost one read instead of a code and a centroid per piece. Results equal those of the C++ program to the
rounding of float32 (tests/corpus/test_fasttext_peer.py).
"""

# Numba takes integers of any width, which pyright tells apart.
# pyright: reportArgumentType=false

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from groundup.core.errors import ConfigError
from groundup.corpus.fasttext.features import (
    ABSENT,
    LABEL_PREFIX,
    Lookup,
    bracketed,
    concatenate,
    hash_bytes,
    is_end,
    is_label,
    make_lookup,
    next_token,
    ngram_rows,
    slot_of,
    subword_rows,
)
from groundup.corpus.fasttext.model_file import Matrix, ModelFile, read_model_file, write_model_file
from groundup.corpus.fasttext.outputs import Tree, huffman_tree, probabilities_of
from groundup.corpus.fasttext.quantization import QuantizedMatrix

ROWS_AT_ONCE = 4096  # rows of a text's features collected before they are added up
KNOWN_TOKENS, KNOWN_ROWS = (
    1 << 14,
    1 << 20,
)  # tokens of a batch whose rows are remembered: most of a text's are frequent
NO_TOKEN = -1
CHUNK_BYTES = 16 << 20
_END = np.frombuffer(b"</s>", np.uint8)


def load_fasttext(path: Path | str) -> "FastText":
    """The classifier in a `.bin` or `.ftz` file of fastText; `InputError` for a file that is none."""
    return FastText(read_model_file(Path(path)))


class Scratch(NamedTuple):
    """Memory of the compiled loop: `<token>`, the hashes of a text's tokens, rows; and the tokens seen before, by their
    hash: (start, end) in the batch's bytes, (first, last) in `known_rows`, of which `used` are in use."""

    word: np.ndarray
    hashes: np.ndarray
    rows: np.ndarray
    known: np.ndarray
    known_rows: np.ndarray
    used: np.ndarray


class FastText:
    """A classifier; `labels` without the prefix `__label__`, in the order of the columns of `probabilities`."""

    def __init__(self, file: ModelFile) -> None:
        self.file = file
        prefix = LABEL_PREFIX.decode()
        self.labels = [label.decode(errors="replace").removeprefix(prefix) for label in file.dictionary.labels]

    def predict(self, texts: Sequence[str], k: int = 1, threshold: float = 0.0) -> list[list[tuple[str, float]]]:
        """For each text the k likeliest (label, probability), falling; fewer where others are below the threshold.

        A text without any feature (possible only where `</s>` is not in the dictionary) has none. k = -1 means all.
        """
        if k == 0 or k < -1:
            raise ConfigError(f"k is {k}; it must be at least 1, or -1 for all labels.")
        found: list[list[tuple[str, float]]] = []
        for chunk_NL in self._chunks(texts):
            # The last of equals first: what fastText's heap gives for k = 1.
            order_NK = len(self.labels) - 1 - np.argsort(-chunk_NL[:, ::-1], axis=1, kind="stable")
            order_NK = order_NK if k == -1 else order_NK[:, :k]
            values_NK = np.take_along_axis(chunk_NL, order_NK, axis=1)
            for columns, values in zip(order_NK.tolist(), values_NK.tolist(), strict=True):
                pairs = zip(columns, values, strict=True)
                found.append([(self.labels[c], value) for c, value in pairs if value > 0 and value >= threshold])
        return found

    def probabilities(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Probabilities_NL of all labels; a row of zeros for a text without features."""
        chunks = list(self._chunks(texts))
        return np.concatenate(chunks) if chunks else np.empty((0, len(self.labels)), np.float32)

    def scores(self, texts: Sequence[str], label: str) -> NDArray[np.float32]:
        """The probability of one label for each text."""
        return self.probabilities(texts)[:, self.column(label)]

    def column(self, label: str) -> int:
        """The column of a label, which may carry the prefix."""
        name = label.removeprefix(LABEL_PREFIX.decode())
        if name not in self.labels:
            shown = ", ".join(self.labels[:20]) + (" ..." if len(self.labels) > 20 else "")
            raise ConfigError(f"The classifier has no label {name!r}; its labels are {shown}.")
        return self.labels.index(name)

    def save(self, path: Path | str) -> None:
        """Write the model file, `.ftz` by custom if a matrix is quantized, else `.bin`."""
        write_model_file(Path(path), self.file)

    def _chunks(self, texts: Sequence[str]) -> Iterator[NDArray[np.float32]]:
        """Probabilities_NL of the texts in turn, some megabytes of text or of probabilities at a time."""
        loss = self.file.settings.loss
        most = max(1, CHUNK_BYTES // (4 * len(self.labels)))
        for chunk in _cut(texts, most):
            data, starts = concatenate(chunk)
            out_NL = np.empty((len(chunk), len(self.labels)), np.float32)
            _predict(data, starts, self.lookup, self._input, self._output_DL, loss, self._tree, out_NL)
            yield out_NL

    @cached_property
    def lookup(self) -> Lookup:
        """The dictionary as the compiled loop needs it."""
        settings, dictionary = self.file.settings, self.file.dictionary
        return make_lookup(
            dictionary.words,
            dictionary.labels,
            buckets=settings.buckets,
            pruned=dictionary.pruned,
            subwords=(settings.shortest_subword, self.file.longest_subword),
            word_ngrams=settings.word_ngrams,
        )

    @cached_property
    def _input(self) -> NDArray[np.float32]:
        return _dense(self.file.input)

    @cached_property
    def _output_DL(self) -> NDArray[np.float32]:
        return np.ascontiguousarray(_dense(self.file.output).T)

    @cached_property
    def _tree(self) -> Tree:
        return huffman_tree(self.file.dictionary.counts[len(self.file.dictionary.words) :])


def _dense(matrix: Matrix) -> NDArray[np.float32]:
    return matrix.dense() if isinstance(matrix, QuantizedMatrix) else matrix


def _cut(texts: Sequence[str], most: int) -> Iterator[list[bytes]]:
    """The texts as UTF-8 in lists of at most so many, and of some megabytes; half a surrogate pair becomes `?`."""
    chunk: list[bytes] = []
    size = 0
    for text in texts:
        data = text.encode(errors="replace")
        chunk.append(data)
        size += len(data)
        if size >= CHUNK_BYTES or len(chunk) >= most:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


@njit(cache=True, nogil=True)
def _predict(
    data: np.ndarray,
    starts: np.ndarray,
    lookup: Lookup,
    input_RD: np.ndarray,
    output_DL: np.ndarray,
    loss: int,
    tree: Tree,
    out_NL: np.ndarray,
) -> None:
    """Probabilities of the labels for each text data[starts[i]:starts[i + 1]]."""
    longest = 0
    for text in range(len(starts) - 1):
        longest = max(longest, starts[text + 1] - starts[text])
    scratch = Scratch(
        np.empty(longest + 2, np.uint8),
        np.empty(longest // 2 + 2, np.int32),
        np.empty(ROWS_AT_ONCE, np.int32),
        np.full((KNOWN_TOKENS, 4), NO_TOKEN, np.int64),
        np.empty(KNOWN_ROWS if lookup.longest > 0 else 0, np.int32),
        np.zeros(1, np.int64),
    )
    hidden = np.empty(input_RD.shape[1], np.float32)
    for text in range(len(starts) - 1):
        hidden[:] = 0
        count = _sum_rows(data, starts[text], starts[text + 1], lookup, input_RD, hidden, scratch)
        if count == 0:
            out_NL[text] = 0
            continue
        hidden *= np.float32(1.0 / count)
        probabilities_of(hidden, output_DL, loss, tree, out_NL[text])


@njit(cache=True, nogil=True)
def _sum_rows(
    data: np.ndarray, place: int, end: int, lookup: Lookup, input_RD: np.ndarray, hidden: np.ndarray, scratch: Scratch
) -> int:
    """Add the rows of a text's features to `hidden`; returns their number."""
    # Fields and rows of arrays by name once: each access in the loop would count a reference up and down.
    known, known_rows, hashes, slots = scratch.known, scratch.known_rows, scratch.hashes, lookup.slots
    entry_bytes, starts, ends, num_words = lookup.bytes, lookup.starts, lookup.ends, lookup.num_words
    subwords, rows = lookup.longest > 0, scratch.rows
    count, tokens, ended = 0, 0, False
    while not ended:
        start, place = next_token(data, place, end)
        token, first, last = data, start, place
        if start == place or is_end(data, start, place):
            token, first, last, ended = _END, 0, len(_END), True
        value = hash_bytes(token, first, last)
        k = np.int64(value) & (KNOWN_TOKENS - 1)
        if not ended and _is_known(data, first, last, known[k, 0], known[k, 1]):
            count += _add_rows(input_RD, known_rows, known[k, 2], known[k, 3], hidden)
        else:
            entry = slots[slot_of(value, token, first, last, entry_bytes, starts, ends, slots)]
            if entry >= num_words or (entry == ABSENT and is_label(token, first, last)):
                continue
            if subwords and not ended:
                count += _add_token(data, first, last, entry, lookup, input_RD, hidden, scratch, k)
            elif entry != ABSENT:
                rows[0] = entry
                count += _add_rows(input_RD, rows, 0, 1, hidden)
        hashes[tokens] = np.int32(value)
        tokens += 1
    at = 0 if lookup.word_ngrams > 1 else tokens
    while at < tokens:
        found, at = ngram_rows(hashes, tokens, at, lookup, rows)
        count += _add_rows(input_RD, rows, 0, found, hidden)
    return count


@njit(cache=True, nogil=True)
def _is_known(data: np.ndarray, first: int, last: int, known_first: int, known_last: int) -> bool:
    """Whether the token that is remembered is this one."""
    if known_last - known_first != last - first:
        return False
    i = 0
    while i < last - first and data[known_first + i] == data[first + i]:
        i += 1
    return i == last - first


@njit(cache=True, nogil=True)
def _add_token(
    data: np.ndarray,
    first: int,
    last: int,
    entry: int,
    lookup: Lookup,
    input_RD: np.ndarray,
    hidden: np.ndarray,
    scratch: Scratch,
    k: int,
) -> int:
    """Add the rows of a token and its subwords; a token of usual length is kept at k for its next occurrence."""
    word, rows, count = scratch.word, scratch.rows, 0
    length, at = bracketed(data, first, last, word), 0
    most = length * lookup.longest + 1
    if most > ROWS_AT_ONCE:
        if entry != ABSENT:
            rows[0] = entry
            count += _add_rows(input_RD, rows, 0, 1, hidden)
        while at < length:
            found, at = subword_rows(word, length, at, lookup, rows)
            count += _add_rows(input_RD, rows, 0, found, hidden)
        return count
    known, known_rows, used = scratch.known, scratch.known_rows, scratch.used
    if used[0] + most > KNOWN_ROWS:  # full: forget all
        known[:] = NO_TOKEN
        used[0] = 0
    start = used[0]
    if entry != ABSENT:
        known_rows[start] = entry
        count = 1
    found, _ = subword_rows(word, length, 0, lookup, known_rows[start + count : start + most])
    count += found
    used[0] = start + count
    known[k, 0], known[k, 1], known[k, 2], known[k, 3] = first, last, start, start + count
    return _add_rows(input_RD, known_rows, start, start + count, hidden)


@njit(cache=True, nogil=True)
def _add_rows(input_RD: np.ndarray, rows: np.ndarray, first: int, last: int, hidden: np.ndarray) -> int:
    for i in range(first, last):
        row = rows[i]
        for d in range(len(hidden)):
            hidden[d] += input_RD[row, d]
    return last - first
