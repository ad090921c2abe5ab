"""Randomness as a function of names: the same (seed, purpose, step, rank) always gives the same stream."""

import hashlib
import random


def derive_seed(*parts: int | str) -> int:
    """A 63-bit seed from any sequence of integers and strings, by BLAKE2b; independent of Python's hash seed."""
    text = "\x1f".join(f"{type(part).__name__}:{part}" for part in parts)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def rng(*parts: int | str) -> random.Random:
    """A standard-library generator seeded by `derive_seed`."""
    return random.Random(derive_seed(*parts))
