"""How fast tokenizers are on this machine: encoding to lists of ids and back to bytes, in MB (10^6 bytes) per second.

Each round runs every tokenizer once on the same texts, one after the other and on one thread as the caller has it, so
that a busy spell of the machine meets all of them; the median over the rounds is given. A first round is not counted:
it compiles what is compiled and fills the caches, so this is the speed in the long run, not that of the first text.
The numbers compare tokenizers within one call, and machines or Python versions not at all.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from groundup.tokenization.tokenizer import Tokenizer, well_formed


@dataclass(frozen=True)
class EncodingSpeed:
    """MB of text per second."""

    encode_megabytes_per_second: float
    decode_megabytes_per_second: float


def measure_speed(
    tokenizers: Mapping[str, Tokenizer],
    texts: Sequence[str],
    rounds: int,
    advance: Callable[[], None] = lambda: None,
) -> dict[str, EncodingSpeed]:
    """The median speed of each tokenizer over `rounds` rounds; `advance` is called after each tokenizer's turn."""
    megabytes = sum(len(well_formed(text).encode()) for text in texts) / 1e6
    encoding: dict[str, list[float]] = {name: [] for name in tokenizers}
    decoding: dict[str, list[float]] = {name: [] for name in tokenizers}
    for _ in range(1 + rounds):
        for name, tokenizer in tokenizers.items():
            start = time.perf_counter()
            encoded = [tokenizer.encode(text) for text in texts]
            between = time.perf_counter()
            for ids in encoded:
                tokenizer.decode_bytes(ids)
            end = time.perf_counter()
            encoding[name].append(between - start)
            decoding[name].append(end - between)
            advance()
    return {
        name: EncodingSpeed(megabytes / median(encoding[name][1:]), megabytes / median(decoding[name][1:]))
        for name in tokenizers
    }
