"""Shuffling as a function: a keyed bijection of {0..n-1}, evaluated at one index, with nothing stored.

A Feistel network (Luby & Rackoff 1988) permutes the smallest power of four that holds n: the index is cut into two
equal halves, and each round swaps them and mixes a keyed hash of one into the other, which can be undone and so is a
bijection. Values at or above n are walked on until they fall inside (cycle walking, Black & Rogaway 2002), fewer than
four steps on average. So "the example of step s" needs no state, and resuming means passing the step.
"""

ROUNDS = 8  # the theory's 4 are for large halves: below about 100 elements they fail a χ² test of pairs, 8 pass it
_MASK64 = (1 << 64) - 1


def permute(index: int, size: int, key: int) -> int:
    """Where a keyed permutation of {0..size-1} sends `index`."""
    assert 0 <= index < size, f"index {index} is outside 0..{size - 1}"
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half_bits) - 1
    value = index
    while True:
        left, right = value >> half_bits, value & mask
        for round_number in range(ROUNDS):
            left, right = right, left ^ (_mix(right, key, round_number) & mask)
        value = left << half_bits | right
        if value < size:
            return value


def _mix(value: int, key: int, round_number: int) -> int:
    """A 64-bit finaliser (SplitMix64) over value, key and round."""
    z = (value + key + 0x9E3779B97F4A7C15 * (round_number + 1)) & _MASK64
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK64
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK64
    return z ^ (z >> 31)
