"""The suffix array of a sequence of integers in linear time, and its longest common prefixes.

SA-IS (Nong, Zhang and Chan 2009, "Linear Suffix Array Construction by Almost Pure Induced-Sorting"). A suffix is of
type S when it is smaller than the one behind it, else L; an S behind an L is leftmost (LMS). When the LMS suffixes are
sorted, two sweeps put all others in their place: from the left each L behind its successor, from the right each S.
The LMS substrings, sorted by the same sweeps and named by rank, are a sequence of at most half the length: if all names
differ they are sorted, else it is solved the same way. The end counts as smaller than every value.

Longest common prefixes of neighbours: Kasai et al. 2001, h falls by at most one per step, hence linear.
"""

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.hashing import compiled

Integers = NDArray[np.int32]


def suffix_array(values: Integers) -> Integers:
    """Where the suffixes begin, from the smallest to the largest; values are not negative."""
    values = np.ascontiguousarray(values, np.int32)
    if len(values) < 2:
        return np.arange(len(values), dtype=np.int32)
    size = int(values.max()) + 1
    smaller = _types(values)
    lms = _leftmost(smaller)
    order = _induce(values, smaller, lms, size)
    names, sorted_lms, different = _name(values, smaller, lms, order)
    if len(lms) > 1:
        sorted_lms = lms[suffix_array(names)] if different < len(lms) else sorted_lms
        order = _induce(values, smaller, sorted_lms, size)
    return order


@compiled
def common_prefixes(values: Integers, order: Integers) -> Integers:
    """How many values each suffix of the array shares with the one before it; 0 for the first. Negative values are
    ends that nothing shares, not even they among themselves."""
    rank, found, shared = np.empty_like(order), np.zeros_like(order), 0
    for i in range(len(order)):
        rank[order[i]] = i
    for i in range(len(order)):
        if rank[i] == 0:
            shared = 0
            continue
        other = order[rank[i] - 1]
        most = len(values) - max(i, other)
        while shared < most and values[i + shared] == values[other + shared] and values[i + shared] >= 0:
            shared += 1
        found[rank[i]] = shared
        shared = max(shared - 1, 0)
    return found


@compiled
def _types(values: Integers) -> NDArray[np.bool_]:
    """True for suffixes of type S."""
    smaller = np.zeros(len(values), np.bool_)
    for i in range(len(values) - 2, -1, -1):
        smaller[i] = values[i] < values[i + 1] or (values[i] == values[i + 1] and smaller[i + 1])
    return smaller


@compiled
def _leftmost(smaller: NDArray[np.bool_]) -> Integers:
    number = 0
    for i in range(1, len(smaller)):
        number += smaller[i] and not smaller[i - 1]
    found, number = np.empty(number, np.int32), 0
    for i in range(1, len(smaller)):
        if smaller[i] and not smaller[i - 1]:
            found[number] = i
            number += 1
    return found


@compiled
def _induce(values: Integers, smaller: NDArray[np.bool_], lms: Integers, size: int) -> Integers:
    """Sort all suffixes from the LMS ones in the order given."""
    n = len(values)
    firsts_of_l, firsts_of_s = np.zeros(size + 1, np.int32), np.zeros(size + 1, np.int32)
    for i in range(n):  # in a bucket, the suffixes that begin with one value, those of type L come first
        if smaller[i]:
            firsts_of_l[values[i] + 1] += 1
        else:
            firsts_of_s[values[i]] += 1
    total = 0
    for value in range(size):
        total += firsts_of_l[value]
        firsts_of_l[value] = total
        total += firsts_of_s[value]
        firsts_of_s[value] = total
    firsts_of_l[size] = total + firsts_of_l[size]
    order = np.full(n, -1, np.int32)
    place = firsts_of_s.copy()
    for i in lms:
        order[place[values[i]]] = i
        place[values[i]] += 1
    place = firsts_of_l.copy()
    order[place[values[n - 1]]] = n - 1
    place[values[n - 1]] += 1
    for k in range(n):
        before = order[k] - 1
        if before >= 0 and not smaller[before]:
            order[place[values[before]]] = before
            place[values[before]] += 1
    place = firsts_of_l.copy()
    for k in range(n - 1, -1, -1):
        before = order[k] - 1
        if before >= 0 and smaller[before]:
            place[values[before] + 1] -= 1
            order[place[values[before] + 1]] = before
    return order


@compiled
def _name(
    values: Integers, smaller: NDArray[np.bool_], lms: Integers, order: Integers
) -> tuple[Integers, Integers, int]:
    """The rank of each LMS substring in the order of the text; the LMS suffixes as sorted so far; different ranks."""
    n, number = len(values), len(lms)
    index = np.full(n + 1, -1, np.int32)
    for i in range(number):
        index[lms[i]] = i
    in_order, k = np.empty(number, np.int32), 0
    for start in order:
        if index[start] >= 0:
            in_order[k] = start
            k += 1
    names, name = np.zeros(number, np.int32), 0
    for k in range(1, number):
        one, other = in_order[k - 1], in_order[k]
        end_one = lms[index[one] + 1] if index[one] + 1 < number else n
        end_other = lms[index[other] + 1] if index[other] + 1 < number else n
        same = end_one - one == end_other - other and end_one < n and end_other < n
        while same and one <= end_one:
            same = values[one] == values[other]
            one += 1
            other += 1
        name += not same
        names[index[in_order[k]]] = name
    return names, in_order, name + 1 if number else 0
