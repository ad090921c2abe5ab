"""Randomness as a function of names: the same (seed, purpose, step, rank) always gives the same stream."""

import hashlib
import operator
import random

SEPARATOR = "\x1f"  # ASCII's unit separator; doubled where a string holds it, so that no two sequences look the same


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any sequence of integers and strings, by BLAKE2b; independent of Python's hash seed.

    Integers of numpy count as integers; a float is a TypeError, because rounding it would join two streams.
    """
    text = SEPARATOR.join(_marked(part) for part in parts)
    data = text.encode(errors="surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little") >> 1


def rng(*parts: int | str) -> random.Random:
    """A standard-library generator seeded by `derive_seed`."""
    return random.Random(derive_seed(*parts))


def _marked(part: int | str) -> str:
    if isinstance(part, str):
        return "str:" + part.replace(SEPARATOR, SEPARATOR * 2)
    return f"int:{operator.index(part)}"
