"""A slow exact trainer, written apart from the package's: what its merges are checked against on the benchmark's text.

    each round: of the pairs with the highest count, the greatest (left bytes, right bytes); join it, left to right

Pairs lie in buckets by count. Counts only fall (a new pair occurs at most as often as the pair that made it), so the
highest count is found by walking down. Words are tuples of byte strings: nothing here knows ids, ranks or heaps.
"""

from collections import Counter, defaultdict
from itertools import pairwise
from pathlib import Path

from harness.real_text import PRETOKEN, pieces

Pair = tuple[bytes, bytes]


def exact_tokens(path: Path, vocab_size: int) -> list[bytes]:
    """The tokens of an exactly trained vocabulary in the order of learning, the 256 bytes first."""
    words, weights = count_words(path)
    counts: Counter[Pair] = Counter()
    holders: dict[Pair, set[int]] = defaultdict(set)
    for number, word in enumerate(words):
        for pair in pairwise(word):
            counts[pair] += weights[number]
            holders[pair].add(number)
    buckets: dict[int, set[Pair]] = defaultdict(set)
    for pair, count in counts.items():
        buckets[count].add(pair)
    tokens = [bytes([byte]) for byte in range(256)]
    highest = max(buckets, default=0)
    while len(tokens) < vocab_size:
        while highest > 0 and not buckets[highest]:
            highest -= 1
        if highest == 0:
            break
        best = max(buckets[highest])
        tokens.append(best[0] + best[1])
        change: Counter[Pair] = Counter()
        for number in holders.pop(best):
            replace_word(words, number, best, weights[number], change, holders)
        for pair, difference in change.items():
            buckets[counts[pair]].discard(pair)
            counts[pair] += difference
            if counts[pair]:
                buckets[counts[pair]].add(pair)
    return tokens


def replace_word(
    words: list[list[bytes]],
    number: int,
    best: Pair,
    weight: int,
    change: Counter[Pair],
    holders: dict[Pair, set[int]],
) -> None:
    """Join a pair in one word; note the changes of the pairs' counts and which pairs the word now holds."""
    old = words[number]
    new: list[bytes] = []
    at = 0
    while at < len(old):
        if at + 1 < len(old) and old[at] == best[0] and old[at + 1] == best[1]:
            new.append(best[0] + best[1])
            at += 2
        else:
            new.append(old[at])
            at += 1
    for pair in pairwise(old):
        change[pair] -= weight
    for pair in pairwise(new):
        change[pair] += weight
        holders[pair].add(number)  # a pair that has left the word stays noted; joining it there changes nothing
    words[number] = new


def count_words(path: Path) -> tuple[list[list[bytes]], list[int]]:
    """The distinct pre-tokens of a file as single bytes, and how often each occurs."""
    text = path.read_bytes().decode()
    found: Counter[str] = Counter()
    for start, end in pieces(text, 1_000_000):
        found.update(PRETOKEN.findall(text, start, end))
    words = [[bytes([byte]) for byte in word.encode()] for word in found]
    return words, list(found.values())
