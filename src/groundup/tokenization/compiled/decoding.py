"""Ids to bytes: every token's bytes end to end, with an offset for each id, and two passes over the ids.

    measure   find the first id that no token has, or how many bytes all of them make
    write     copy each token: 16 bytes at once for one of at most 16, what is too much is written over by the next

Looking ids up in a dictionary takes some 80 ns each, 120 for those of an array, which become objects one by one. This
takes 3, and 20 for those of a list.
"""

from array import array
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from groundup.tokenization.compiled.layout import compiled
from groundup.tokenization.compiled.machine import PADDING, copy16, load8, store8
from groundup.tokenization.compiled.objects import address

WIDE = 16  # bytes of a token that is copied at once


class CompiledDecoder:
    """The bytes of id i are text[offsets[i] : offsets[i + 1]]; an id without a token has none. Never changed."""

    def __init__(self, vocabulary: Mapping[int, bytes]) -> None:
        lengths = np.zeros(max(vocabulary) + 1, np.int64)
        lengths[list(vocabulary)] = list(map(len, vocabulary.values()))
        self._offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        in_order = b"".join(vocabulary[token] for token in sorted(vocabulary))
        self._text = np.frombuffer(in_order + bytes(PADDING), np.uint8)

    def decode(self, ids: Sequence[int] | npt.NDArray[Any]) -> bytes | None:
        """The bytes of all ids; a `KeyError` of the first that no token has. None for what is no row of integers."""
        if not isinstance(ids, np.ndarray):
            try:
                ids = np.frombuffer(array("q", ids), np.int64)
            except (TypeError, OverflowError):
                return None
        if ids.ndim != 1 or ids.dtype.kind not in "iu":
            return None
        is_narrow = ids.dtype.kind == "u" and ids.dtype.itemsize <= 4
        row = np.ascontiguousarray(ids, np.uint32 if is_narrow else np.int64)  # larger than int64: negative, so refused
        size = measure_ids(row, self._offsets)
        if size < 0:
            raise KeyError(int(ids[~size]))
        out = np.empty(size, np.uint8)
        decode_ids(row, self._offsets, address(self._text), address(out), address(out) + size)
        return out.tobytes()


@compiled
def measure_ids(ids: npt.NDArray[Any], offsets: npt.NDArray[np.int64]) -> int:
    """How many bytes the ids make; ~place of the first that no token has."""
    total = 0
    for place in range(len(ids)):
        token = np.int64(ids[place])
        if token < 0 or token >= len(offsets) - 1 or offsets[token] == offsets[token + 1]:
            return ~place
        total += offsets[token + 1] - offsets[token]
    return total


@compiled
def decode_ids(ids: npt.NDArray[Any], offsets: npt.NDArray[np.int64], text: int, out: int, end: int) -> None:
    """Write the bytes of ids that are all tokens' from `out` to `end`."""
    for place in range(len(ids)):
        token = np.int64(ids[place])
        source = text + offsets[token]
        size = offsets[token + 1] - offsets[token]
        if size <= WIDE and out + WIDE <= end:
            copy16(source, out, -1)
        else:
            for at in range(size):
                store8(out + at, load8(source + at))
        out += size
