"""Byte-pair encoding: learning the merges (Sennrich et al., arXiv:1508.07909, on bytes as in Radford et al. 2019).

    vocabulary = the 256 bytes
    repeat: find the pair of adjacent tokens that occurs most often in the text, inside pre-tokens;
            join it everywhere; the joined bytes are the next token

Ties go to the lexicographically greatest pair of byte strings, so training is deterministic. Special tokens are hard
boundaries and are not counted. `learn_merges_reference` does exactly this and recounts everything for every merge.

`learn_merges` gives the same merges and touches only what a merge changes:

- Equal pre-tokens are counted once: 12 MB of English prose hold 34 thousand distinct ones.
- All distinct pre-tokens lie in one array of symbols, each position linked to the one before and after it, weighted by
  how often its pre-token occurs. A merge at a position changes at most four pair counts.
- `places[pair]` lists where the pair starts. It is final after the merge that made the newer of its two tokens, since
  later merges can only destroy such pairs; destroyed ones are recognised when the list is used.
- The best pair comes from a heap whose counts may be too high but never too low: an entry that is out of date is
  pushed back with its true count.

The work is proportional to the symbols that disappear, whatever the number of merges; one pre-token of a megabyte
costs no more than a megabyte of short ones.
"""

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

from groundup.core.progress import progress

Pair = tuple[int, int]


def learn_merges(counts: Mapping[bytes, int], number: int) -> list[Pair]:
    """At most `number` merges as pairs of token ids; merge i makes the token 256 + i."""
    chain = _link(counts)
    pair_counts: dict[Pair, int] = defaultdict(int)
    places: dict[Pair, list[int]] = defaultdict(list)
    for at, right in enumerate(chain.after):
        if right >= 0:
            pair = chain.symbols[at], chain.symbols[right]
            pair_counts[pair] += chain.weights[at]
            places[pair].append(at)
    vocabulary = [bytes([byte]) for byte in range(256)]
    order = [_descending(token) for token in vocabulary]
    heap = [(-count, order[pair[0]], order[pair[1]], pair) for pair, count in pair_counts.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    with progress("merges", number) as advance:
        while heap and len(merges) < number:
            entry = heapq.heappop(heap)
            pair, count = entry[3], pair_counts[entry[3]]
            if -entry[0] != count:
                if count > 0:
                    heapq.heappush(heap, (-count, *entry[1:]))
                continue
            merges.append(pair)
            vocabulary.append(vocabulary[pair[0]] + vocabulary[pair[1]])
            order.append(_descending(vocabulary[-1]))
            fresh = _apply(pair, len(vocabulary) - 1, places.pop(pair), chain, pair_counts)
            del pair_counts[pair]
            for new, where in fresh.items():
                if pair_counts[new] > 0:
                    places[new] = where
                    heapq.heappush(heap, (-pair_counts[new], order[new[0]], order[new[1]], new))
            advance()
    return merges


class _Chain(NamedTuple):
    """All distinct pre-tokens end to end. `before` and `after` are positions in the same pre-token, -1 for none."""

    symbols: list[int]
    before: list[int]
    after: list[int]
    weights: list[int]


def _link(counts: Mapping[bytes, int]) -> _Chain:
    symbols = list(b"".join(counts))
    before, after = list(range(-1, len(symbols) - 1)), list(range(1, len(symbols) + 1))
    weights: list[int] = []
    for piece, count in counts.items():
        if piece:
            before[len(weights)] = -1
            weights += [count] * len(piece)
            after[len(weights) - 1] = -1
    return _Chain(symbols, before, after, weights)


def _descending(token: bytes) -> str:
    """A text that sorts the other way round: the greatest byte string first, and a longer one before its own start."""
    return token.translate(_COMPLEMENT).decode("latin-1") + "\u0100"


_COMPLEMENT = bytes(255 - byte for byte in range(256))


def _apply(
    pair: Pair, new: int, places: list[int], chain: _Chain, pair_counts: dict[Pair, int]
) -> dict[Pair, list[int]]:
    """Join a pair at its places, from the left; updates the links and counts, returns the places of the new pairs."""
    symbols, before, after, weights = chain
    left, right = pair
    fresh: dict[Pair, list[int]] = defaultdict(list)
    for at in places:
        second = after[at]
        if symbols[at] != left or second < 0 or symbols[second] != right:
            continue  # an earlier merge, or this one just before ("aaa"), has taken one of the two
        weight, previous, following = weights[at], before[at], after[second]
        symbols[at], symbols[second] = new, -1
        after[at] = following
        if previous >= 0:
            neighbour = symbols[previous]
            pair_counts[neighbour, left] -= weight
            pair_counts[neighbour, new] += weight
            fresh[neighbour, new].append(previous)
        if following >= 0:
            before[following] = at
            neighbour = symbols[following]
            pair_counts[right, neighbour] -= weight
            pair_counts[new, neighbour] += weight
            fresh[new, neighbour].append(at)
    return fresh


def learn_merges_reference(counts: Mapping[bytes, int], number: int) -> list[Pair]:
    """The definition: recount every pair, take the best, join it everywhere. Slow; the oracle of `learn_merges`."""
    vocabulary = [bytes([byte]) for byte in range(256)]
    words = [(list(piece), count) for piece, count in counts.items()]
    merges: list[Pair] = []
    while len(merges) < number:
        pair_counts: Counter[Pair] = Counter()
        for word, count in words:
            for pair in pairwise(word):
                pair_counts[pair] += count
        if not pair_counts:
            break
        best = max(pair_counts, key=lambda pair: (pair_counts[pair], vocabulary[pair[0]], vocabulary[pair[1]]))
        words = [(join(word, best, len(vocabulary)), count) for word, count in words]
        merges.append(best)
        vocabulary.append(vocabulary[best[0]] + vocabulary[best[1]])
    return merges


def join(word: Sequence[int], pair: Pair, new: int) -> list[int]:
    """A word with each occurrence of the pair, from the left, replaced by the new token."""
    joined: list[int] = []
    at = 0
    while at < len(word):
        found = tuple(word[at : at + 2]) == pair
        joined.append(new if found else word[at])
        at += 2 if found else 1
    return joined


def merge_reference(ids: list[int], merges: Iterable[Pair]) -> list[int]:
    """The definition: apply each merge, in the order of learning, wherever it fits. The oracle of `bpe.merge`.

    It holds for merges of earlier tokens, which is what learning gives.
    """
    for rank, pair in enumerate(merges):
        at = 0
        while at < len(ids) - 1:
            if (ids[at], ids[at + 1]) == pair:
                ids = [*ids[:at], 256 + rank, *ids[at + 2 :]]
            at += 1
    return ids
