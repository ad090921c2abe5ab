"""Near copies: bands of MinHash signatures propose pairs, the true Jaccard similarity decides, union-find joins.

The k = bands x rows values of a signature are cut into bands; two texts become a candidate pair when one whole band
agrees, which happens with probability

    P(candidate) = 1 - (1 - J^rows)^bands        (Leskovec, Rajaraman, Ullman, "Mining of Massive Datasets", 3.4)

Every candidate is verified: J is computed from the sets of n-grams and must reach the threshold. With the default
20 x 6 a pair of J = 0.8 is missed with probability 0.002. Verified pairs are joined by union-find. Texts with fewer
than n words have no n-gram and are compared exactly only, so short texts do not all match each other.

The texts that share a band are a bucket. A bucket is worked through against the chains of texts already joined in it: a
text that a chain holds already is not compared with its members again, so a thousand copies of one page cost a thousand
comparisons and not half a million.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.clusters import clusters_of, root, roots, union
from groundup.corpus.dedup.config import DeduplicationConfig
from groundup.corpus.dedup.hashing import SEED, Hashes, Places, absorb, compiled, mix
from groundup.corpus.dedup.signatures import Sketches, sketch
from groundup.corpus.dedup.words import ngram_sets


class Buckets(NamedTuple):
    """Bucket b holds the places members[starts[b]:starts[b + 1]], at least two, in order."""

    members: Places
    starts: Places


class Sets(NamedTuple):
    """Set i is values[starts[i]:starts[i + 1]], sorted, without repeats."""

    values: Hashes
    starts: Places


def near_clusters(texts: Sequence[str], config: DeduplicationConfig) -> list[list[int]]:
    """Places of the texts that are near copies of each other, directly or through others."""
    return clusters_of(near_roots(texts, sketch(texts, config), config))


def near_roots(texts: Sequence[str], sketches: Sketches, config: DeduplicationConfig) -> Places:
    """For each text the smallest place of its cluster of near copies, its own where there is no other."""
    buckets = buckets_of(band_keys(sketches, config))
    candidates, members = np.unique(buckets.members, return_inverse=True)
    sets = pack_sets(ngram_sets([texts[int(place)] for place in candidates], config.ngram))
    parent = np.arange(len(candidates))
    link_buckets(parent, Buckets(members, buckets.starts), sets, config.threshold)
    found = np.arange(len(texts))
    found[candidates] = candidates[roots(parent)]
    return found


def band_keys(sketches: Sketches, config: DeduplicationConfig) -> tuple[Hashes, Places]:
    """The hashes of all bands of all texts that have n-grams, with the place of the text."""
    usable = np.flatnonzero(sketches.words >= config.ngram)
    return _band_keys(sketches.signatures, usable, config.bands)


@compiled
def _band_keys(signatures: NDArray[np.uint32], usable: Places, bands: int) -> tuple[Hashes, Places]:
    rows = signatures.shape[1] // bands
    keys, places = np.empty(len(usable) * bands, np.uint64), np.empty(len(usable) * bands, np.int64)
    for i in range(len(usable)):
        for band in range(bands):
            state = absorb(SEED, np.uint64(band))
            for row in range(rows):
                state = absorb(state, np.uint64(signatures[usable[i], band * rows + row]))
            keys[i * bands + band], places[i * bands + band] = mix(state), usable[i]
    return keys, places


def buckets_of(keyed: tuple[Hashes, Places]) -> Buckets:
    """The places that share a key, for every key that more than one has."""
    keys, places = keyed
    order = np.argsort(keys, kind="stable")
    keys = keys[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])) if len(keys) else np.zeros(0, np.int64)
    sizes = np.diff(np.append(starts, len(keys)))
    shared = np.repeat(sizes > 1, sizes)
    return Buckets(places[order][shared], np.concatenate([[0], np.cumsum(sizes[sizes > 1])]).astype(np.int64))


def pack_sets(sets: Sequence[Hashes]) -> Sets:
    """Many sorted arrays as one."""
    starts = np.zeros(len(sets) + 1, np.int64)
    np.cumsum([len(values) for values in sets], out=starts[1:])
    return Sets(np.concatenate([np.zeros(0, np.uint64), *sets]), starts)


@compiled
def link_buckets(parent: Places, buckets: Buckets, sets: Sets, threshold: float) -> int:
    """Join the members of each bucket whose similarity reaches the threshold; returns the number of comparisons."""
    compared = 0
    following = np.empty(len(parent), np.int64)  # of a chain: the next member, -1 at its end
    for bucket in range(len(buckets.starts) - 1):
        members = buckets.members[buckets.starts[bucket] : buckets.starts[bucket + 1]]
        heads, chains = np.empty(len(members), np.int64), 0
        for one in members:
            home = -1
            for chain in range(chains):
                other = heads[chain]
                if root(parent, other) != root(parent, one):
                    while other >= 0:
                        compared += 1
                        if jaccard_reaches(sets, one, other, threshold):
                            union(parent, one, other)
                            break
                        other = following[other]
                if root(parent, heads[chain]) == root(parent, one):
                    home = chain
            if home < 0:
                heads[chains], following[one] = one, -1
                chains += 1
            else:
                following[one], following[heads[home]] = following[heads[home]], one
    return compared


@compiled
def jaccard_reaches(sets: Sets, one: int, other: int, threshold: float) -> bool:
    """Whether |A & B| / |A | B| >= threshold; stops as soon as what is left cannot suffice."""
    i, end_i = sets.starts[one], sets.starts[one + 1]
    j, end_j = sets.starts[other], sets.starts[other + 1]
    total = end_i - i + end_j - j
    least = threshold / (1 + threshold) * total - 1e-6  # the common part that J = threshold needs
    common = 0
    while i < end_i and j < end_j:
        if common + min(end_i - i, end_j - j) < least:
            return False
        a, b = sets.values[i], sets.values[j]
        common += a == b
        i += a <= b
        j += b <= a
    return total > 0 and common / (total - common) >= threshold


def candidate_probability(jaccard: float, bands: int, rows: int) -> float:
    """How likely a pair of this similarity is to become a candidate."""
    return 1 - (1 - jaccard**rows) ** bands


def jaccard(one: Hashes, other: Hashes) -> float:
    """The Jaccard similarity of two sorted arrays of different hashes; 0 where both are empty."""
    common = len(np.intersect1d(one, other, assume_unique=True))
    union_size = len(one) + len(other) - common
    return common / union_size if union_size else 0.0
