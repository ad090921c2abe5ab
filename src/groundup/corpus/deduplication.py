"""Deduplication: exact copies by hash, near copies by MinHash, banded LSH and a check of the true Jaccard similarity.

Exact: two documents are copies when their normalised texts (`corpus/shingles.py`) are equal.

Near: with A and B the sets of word n-grams of two documents, J = |A & B| / |A | B|. A MinHash value min over x in A of
h_i(x) agrees between A and B with probability J (Broder 1997, "On the resemblance and containment of documents"). The
k = bands x rows values are cut into bands; two documents become a candidate pair when one whole band agrees, which
happens with probability

    P(candidate) = 1 - (1 - J^rows)^bands        (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4)

and every candidate is then verified: J is computed from the sets and must reach the threshold. With the default 20 x 6
a pair of J = 0.8 is missed with probability 0.002. Verified pairs are joined by union-find; of each cluster one
document is kept, chosen by a seeded hash of its id, so order does not matter. Documents with fewer than n words have no
n-gram and are only compared exactly.

h_i(x) = a_i x + b_i mod 2^64 with odd a_i on hashes x that are already mixed: NumPy does a megabyte of text in 0.2 s.
"""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from groundup.core.errors import ConfigError
from groundup.core.seeds import derive_seed
from groundup.corpus.documents import Document
from groundup.corpus.shingles import mix, normalise, word_ngrams

CHUNK = 4096  # shingles hashed at once: 120 functions x 4096 x 8 bytes stay near the cache

Hashes = NDArray[np.uint64]


@dataclass(frozen=True)
class DeduplicationConfig:
    """`keep_near` leaves near copies in the corpus; the split still keeps each cluster on one side."""

    ngram: int = 5
    bands: int = 20
    rows: int = 6
    threshold: float = 0.8
    keep_near: bool = False

    def __post_init__(self) -> None:
        for name in ("ngram", "bands", "rows"):
            if getattr(self, name) < 1:
                raise ConfigError(f"deduplication.{name} is {getattr(self, name)}; it must be at least 1.")
        if not 0 < self.threshold <= 1:
            raise ConfigError(f"deduplication.threshold is {self.threshold}; it must be above 0 and at most 1.")


def exact_clusters(documents: Sequence[Document]) -> list[list[int]]:
    """Places of the documents whose normalised texts are equal, for every text that occurs more than once."""
    places: dict[bytes, list[int]] = defaultdict(list)
    for place, document in enumerate(documents):
        # A text of punctuation alone normalises to nothing; it is compared as it stands.
        key = normalise(document.text) or f"raw:{document.text}"
        places[hashlib.blake2b(key.encode(), digest_size=16).digest()].append(place)
    return [cluster for cluster in places.values() if len(cluster) > 1]


def near_clusters(documents: Sequence[Document], config: DeduplicationConfig, seed: int) -> list[list[int]]:
    """Places of the documents that are near copies of each other, directly or through others."""
    shingles = [np.unique(word_ngrams(document.text, config.ngram)) for document in documents]
    signatures = minhash(shingles, config.bands * config.rows, seed)
    parent = list(range(len(documents)))
    for one, other in candidate_pairs(signatures, config.bands, [len(s) > 0 for s in shingles]):
        a, b = _root(parent, one), _root(parent, other)
        if a != b and jaccard(shingles[one], shingles[other]) >= config.threshold:
            parent[max(a, b)] = min(a, b)
    clusters: dict[int, list[int]] = defaultdict(list)
    for place in range(len(documents)):
        clusters[_root(parent, place)].append(place)
    return [cluster for cluster in clusters.values() if len(cluster) > 1]


def survivor(documents: Sequence[Document], cluster: Sequence[int], seed: int) -> int:
    """The place of the one that is kept: the same one in whatever order the documents come."""
    return min(cluster, key=lambda place: (derive_seed(seed, "keep", documents[place].id), documents[place].id))


def minhash(shingles: Sequence[Hashes], count: int, seed: int) -> Hashes:
    """`count` MinHash values of each set, as rows; the row of an empty set is all ones."""
    numbers = np.arange(1, 2 * count + 1, dtype=np.uint64) * np.uint64(derive_seed(seed, "minhash") | 1)
    multipliers, offsets = np.split(mix(numbers)[:, None], 2)
    multipliers |= np.uint64(1)
    signatures = np.full((len(shingles), count), np.iinfo(np.uint64).max, np.uint64)
    for row, hashes in zip(signatures, shingles, strict=True):
        for start in range(0, len(hashes), CHUNK):
            values = hashes[start : start + CHUNK] * multipliers + offsets
            np.minimum(row, values.min(axis=1), out=row)
    return signatures


def candidate_pairs(signatures: Hashes, bands: int, usable: Sequence[bool]) -> set[tuple[int, int]]:
    """Pairs (smaller place first) of usable documents that agree in at least one band."""
    pairs: set[tuple[int, int]] = set()
    for band in np.split(signatures, bands, axis=1):
        buckets: dict[bytes, list[int]] = defaultdict(list)
        for place, values in enumerate(band):
            if usable[place]:
                bucket = buckets[values.tobytes()]
                pairs.update((earlier, place) for earlier in bucket)
                bucket.append(place)
    return pairs


def candidate_probability(jaccard: float, bands: int, rows: int) -> float:
    """How likely a pair of this similarity is to become a candidate."""
    return 1 - (1 - jaccard**rows) ** bands


def jaccard(one: Hashes, other: Hashes) -> float:
    """The Jaccard similarity of two sorted arrays of different hashes; 0 where both are empty."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    union = len(one) + len(other) - common
    return common / union if union else 0.0


def _root(parent: list[int], place: int) -> int:
    while parent[place] != place:
        parent[place] = parent[parent[place]]  # path halving
        place = parent[place]
    return place
