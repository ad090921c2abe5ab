"""How much of each domain or source goes into training, and which documents.

Three ways to weights, each over named domains with n_d bytes (or tokens):

    scaled_weights        w_d ~ n_d f_d         up or down by a factor f_d: more of the encyclopedia, less of the forum
    temperature_weights   w_d ~ n_d^(1/T)       T = 1 as the data come, T -> infinity all alike (arXiv:1911.02116,
                                                with alpha = 1/T)
    DSIR                  per document, see below

`plan_mixture` turns weights and a budget into bytes and epochs of each domain; no domain is repeated more often than
`max_epochs` (four cost next to nothing, arXiv:2305.16264), what it cannot give the others share by their weights.
`choose_repeats` says how often each document is taken: the whole part of the epochs, and once more for a random
choice of documents that makes up the rest.

DSIR (Xie et al. 2023, "Data Selection for Language Models via Importance Resampling", arXiv:2302.03169): a document x
is a bag of unigrams and bigrams of words, hashed into m buckets, with counts z_j. With p and q the bucket frequencies
of the target texts and of the raw texts, the importance weight is

    log w(x) = sum over j of z_j (log p_j - log q_j).

`drawing_order` sorts the documents by log w + g, g from the standard Gumbel distribution: the first k are then k drawn
without replacement with probabilities in proportion to w. Where we deviate: each bucket has `smoothing` counts added,
so none has probability zero. Long documents have weights of larger size either way; cut them to parts of similar
length first.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import ConfigError, InputError
from groundup.corpus.filters.characters import compiled
from groundup.corpus.filters.scanning import Hashes, Integers
from groundup.corpus.filters.tokens import spread, token_hashes

BIGRAM = np.uint64(0xD6E8FEB86659FD93)
Values = NDArray[np.float64]


@dataclass(frozen=True)
class Share:
    """What a domain contributes: its part of the mixture, the bytes taken, how often it is gone through."""

    weight: float
    bytes: float
    epochs: float


@dataclass(frozen=True)
class DsirConfig:
    """The bag of n-grams."""

    buckets: int = 10_000
    smoothing: float = 0.01
    """counts added to each bucket of both models; together few beside the words of a small target, whose own words
    would else look rare in it"""

    def __post_init__(self) -> None:
        if self.buckets < 1 or self.smoothing <= 0:
            raise ConfigError(
                f"dsir: buckets = {self.buckets} must be at least 1 and smoothing = {self.smoothing} above 0."
            )


def scaled_weights(sizes: Mapping[str, float], factors: Mapping[str, float]) -> dict[str, float]:
    """Weights in proportion to size times factor; a domain without a factor keeps 1, one with 0 is left out."""
    for domain, factor in factors.items():
        if domain not in sizes:
            raise ConfigError(f"There is no domain {domain!r} to weigh; there are {', '.join(sizes)}.")
        if factor < 0:
            raise ConfigError(f"The factor of {domain!r} is {factor}; it must be at least 0.")
    return _normalised({domain: size * factors.get(domain, 1.0) for domain, size in sizes.items()})


def temperature_weights(sizes: Mapping[str, float], temperature: float) -> dict[str, float]:
    """Weights in proportion to size^(1 / temperature)."""
    if temperature <= 0:
        raise ConfigError(f"The temperature is {temperature}; it must be above 0 (1 leaves the sizes as they are).")
    largest = max(sizes.values(), default=0.0)
    return _normalised(
        {domain: (size / largest) ** (1 / temperature) if size else 0.0 for domain, size in sizes.items()}
    )


def plan_mixture(
    sizes: Mapping[str, float], weights: Mapping[str, float], budget: float, max_epochs: float = 4.0
) -> dict[str, Share]:
    """Bytes and epochs of each domain for a budget of bytes; less than the budget where the epochs do not allow it."""
    if budget <= 0 or max_epochs <= 0:
        raise ConfigError(f"The budget ({budget}) and max_epochs ({max_epochs}) of a mixture must be above 0.")
    taken = dict.fromkeys(sizes, 0.0)
    open_domains = {domain for domain in sizes if weights.get(domain, 0) > 0}
    left = budget
    while open_domains and left > 0:
        total = sum(weights[domain] for domain in open_domains)
        full = {d for d in open_domains if taken[d] + left * weights[d] / total >= sizes[d] * max_epochs}
        for domain in full or open_domains:
            taken[domain] = sizes[domain] * max_epochs if full else taken[domain] + left * weights[domain] / total
        left = budget - sum(taken.values()) if full else 0.0
        open_domains -= full
    given = sum(taken.values()) or 1.0
    return {d: Share(taken[d] / given, taken[d], taken[d] / sizes[d] if sizes[d] else 0.0) for d in sizes}


def choose_repeats(
    domains: Sequence[str], sizes: Sequence[int], plan: Mapping[str, Share], seed: int
) -> NDArray[np.int64]:
    """How often each document is taken: the whole epochs of its domain, and one more for part of the documents."""
    places: dict[str, list[int]] = {}
    for place, domain in enumerate(domains):
        if domain not in plan:
            raise InputError(f"The document {place} is of the domain {domain!r}, which the plan does not have.")
        places.setdefault(domain, []).append(place)
    repeats = np.zeros(len(domains), np.int64)
    size = np.asarray(sizes, np.int64)
    for number, domain in enumerate(plan):
        own = np.array(places.get(domain, []), np.int64)
        whole, part = divmod(plan[domain].epochs, 1.0)
        order = own[np.random.default_rng((seed, number)).permutation(len(own))]
        before = np.cumsum(size[order]) - size[order] / 2  # a document is in where most of it is
        repeats[own] = int(whole)
        repeats[order[before < part * size[own].sum()]] += 1
    return repeats


def count_buckets(texts: Iterable[str], config: DsirConfig, batch: int = 1000) -> Values:
    """How often each bucket is hit by the unigrams and bigrams of texts."""
    counts = np.zeros(config.buckets)
    for hits, _ in _batches(texts, config, batch):
        counts += np.bincount(hits, minlength=config.buckets)
    return counts


def log_ratio(target: Values, raw: Values, config: DsirConfig) -> Values:
    """log p_j - log q_j from the counts of both."""
    if not target.any() or not raw.any():
        raise InputError("DSIR needs words in the target texts and in the raw texts; one of them has none.")
    p, q = target + config.smoothing, raw + config.smoothing
    return np.log(p / p.sum()) - np.log(q / q.sum())


def log_importance(texts: Iterable[str], ratio: Values, config: DsirConfig, batch: int = 1000) -> Values:
    """log w of each text."""
    parts = [
        np.array([ratio[hits[start:end]].sum() for start, end in pairwise(offsets)])
        for hits, offsets in _batches(texts, config, batch)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


def drawing_order(log_weights: Values, seed: int) -> NDArray[np.int64]:
    """The places of all texts in the order in which they are drawn, in proportion to their weights."""
    return np.argsort(-(log_weights + np.random.default_rng(seed).gumbel(size=len(log_weights))), kind="stable")


def _normalised(weights: Mapping[str, float]) -> dict[str, float]:
    total = sum(weights.values())
    if total <= 0:
        raise ConfigError("All weights of the mixture are 0; give at least one domain with text a weight.")
    return {domain: weight / total for domain, weight in weights.items()}


def _batches(texts: Iterable[str], config: DsirConfig, batch: int) -> Iterable[tuple[Integers, Integers]]:
    """The buckets that each batch's unigrams and bigrams hit, text by text, and where each text's begin."""
    waiting: list[str] = []
    for text in texts:
        waiting.append(text)
        if len(waiting) == batch:
            yield _buckets(*token_hashes(waiting), config.buckets)
            waiting = []
    if waiting:
        yield _buckets(*token_hashes(waiting), config.buckets)


@compiled
def _buckets(hashes: Hashes, offsets: Integers, buckets: int) -> tuple[Integers, Integers]:
    """A text of n tokens has n unigrams and n - 1 bigrams."""
    sizes = offsets[1:] - offsets[:-1]
    starts = np.zeros(len(offsets), np.int64)
    starts[1:] = np.cumsum(sizes + np.maximum(sizes - 1, 0))
    hits = np.empty(starts[-1], np.int64)
    count, modulus = 0, np.uint64(buckets)
    for text in range(len(sizes)):
        for place in range(offsets[text], offsets[text + 1]):
            hits[count] = np.int64(hashes[place] % modulus)
            count += 1
            if place > offsets[text]:
                hits[count] = np.int64(spread(hashes[place - 1] * BIGRAM + hashes[place]) % modulus)
                count += 1
    return hits, starts
