"""The merges behind ranked tokens: `merge_recovery._recover` where any two neighbours may be joined."""

import numpy as np
import numpy.typing as npt

from groundup.tokenization.compiled import layout
from groundup.tokenization.compiled.layout import compiled
from groundup.tokenization.compiled.machine import load64, store32
from groundup.tokenization.compiled.merging import SCANNED, add_pair, merge_piece, pair_tables
from groundup.tokenization.compiled.objects import address


def recover_pairs(
    text: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64], numbers: npt.NDArray[np.int64]
) -> npt.NDArray[np.int32]:
    """For each token, shorter ones first and their bytes end to end, the two numbers that make it, int32 [N, 2].

    -1 stands where its bytes do not end in two tokens.
    """
    tables = pair_tables(len(lengths))
    symbols = np.empty(2 * SCANNED + 16, np.int32)
    state = np.zeros(layout.FIELDS, np.int64)
    identity = np.arange(int(numbers.max(initial=0)) + 257, dtype=np.uint32)
    for name, table in {**tables, layout.IDS: identity, layout.SYMBOLS: symbols}.items():
        state[name] = address(table)
    state[layout.PAIRS_SHIFT] = layout.shift_of(len(tables[layout.PAIRS]))
    room = np.empty(int(lengths.max(initial=0)) + 8, np.uint32)
    pairs = np.full((len(lengths), 2), -1, np.int32)
    recover(
        address(state), address(text), address(lengths), address(numbers), len(lengths), address(room), address(pairs)
    )
    return pairs


@compiled
def recover(state: int, text: int, lengths: int, numbers: int, count: int, room: int, pairs: int) -> None:
    """Merge each token with the pairs known so far; two parts that are left are a pair of their own."""
    for index in range(count):
        length = load64(lengths + 8 * index)
        if merge_piece(state, text, length, room) == 2:
            left, right = load64(room) & 0xFFFFFFFF, load64(room) >> 32
            add_pair(state, left, right, load64(numbers + 8 * index))
            store32(pairs + 8 * index, left)
            store32(pairs + 8 * index + 4, right)
        text += length
