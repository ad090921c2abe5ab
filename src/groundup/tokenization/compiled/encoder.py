"""The compiled encoder as an object: tables that threads share, and the memory that each of them needs for itself.

A workspace holds a cache of pre-tokens, so no two threads may use the same one at a time; idle ones wait in a list.
The cache begins small and grows with what the text needs, because a small one stays in the processor's caches; to
fill it with the vocabulary in advance was tried and gained nothing.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from io import FileIO
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from groundup.tokenization.compiled import layout
from groundup.tokenization.compiled.encoding import encode_text, enter_pieces, move_pieces
from groundup.tokenization.compiled.layout import SLOT
from groundup.tokenization.compiled.machine import PADDING
from groundup.tokenization.compiled.merging import SCANNED, add_merges, pair_tables
from groundup.tokenization.compiled.objects import (
    ASCII_HEADER,
    LAYOUT_HOLDS,
    Integers,
    address,
    bytes_address,
    zeroed,
)
from groundup.tokenization.compiled.scanner import PATTERN_CODES
from groundup.tokenization.compiled.utf8 import is_utf8
from groundup.tokenization.cutting import Cut
from groundup.tokenization.tokenizer import to_utf8
from groundup.tokenization.unicode_classes import class_table

Ids = npt.NDArray[np.uint32]
FIRST_SLOTS, MOST_SLOTS = 1 << 15, 1 << 20  # of a cache, 32 bytes each; a full one of the largest starts afresh
FILLED = 0.6  # of the slots at most
BYTES_PER_SLOT = 128  # of a text, by which the first size of its cache is chosen
ARENA_WORDS = 4  # per slot, for ids and bytes that do not fit into it
PIECE = 1 << 18  # bytes of a file that are read at once; with their ids they fit into the second-level cache
CUT_WINDOWS = (256, 4096, 65_536)  # bytes at the end of a piece in which a cut is looked for
SHORT_TEXT = 4096  # bytes of text up to which the output buffer is kept


class CompiledEncoder:
    """Encodes with one vocabulary. `merges` are pairs of ranks, `ids` the public id of each rank; `whole_pieces` maps
    pre-tokens to the one id that they become without merging."""

    def __init__(
        self,
        merges: npt.NDArray[np.int32],
        ids: Ids,
        pattern: str,
        whole_pieces: Mapping[bytes, int],
    ) -> None:
        self._tables = {
            layout.CLASSES: class_table(),
            **pair_tables(len(merges)),
            layout.IDS: ids,
            layout.MASKS: length_masks(),
        }
        state = np.zeros(layout.FIELDS, np.int64)
        state[layout.PATTERN] = PATTERN_CODES[pattern]
        state[layout.PAIRS_SHIFT] = layout.shift_of(len(self._tables[layout.PAIRS]))
        for field, table in self._tables.items():
            state[field] = address(table)
        add_merges(address(state), merges)
        self._state, self._whole_pieces = state, dict(whole_pieces)
        self._integers = Integers(1 + max(int(ids.max()), *whole_pieces.values(), 0))
        self._idle = [_Workspace(state, self._whole_pieces)]
        self._load_kernels()

    def _load_kernels(self) -> None:
        """Have all of them in memory now, not in the middle of the first long text."""
        self.is_utf8(b"")
        self.encode(b"", [0, 0])
        move_pieces(address(self._state), 0, 0)

    def encode_list(self, text: str) -> list[int]:
        """The ids of a text as a list."""
        workspace = self._workspace()
        if LAYOUT_HOLDS and type(text) is str and text.isascii():  # a subclass keeps its text elsewhere
            ids, count = workspace.encode(id(text) + ASCII_HEADER, len(text))
        else:
            ids, count = workspace.encode_bytes(to_utf8(text))
        result = self._integers.as_list(ids, count)
        self._idle.append(workspace)
        return result

    def is_utf8(self, text: bytes) -> bool:
        """Whether bytes are what the other methods take."""
        return bool(is_utf8(bytes_address(text), len(text)))

    def encode(self, text: bytes, places: Sequence[int]) -> Ids:
        """The ids of valid UTF-8; each part between two places, which no pre-token may span, gets a thread."""
        if len(places) == 2:
            return self._encode_whole(text)
        begin = bytes_address(text)

        def encode_part(workspace: _Workspace, start: int, end: int, out: int) -> int:
            return workspace.encode_to(begin + start, end - start, out)

        ids = self._encode_parts(places, encode_part)
        assert ids is not None
        return ids

    def encode_file(self, path: Path, cut: Cut, threads: int = 1) -> Ids | None:
        """The ids of a file, read in pieces that end where `cut` says; None where it is not UTF-8 or shrinks meanwhile.

        A piece stays in the processor's caches, and memory that is new costs more than reading: the first touch of a
        page takes as long as encoding it.
        """

        def encode_part(workspace: _Workspace, start: int, end: int, out: int) -> int | None:
            count = 0
            with open(path, "rb", buffering=0) as file:
                file.seek(start)
                for piece, size in _pieces_of(file, end - start, cut):
                    if not is_utf8(piece, size):
                        return None
                    count += workspace.encode_to(piece, size, out + 4 * count)
                    start += size
            return count if start == end else None

        return self._encode_parts(_file_cuts(path, threads, cut), encode_part)

    def _encode_parts(
        self, places: Sequence[int], encode_part: "Callable[[_Workspace, int, int, int], int | None]"
    ) -> Ids | None:
        """What `encode_part(workspace, start, end, out)` writes for each part, a thread each, in one array.

        It returns how many ids it wrote, or None if it cannot; then that is the answer.
        """
        # Each part writes where it would be if every byte were a token; then they are moved together.
        parts = [(start, end, start + 8 * number) for number, (start, end) in enumerate(pairwise(places))]
        ids = np.empty(places[-1] + 8 * len(parts), np.uint32)

        def run(part: tuple[int, int, int]) -> int | None:
            start, end, first = part
            workspace = self._workspace()
            workspace.expect(end - start)
            count = encode_part(workspace, start, end, address(ids) + 4 * first)
            self._idle.append(workspace)
            return count

        if len(parts) == 1:
            counts = [run(parts[0])]
        else:
            with ThreadPoolExecutor(len(parts)) as pool:
                counts = list(pool.map(run, parts))
        total = 0
        for (_, _, first), count in zip(parts, counts, strict=True):
            if count is None:
                return None
            if first != total:
                ids[total : total + count] = ids[first : first + count]
            total += count
        ids.resize(total, refcheck=False)
        return ids

    def _workspace(self) -> "_Workspace":
        try:
            return self._idle.pop()
        except IndexError:
            return _Workspace(self._state, self._whole_pieces)

    def _encode_whole(self, text: bytes) -> Ids:
        workspace = self._workspace()
        ids, count = workspace.encode_bytes(text)
        if ids is workspace.short:
            ids = ids[:count].copy()
        else:
            ids.resize(count, refcheck=False)
        self._idle.append(workspace)
        return ids


class _Workspace:
    """One thread's state: its cache of pre-tokens and its buffers."""

    def __init__(self, state: npt.NDArray[np.int64], whole_pieces: Mapping[bytes, int]) -> None:
        self.state = state.copy()
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
        self._short_address = address(self.short)
        self._whole_pieces = whole_pieces
        self._start_afresh(FIRST_SLOTS)

    def encode_bytes(self, text: bytes) -> tuple[Ids, int]:
        """The ids of valid UTF-8: a buffer, and how many of its words they are."""
        return self.encode(bytes_address(text), len(text))

    def encode(self, start: int, size: int) -> tuple[Ids, int]:
        """As `encode_bytes`, for bytes at an address."""
        if size <= SHORT_TEXT:
            count = encode_text(self.address, start, size, self._short_address)
            if count >= 0:
                return self.short, count
            self._make_room()
        self.expect(size)
        ids = np.empty(size + 8, np.uint32)
        return ids, self.encode_to(start, size, address(ids))

    def encode_to(self, start: int, size: int, out: int) -> int:
        """Write the ids of `size` bytes at an address to `out`, which has room for size + 8; returns how many."""
        at, count = 0, 0
        while True:
            written = encode_text(self.address, start + at, size - at, out + 4 * count)
            if written >= 0:
                return count + written
            count += ~written
            at += int(self.state[layout.CONSUMED])
            self._make_room()

    def expect(self, size: int) -> None:
        """A cache large enough for most texts of so many bytes, rather than growing on the way."""
        wanted = min(1 << (size // BYTES_PER_SLOT).bit_length(), MOST_SLOTS)
        if wanted > self._slots:
            self._grow(wanted)

    def _make_room(self) -> None:
        """A larger cache, up to `MOST_SLOTS`; then an empty one, so memory is bounded."""
        if self._slots < MOST_SLOTS:
            self._grow(2 * self._slots)
        else:
            self._start_afresh(self._slots)

    def _grow(self, slots: int) -> None:
        pieces, arena, before = self._pieces, self._arena, self._slots
        larger = np.empty(ARENA_WORDS * slots + len(arena), np.uint32)
        larger[: len(arena)] = arena
        self._set_pieces(zeroed(slots * SLOT // 8), larger)
        move_pieces(self.address, address(pieces), before)

    def _start_afresh(self, slots: int) -> None:
        """A cache of the pieces that must be there, because no merging makes them."""
        words = sum(2 + (len(piece) + 3) // 4 for piece in self._whole_pieces)
        arena = np.zeros(ARENA_WORDS * slots + layout.ARENA_RESERVE + words, np.uint32)
        self._set_pieces(zeroed(slots * SLOT // 8), arena)
        self.state[layout.PIECES_USED] = self.state[layout.ARENA_USED] = 0
        if self._whole_pieces:
            lengths = np.fromiter(map(len, self._whole_pieces), np.int64, len(self._whole_pieces))
            ids = np.fromiter(self._whole_pieces.values(), np.uint32, len(self._whole_pieces))
            text = np.frombuffer(b"".join(self._whole_pieces) + bytes(PADDING), np.uint8)
            enter_pieces(self.address, address(text), address(lengths), len(ids), address(ids))

    def _set_pieces(self, pieces: npt.NDArray[np.int64], arena: npt.NDArray[np.uint32]) -> None:
        self._pieces, self._arena = pieces, arena
        self._slots = len(pieces) * 8 // SLOT
        self.state[layout.PIECES] = address(pieces)
        self.state[layout.PIECES_SHIFT] = layout.shift_of(self._slots)
        self.state[layout.PIECES_LIMIT] = int(FILLED * self._slots)
        self.state[layout.ARENA] = address(arena)
        self.state[layout.ARENA_LIMIT] = len(arena)


def _file_cuts(path: Path, threads: int, cut: Cut) -> list[int]:
    """Safe places that divide a file into at most so many parts of about the same size, the start and the end too."""
    places, size = [0], path.stat().st_size
    with open(path, "rb") as file:
        for number in range(1, threads):
            end = size * number // threads
            start = max(places[-1], end - CUT_WINDOWS[-1])
            file.seek(start)
            place = _last_cut(memoryview(file.read(end - start)), cut)
            if place:
                places.append(start + place)
    return [*places, size]


def _pieces_of(file: FileIO, size: int, cut: Cut) -> Iterator[tuple[int, int]]:
    """Address and length of each piece of the next `size` bytes, good until the next one is asked for; ends early where
    the file does."""
    buffer, held, left = np.empty(PIECE + PADDING, np.uint8), 0, size
    while left:
        room = len(buffer) - PADDING
        if held == room:  # a long text without a place to cut
            buffer = np.concatenate([buffer, np.empty(room, np.uint8)])
            continue
        got = file.readinto(buffer.data[held : min(room, held + left)])
        if not got:
            return
        held, left = held + got, left - got
        place = _last_cut(buffer.data[:held], cut) if left else held
        if place:
            yield address(buffer), place
            buffer[: held - place] = buffer[place:held]
            held -= place


def _last_cut(data: memoryview, cut: Cut) -> int:
    for window in CUT_WINDOWS:
        start = max(0, len(data) - window)
        place = cut(bytes(data[start:]))
        if place:
            return start + place
    return 0


def length_masks() -> npt.NDArray[np.int64]:
    """For each length 0 to 15 two words that keep that many bytes."""
    keep = np.arange(16)[None, :] < np.arange(16)[:, None]
    return np.ascontiguousarray(np.where(keep, 255, 0).astype(np.uint8)).view(np.int64)
