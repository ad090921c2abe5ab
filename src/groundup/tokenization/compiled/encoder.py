"""The compiled encoder as an object: tables that threads share, and the memory that each of them needs for itself.

`CompiledEncoder.encode` takes UTF-8 and gives a NumPy array; it splits a large text over threads at places where a
pre-token must begin, and each thread has its own cache of pre-tokens, so they share nothing that is written.
"""

import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt

from groundup.tokenization.compiled import layout
from groundup.tokenization.compiled.encoding import encode_text, move_pieces
from groundup.tokenization.compiled.layout import SLOT
from groundup.tokenization.compiled.machine import PADDING
from groundup.tokenization.compiled.merging import SCANNED, add_merges
from groundup.tokenization.compiled.scanner import PATTERN_CODES
from groundup.tokenization.unicode_classes import class_table

Ids = npt.NDArray[np.uint32]
FIRST_SLOTS, MOST_SLOTS = 1 << 15, 1 << 20  # 1 MB of pre-tokens to begin with, 32 MB at most
SHORT_TEXT = 4096  # bytes for which the output buffer is kept
BYTES_HEADER, ASCII_HEADER = sys.getsizeof(b"") - 1, sys.getsizeof("") - 1


class CompiledEncoder:
    """Encodes with one vocabulary. `merges` are pairs of ranks, `ids` the public id of each rank."""

    def __init__(self, merges: npt.NDArray[np.int32], ids: npt.NDArray[np.uint32], pattern: str) -> None:
        self._byte_pairs = np.full(1 << 16, layout.NO_RANK, np.uint32)
        self._bitmap = np.zeros((1 << layout.BITMAP_BITS) // 8, np.uint8)
        bits = max(10, int(2 * len(merges)).bit_length())
        self._pairs = np.zeros(1 << bits, np.int64)
        self._ids = ids
        self._classes = class_table()
        self._masks = _length_masks()
        shared = np.zeros(layout.FIELDS, np.int64)
        shared[layout.PATTERN] = PATTERN_CODES[pattern]
        shared[layout.CLASSES] = address(self._classes)
        shared[layout.BYTE_PAIRS] = address(self._byte_pairs)
        shared[layout.BITMAP] = address(self._bitmap)
        shared[layout.PAIRS] = address(self._pairs)
        shared[layout.PAIRS_SHIFT] = 64 - bits
        shared[layout.IDS] = address(self._ids)
        shared[layout.MASKS] = address(self._masks)
        self._shared = shared
        add_merges(address(shared), merges)
        self._idle: list[_Workspace] = []

    def encode(self, text: bytes) -> Ids:
        """The ids of valid UTF-8."""
        workspace = self._idle.pop() if self._idle else _Workspace(self._shared)
        try:
            return workspace.encode(text)
        finally:
            self._idle.append(workspace)


class _Workspace:
    """One thread's state: its cache of pre-tokens and its buffers."""

    def __init__(self, shared: npt.NDArray[np.int64]) -> None:
        self.state = shared.copy()
        self.address = address(self.state)
        self._buffers = {
            layout.STARTS: np.empty(layout.MOST_TOKENS + 16, np.int64),
            layout.KEYS: np.empty(3 * layout.MOST_TOKENS, np.int64),
            layout.SYMBOLS: np.empty(2 * SCANNED + 16, np.int32),
            layout.TAIL: np.empty(layout.TAIL_BYTES + PADDING + 16, np.uint8),
        }
        for name, buffer in self._buffers.items():
            self.state[name] = address(buffer)
        self.short = np.empty(SHORT_TEXT + 8, np.uint32)
        self.short_address = address(self.short)
        self._clear(FIRST_SLOTS)

    def encode(self, text: bytes) -> Ids:
        size = len(text)
        start = id(text) + BYTES_HEADER
        if size <= SHORT_TEXT:
            count = encode_text(self.address, start, size, self.short_address)
            if self.state[layout.CONSUMED] == size:
                return self.short[:count].copy()
        ids = np.empty(size + 8, np.uint32)
        first, at, count = address(ids), 0, 0
        while True:
            count += encode_text(self.address, start + at, size - at, first + 4 * count)
            at += int(self.state[layout.CONSUMED])
            if at == size:
                break
            self._make_room()
        ids.resize(count, refcheck=False)
        return ids

    def _make_room(self) -> None:
        """A larger table, up to `MOST_SLOTS`; then an empty one, so memory is bounded."""
        old, slots = self.pieces, len(self.pieces) // 4
        if slots == MOST_SLOTS or self.state[layout.ARENA_USED] + layout.ARENA_RESERVE > self.state[layout.ARENA_LIMIT]:
            if slots == MOST_SLOTS:
                self._clear(slots)
            else:
                self._clear(4 * slots)
            return
        used, arena_used, arena = self.state[layout.PIECES_USED], self.state[layout.ARENA_USED], self.arena
        self._clear(min(4 * slots, MOST_SLOTS))
        self.arena[: len(arena)] = arena
        self.state[layout.PIECES_USED], self.state[layout.ARENA_USED] = used, arena_used
        move_pieces(self.address, address(old), slots)

    def _clear(self, slots: int) -> None:
        self.pieces = np.zeros(slots * SLOT // 8, np.int64)
        self.arena = np.zeros(4 * slots + layout.ARENA_RESERVE, np.uint32)
        self.state[layout.PIECES] = address(self.pieces)
        self.state[layout.PIECES_SHIFT] = 64 - (slots - 1).bit_length()
        self.state[layout.PIECES_USED] = 0
        self.state[layout.PIECES_LIMIT] = slots * 5 // 8
        self.state[layout.ARENA] = address(self.arena)
        self.state[layout.ARENA_USED] = 0
        self.state[layout.ARENA_LIMIT] = len(self.arena)


def _length_masks() -> npt.NDArray[np.int64]:
    """For each length 0 to 15 two words that keep that many bytes."""
    keep = np.arange(16)[None, :] < np.arange(16)[:, None]
    return np.ascontiguousarray(np.where(keep, 255, 0).astype(np.uint8)).view(np.int64)


def address(array: npt.NDArray[np.generic]) -> int:
    """Where an array's data begins."""
    return int(array.__array_interface__["data"][0])
