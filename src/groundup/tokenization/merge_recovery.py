"""Which merge makes a token: needed where a file lists tokens by rank, or several pairs for one token.

tiktoken joins any two neighbours whose joined bytes are a token, the lowest rank first. Yet a token is only ever made
of one pair. Where it is made, nothing before has joined across its ends (what is joined stays joined), so inside it the
merges ran as on its bytes alone, and those end in one pair of tokens. Hence the list with one merge per token gives the
same ids on every text. The pair is found by merging the bytes of the token with what makes the shorter tokens.

The same holds where a file lists all ways to cut a token in two, each with a rank (Llama 3 in Hugging Face's format):
all but one never join anything.

A token whose bytes alone end in other pieces is never made by merging at all; tiktoken gives it for a pre-token that is
exactly these bytes (`BytePairTokenizer.whole_pieces`). A token may be made of one with a later rank: that pair is
joined as soon as it is there. Llama 3 has 588 tokens of the first kind and 81 of the second, GPT models none.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple

from groundup.tokenization.acceleration import pays
from groundup.tokenization.bpe import Pair, merge

WORK_OF_A_TOKEN = 50  # bytes of text whose encoding takes as long
Rank = Callable[[bytes, bytes], int | None]


class Recovered(NamedTuple):
    """`merges` as `BytePairTokenizer` takes them, the token that each makes, and the tokens that none makes."""

    merges: list[Pair]
    made: list[bytes]
    unmade: list[bytes]


def merges_of_ranks(ranks: Mapping[bytes, int]) -> Recovered:
    """The merges behind tokens of two bytes or more, where any two neighbours that are such a token may be joined."""
    if ranks and pays(WORK_OF_A_TOKEN * len(ranks), "recover"):
        return _recover_compiled(ranks)
    return _recover(ranks, lambda left, right: ranks.get(left + right))


def merges_of_pairs(pairs: Sequence[tuple[bytes, bytes]]) -> Recovered:
    """Of pairs in the order of their ranks, several of which may make the same token, those that join anything."""
    places = {pair: place for place, pair in enumerate(pairs)}
    tokens = dict.fromkeys(left + right for left, right in pairs)
    return _recover(tokens, lambda left, right: places.get((left, right)))


def _recover(tokens: Iterable[bytes], rank: Rank) -> Recovered:
    spelled = {byte: bytes([byte]) for byte in range(256)}
    joins: dict[Pair, int] = {}  # values are ranks from 256 up, and so the numbers of the tokens until the end
    unmade: list[bytes] = []
    for token in sorted(tokens, key=len):
        parts = merge(list(token), joins)
        place = rank(spelled[parts[0]], spelled[parts[1]]) if len(parts) == 2 else None
        if place is None:
            unmade.append(token)
            continue
        joins[parts[0], parts[1]] = 256 + place
        spelled[256 + place] = token
    numbers = {byte: byte for byte in range(256)}
    numbers |= {old: 256 + place for place, old in enumerate(sorted(joins.values()))}
    merges = sorted((numbers[new], (numbers[left], numbers[right])) for (left, right), new in joins.items())
    made = [spelled[old] for old in sorted(joins.values())]
    return Recovered([pair for _, pair in merges], made, unmade)


def _recover_compiled(ranks: Mapping[bytes, int]) -> Recovered:
    import numpy as np

    from groundup.tokenization.compiled.recovery import recover_pairs

    tokens = sorted(ranks, key=len)
    numbers = np.fromiter(map(ranks.__getitem__, tokens), np.int64, len(tokens)) + 256
    lengths = np.fromiter(map(len, tokens), np.int64, len(tokens))
    pairs = recover_pairs(np.frombuffer(b"".join(tokens), np.uint8), lengths, numbers)
    made = np.flatnonzero(pairs[:, 0] >= 0)
    made = made[np.argsort(numbers[made])]
    renumbered = np.arange(int(numbers.max()) + 1)
    renumbered[numbers[made]] = 256 + np.arange(len(made))
    left, right = renumbered[pairs[made]].T.tolist()
    unmade = np.flatnonzero(pairs[:, 0] < 0).tolist()
    made_tokens, unmade_tokens = ([tokens[index] for index in found] for found in (made.tolist(), unmade))
    return Recovered(list(zip(left, right, strict=True)), made_tokens, unmade_tokens)
