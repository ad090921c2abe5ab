"""Python objects seen as memory, where that saves a copy: the bytes of a text, the slots of a list.

CPython keeps the bytes of a `bytes` and of an ASCII `str` behind a header of fixed size, and a list as an array of
pointers to objects that each begin with a reference count. Reading a text there needs no copy; writing the ids of a
text as pointers to integers made once costs 2 ns an id, where `ndarray.tolist` makes new ones at 15 ns.

None of this is promised by the language. `LAYOUT_HOLDS` is the result of trying it out when this module is loaded;
where it is false (another interpreter, a build without the GIL) everything goes through copies and `tolist`.
"""

import contextlib
import ctypes
import mmap
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from numba import njit

from groundup.tokenization.compiled.machine import load32, load64, store64

BYTES_HEADER, ASCII_HEADER = sys.getsizeof(b"") - 1, sys.getsizeof("") - 1
LIST_ITEMS = 24  # offset of the pointer to a list's slots: behind reference count, type and length
IMMORTAL = 1 << 30  # reference counts this large are not counts: objects that live for ever, from Python 3.12 on
LARGE_PAGE = 1 << 21  # bytes
MOST_INTEGERS = 1 << 20  # that are kept ready; some 40 MB
FEW = 64  # ids for which making a list this way does not pay


def holding_gil(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel that other threads wait for."""
    return njit(cache=True, error_model="numpy")(function)


def address(array: npt.NDArray[np.generic]) -> int:
    """Where an array's data begins."""
    return int(array.__array_interface__["data"][0])


def bytes_address(text: bytes) -> int:
    """Where a text's bytes begin; the caller keeps the text."""
    if LAYOUT_HOLDS and type(text) is bytes:
        return id(text) + BYTES_HEADER
    return address(np.frombuffer(text, np.uint8))  # looks at the same memory, the slow way to ask where it is


def zeroed(words: int) -> npt.NDArray[np.int64]:
    """Zeroed memory for a table that is read at random: in large pages where the system has them.

    With pages of 4 KB most reads of a table of 32 MB would first have to look up the page; this way encoding 100 MB of
    text with 443,000 different pre-tokens is a sixth faster.
    """
    if words * 8 < LARGE_PAGE or not hasattr(mmap, "MADV_HUGEPAGE"):
        return np.zeros(words, np.int64)
    memory = mmap.mmap(-1, words * 8 + LARGE_PAGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(OSError):  # a system without large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    array = np.frombuffer(memory, np.int64)
    first = -address(array) % LARGE_PAGE // 8
    return array[first : first + words]


class Integers:
    """The integers 0 .. number - 1, made once, and where each of them is."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._made: tuple[list[int], npt.NDArray[np.int64]] | None = None

    def as_list(self, ids: npt.NDArray[np.uint32], count: int) -> list[int]:
        """The first `count` ids as a list."""
        if count < FEW or self._number > MOST_INTEGERS or not LAYOUT_HOLDS:
            return ids[:count].tolist()
        made = self._made  # held here too: another thread may make them at the same time and replace these
        if made is None:
            integers = list(range(self._number))
            made = self._made = integers, np.fromiter(map(id, integers), np.int64, self._number)
        result = [None] * count
        _point_to(id(result), address(ids), count, address(made[1]), id(None))
        return result  # type: ignore[return-value]


@holding_gil
def _point_to(result: int, ids: int, count: int, pointers: int, none: int) -> None:
    """Replace the `count` references to None in a list by references to integers. The GIL must be held."""
    items = load64(result + LIST_ITEMS)
    for index in range(count):
        integer = load64(pointers + 8 * load32(ids + 4 * index))
        store64(items + 8 * index, integer)
        references = load64(integer)
        if references & 0xFFFFFFFF < IMMORTAL:
            store64(integer, references + 1)
    references = load64(none)
    if references & 0xFFFFFFFF < IMMORTAL:
        store64(none, references - count)


def _layout_holds() -> bool:
    """Whether texts, lists and reference counts are where this module looks for them."""
    if sys.implementation.name != "cpython" or not getattr(sys, "_is_gil_enabled", lambda: True)():
        return False
    data, text, probe = b"bytes", "text", object()
    references = [probe, probe, probe]
    items = ctypes.c_int64.from_address(id(references) + LIST_ITEMS).value
    return (
        ctypes.string_at(id(data) + BYTES_HEADER, 5) == data
        and ctypes.string_at(id(text) + ASCII_HEADER, 4) == text.encode()
        and list((ctypes.c_int64 * 3).from_address(items)) == [id(probe)] * 3
        and ctypes.c_int64.from_address(id(probe)).value == sys.getrefcount(probe) - 1
    )


LAYOUT_HOLDS = _layout_holds()
