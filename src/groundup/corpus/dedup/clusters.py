"""Clusters of pairs: union-find, and the choice of the one that stays.

Sets are trees; the root of each is its smallest place, so the result does not depend on the order of the pairs. Paths
are halved on the way up, which keeps them short.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from groundup.core.seeds import derive_seed
from groundup.corpus.dedup.hashing import Places, compiled


@compiled
def root(parent: Places, place: int) -> int:
    """The smallest place of the set that holds `place`."""
    while parent[place] != place:
        parent[place] = parent[parent[place]]
        place = parent[place]
    return place


@compiled
def union(parent: Places, one: int, other: int) -> bool:
    """Join two sets; False where they are one already."""
    a, b = root(parent, one), root(parent, other)
    parent[max(a, b)] = min(a, b)
    return a != b


@compiled
def join_pairs(parent: Places, ones: Places, others: Places) -> None:
    """Join the sets of many pairs."""
    for i in range(len(ones)):
        union(parent, ones[i], others[i])


@compiled
def roots(parent: Places) -> Places:
    """The root of every place."""
    found = np.empty_like(parent)
    for place in range(len(parent)):
        found[place] = root(parent, place)
    return found


def clusters_of(labels: Places | Sequence[int]) -> list[list[int]]:
    """The places that share a label, in order, for every label that occurs more than once; by their first place."""
    labels = np.asarray(labels)
    if not len(labels):
        return []
    order = np.argsort(labels, kind="stable")
    groups = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)
    return sorted(group.tolist() for group in groups if len(group) > 1)


def keep_key(identifier: str, seed: int) -> int:
    """What decides who stays: of a cluster the document with the smallest key, whatever the order."""
    return derive_seed(seed, "keep", identifier)


def survivor(identifiers: Sequence[str] | Mapping[int, str], cluster: Sequence[int], seed: int) -> int:
    """The place of the one that is kept of a cluster of places."""
    return min(cluster, key=lambda place: (keep_key(identifiers[place], seed), identifiers[place]))
