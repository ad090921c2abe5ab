"""The compiled counter of pre-tokens as an object: it takes text block by block and makes room for what is new.

Memory follows the number of distinct pre-tokens (about 64 bytes each), not the length of the text.
"""

import numpy as np
import numpy.typing as npt

from groundup.tokenization.compiled import layout
from groundup.tokenization.compiled.counting import count_text, enter_counts, list_pieces
from groundup.tokenization.compiled.encoder import length_masks
from groundup.tokenization.compiled.encoding import move_pieces
from groundup.tokenization.compiled.machine import PADDING
from groundup.tokenization.compiled.objects import address, bytes_address, zeroed
from groundup.tokenization.compiled.scanner import PATTERN_CODES
from groundup.tokenization.unicode_classes import class_table

FIRST_SLOTS, FIRST_ARENA = 1 << 15, 1 << 18


class PieceCounter:
    """Counts of the pre-tokens of all the text that it was given; one thread at a time."""

    def __init__(self, pattern: str) -> None:
        self._buffers: dict[int, npt.NDArray[np.generic]] = {
            layout.CLASSES: class_table(),
            layout.MASKS: length_masks(),
            layout.STARTS: np.empty(layout.MOST_TOKENS + 16, np.int64),
            layout.KEYS: np.empty(3 * layout.MOST_TOKENS, np.int64),
            layout.TAIL: np.empty(layout.TAIL_BYTES + PADDING + 16, np.uint8),
            layout.PIECES: zeroed(FIRST_SLOTS * layout.SLOT // 8),
            layout.ARENA: np.empty(FIRST_ARENA, np.uint8),
        }
        self._state = np.zeros(layout.FIELDS, np.int64)
        self._state[layout.PATTERN] = PATTERN_CODES[pattern]
        self._name_buffers()

    def add(self, text: bytes) -> None:
        """Count the pre-tokens of valid UTF-8."""
        self.add_part(text, 0, len(text))

    def add_part(self, text: bytes, start: int, end: int) -> None:
        """Count the pre-tokens of text[start:end]."""
        begin = bytes_address(text)
        while start < end:
            count_text(address(self._state), begin + start, end - start)
            start += int(self._state[layout.CONSUMED])
            if start < end:
                self._make_room()

    def add_counts(
        self, text: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int64], counts: npt.NDArray[np.int64]
    ) -> None:
        """Add counts as `pieces` gives them."""
        while self._state[layout.PIECES_USED] + len(lengths) > self._state[layout.PIECES_LIMIT]:
            self._grow_pieces()
        self._grow_arena(int(self._state[layout.ARENA_USED]) + len(text))
        padded = np.concatenate([text, np.zeros(PADDING, np.uint8)])
        enter_counts(address(self._state), address(padded), address(lengths), address(counts), len(lengths))

    def __len__(self) -> int:
        """Distinct pre-tokens."""
        return int(self._state[layout.PIECES_USED])

    def pieces(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The bytes of all pre-tokens end to end, their lengths, and how often each occurs."""
        counts, lengths = np.empty(len(self), np.int64), np.empty(len(self), np.int64)
        text = np.empty(16 * len(self) + int(self._state[layout.ARENA_USED]), np.uint8)
        list_pieces(address(self._state), address(counts), address(lengths), address(text))
        return text[: lengths.sum()].copy(), lengths, counts

    def _make_room(self) -> None:
        if self._state[layout.PIECES_USED] + layout.MOST_TOKENS > self._state[layout.PIECES_LIMIT]:
            self._grow_pieces()
        else:
            self._grow_arena(len(self._buffers[layout.ARENA]) + 1)

    def _grow_pieces(self) -> None:
        old = self._buffers[layout.PIECES]
        self._buffers[layout.PIECES] = zeroed(2 * len(old))
        self._name_buffers()
        move_pieces(address(self._state), address(old), len(old) * 8 // layout.SLOT)

    def _grow_arena(self, least: int) -> None:
        old = self._buffers[layout.ARENA]
        if least > len(old):
            larger = np.empty(max(least, 2 * len(old)), np.uint8)
            larger[: len(old)] = old
            self._buffers[layout.ARENA] = larger
            self._name_buffers()

    def _name_buffers(self) -> None:
        for name, buffer in self._buffers.items():
            self._state[name] = address(buffer)
        slots = len(self._buffers[layout.PIECES]) * 8 // layout.SLOT
        self._state[layout.PIECES_SHIFT] = layout.shift_of(slots)
        self._state[layout.PIECES_LIMIT] = slots * 3 // 4
        self._state[layout.ARENA_LIMIT] = len(self._buffers[layout.ARENA])
