"""How surprising a text is to a model of good text, and the buckets head, middle and tail.

CCNet (Wenzek et al. 2019, arXiv:1911.00359) scores every page by the perplexity of a Kneser-Ney 5-gram model of
Wikipedia and cuts each language at two quantiles: head is close to the model's text, tail far from it. Here the model
is ours, over bytes (`corpus/kneser_ney.py`), so no tokenizer is needed, and the score is in bits per byte:

    bits(x) = -1/|x| sum over i of log2 p(x_i | x_{i-n+1} ... x_{i-1}),        perplexity per byte = 2^bits.

Bits per byte of different languages are not comparable: train one model per language. The quantiles are those of a
reference set that the model has not seen, by default a tenth of the training texts, or of a sample of the crawl
(CCNet's way). A low score is no proof of quality: lists and boilerplate that repeat themselves score low too.

Scoring reads a table that has, for each n-gram of each order, its discounted relative frequency and the mass that it
passes down as a context of the next order (1 where it is none). The n-grams that end at a byte are looked up from the
shortest on until one is missing, since then the longer ones are missing too; the contexts are the n-grams that were
found at the byte before. That is one look-up per order and byte, in place of the two binary searches of
`KneserNey.log2_probabilities`, which is the reference.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import ConfigError, InputError
from groundup.core.files import new_file, require_file
from groundup.corpus.filters.characters import compiled, pack
from groundup.corpus.filters.scanning import Hashes, Integers
from groundup.corpus.filters.tokens import spread
from groundup.corpus.kneser_ney import LONGEST_ORDER, KneserNey, train

BUCKETS = ("head", "middle", "tail")
EMPTY = np.uint64(2**64 - 1)  # eight bytes 0xFF, which UTF-8 does not have
EIGHT = np.uint64(8)
FORMAT = 1
Values = NDArray[np.float64]


@dataclass(frozen=True)
class PerplexityConfig:
    """The model's order in bytes, the quantiles between the buckets, and the part of the texts that sets them."""

    order: int = 6
    quantiles: tuple[float, float] = (0.3, 0.6)
    """CCNet's: head is the best 30 %, tail the worst 40 %"""
    reference_every: int = 10
    """every so manieth training text is not trained on but scored for the quantiles"""

    def __post_init__(self) -> None:
        if not 1 <= self.order <= LONGEST_ORDER:
            raise ConfigError(f"perplexity.order is {self.order}; it must be 1 to {LONGEST_ORDER} bytes.")
        if not 0 <= self.quantiles[0] <= self.quantiles[1] <= 1:
            raise ConfigError(f"perplexity.quantiles are {self.quantiles}; they must rise from 0 to 1.")
        if self.reference_every < 2:
            raise ConfigError(f"perplexity.reference_every is {self.reference_every}; it must be at least 2.")


class Ngrams(NamedTuple):
    """The open-addressing tables of all orders, one behind the other."""

    keys: Hashes
    discounted: NDArray[np.float32]
    passed_down: NDArray[np.float32]
    starts: Integers
    """of each order's table; each is a power of two long"""
    opening: Values
    """the mass that each order's context of NUL bytes, the beginning of a text, passes down"""


@dataclass(frozen=True)
class PerplexityModel:
    """A model with the scores (bits per byte) up to which a text is head, and middle."""

    ngrams: Ngrams
    bounds: tuple[float, float]

    @property
    def order(self) -> int:
        """The longest n-gram, in bytes."""
        return len(self.ngrams.opening)

    def bits_per_byte(self, texts: Sequence[str]) -> Values:
        """The score of each text; infinite for an empty one."""
        data, offsets = pack([text.encode("utf-8", "surrogatepass") for text in texts])
        bits = np.zeros(len(texts))
        _score(data, offsets, self.ngrams, bits)
        return bits

    def buckets(self, texts: Sequence[str]) -> list[str]:
        """ "head", "middle" or "tail" for each text."""
        return [BUCKETS[place] for place in np.searchsorted(self.bounds, self.bits_per_byte(texts))]

    def with_bounds(self, reference: Sequence[str], quantiles: tuple[float, float]) -> "PerplexityModel":
        """The same model with the quantiles of other texts, such as a sample of the crawl."""
        scores = self.bits_per_byte([text for text in reference if text])
        if not len(scores):
            raise InputError("The quantiles of perplexity need at least one reference text that is not empty.")
        low, high = np.quantile(scores, quantiles)
        return PerplexityModel(self.ngrams, (float(low), float(high)))

    def save(self, path: Path) -> None:
        """Write a `.npz` file."""
        with new_file(path) as file:
            np.savez(file, format=np.int64(FORMAT), bounds=np.array(self.bounds), **self.ngrams._asdict())


def load_perplexity(path: Path) -> PerplexityModel:
    """Read what `save` wrote."""
    require_file(path)
    try:
        with open(path, "rb") as raw, np.load(raw, allow_pickle=False) as file:
            fields = {name: file[name] for name in (*Ngrams._fields, "bounds", "format")}
    except (OSError, ValueError, KeyError, EOFError, BadZipFile) as error:
        raise InputError(f"{path} is no perplexity model ({error}); train it again.") from error
    if int(fields["format"]) != FORMAT:
        raise InputError(f"{path} has the format {fields['format']}, this version reads {FORMAT}; train it again.")
    low, high = fields["bounds"]
    return PerplexityModel(Ngrams(*(fields[name] for name in Ngrams._fields)), (float(low), float(high)))


def train_perplexity(texts: Sequence[str], config: PerplexityConfig | None = None) -> PerplexityModel:
    """A model of good texts; needs some tens of megabytes to be of use, and at least `reference_every` texts."""
    config = config or PerplexityConfig()
    if len(texts) < config.reference_every:
        raise InputError(
            f"{len(texts)} texts are too few for a perplexity model; give at least {config.reference_every}, of which "
            f"every {config.reference_every}th sets the quantiles."
        )
    reference = texts[:: config.reference_every]
    rest = [text for place, text in enumerate(texts) if place % config.reference_every]
    model = train([text.encode("utf-8", "surrogatepass") for text in rest], config.order)
    return PerplexityModel(compile_ngrams(model), (0.0, 0.0)).with_bounds(reference, config.quantiles)


def compile_ngrams(model: KneserNey) -> Ngrams:
    """The tables of a model."""
    sizes = [1 << (2 * len(level.ngrams)).bit_length() for level in model.levels]
    starts = np.cumsum([0, *sizes])
    keys = np.full(starts[-1], EMPTY, np.uint64)
    discounted, passed_down = np.zeros(starts[-1], np.float32), np.ones(starts[-1], np.float32)
    opening = np.ones(model.order)
    for order, level in enumerate(model.levels):
        if level.contexts[0] == 0:
            opening[order] = level.passed_down[0]
        mass = np.ones(len(level.ngrams))
        if order + 1 < model.order:
            above = model.levels[order + 1]
            place = np.minimum(np.searchsorted(above.contexts, level.ngrams), len(above.contexts) - 1)
            mass = np.where(above.contexts[place] == level.ngrams, above.passed_down[place], 1.0)
        own = slice(starts[order], starts[order + 1])
        _fill(keys[own], discounted[own], passed_down[own], level.ngrams, level.discounted, mass)
    return Ngrams(keys, discounted, passed_down, starts, opening)


@compiled
def _fill(
    keys: Hashes,
    discounted: NDArray[np.float32],
    passed_down: NDArray[np.float32],
    ngrams: Hashes,
    frequencies: Values,
    mass: Values,
) -> None:
    for number in range(len(ngrams)):
        slot = _find(keys, ngrams[number])
        keys[slot] = ngrams[number]
        discounted[slot], passed_down[slot] = frequencies[number], mass[number]


@compiled
def _find(keys: Hashes, key: np.uint64) -> np.int64:
    """The slot of a key, or the empty one where it belongs."""
    mask = np.uint64(len(keys) - 1)
    slot = spread(key) & mask
    while keys[slot] != key and keys[slot] != EMPTY:
        slot = (slot + np.uint64(1)) & mask
    return np.int64(slot)


@compiled
def _score(data: NDArray[np.uint8], offsets: Integers, ngrams: Ngrams, bits: Values) -> None:
    order = len(ngrams.opening)
    for text in range(len(offsets) - 1):
        start, end = offsets[text], offsets[text + 1]
        contexts = ngrams.opening.copy()  # of each order, the mass that the bytes before pass down
        recent = np.uint64(0)
        total, product = 0.0, 1.0
        for place in range(start, end):
            recent = recent << EIGHT | np.uint64(data[place])
            probability = 1 / 256
            following, missing = ngrams.opening[0], False
            for k in range(order):
                probability *= contexts[k]
                contexts[k] = following
                following = 1.0
                if not missing:
                    first, shift = ngrams.starts[k], np.uint64(56 - 8 * k)
                    key = recent << shift >> shift
                    slot = first + _find(ngrams.keys[first : ngrams.starts[k + 1]], key)
                    missing = ngrams.keys[slot] != key
                    if not missing:
                        probability += ngrams.discounted[slot]
                        following = ngrams.passed_down[slot]
            product *= probability
            if product < 1e-200:
                total += np.log2(product)
                product = 1.0
        bits[text] = -(total + np.log2(product)) / (end - start) if end > start else np.inf
