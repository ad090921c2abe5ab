"""The hosts of a blocklist as sorted 64-bit hashes: lists have millions, and every worker reads them.

The 4.6 million names of a list for adult pages take 40 MB and one second here, 700 MB and four seconds as a dictionary
of strings. Two of so many hosts have the same hash with probability 6e-7 (n^2 / 2^65).
"""

# Numba takes integers of any width, which pyright tells apart.
# pyright: reportArgumentType=false, reportReturnType=false

import re
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from groundup.corpus.dedup.hashing import Bytes, Hashes, Places, compiled, hash_bytes

PLAIN = re.compile(r"(?!www\.)[a-z0-9](?:[a-z0-9_.-]*[a-z0-9_-])?")
"""hosts that `normalize_url` leaves as they are: the reference of `_plain_lines`"""
HostOf = Callable[[str, str], str | None]
LINE_FEED, DOT, LETTER_W = ord("\n"), ord("."), ord("w")
FIRST = np.array([chr(byte) in "abcdefghijklmnopqrstuvwxyz0123456789" for byte in range(256)])
ALLOWED = FIRST | np.array([chr(byte) in "_.-" for byte in range(256)])


class HostTable:
    """host -> category; of several categories of a host the first. State: sorted hashes, the category of each."""

    def __init__(self, lists: Iterable[tuple[str, bytes]] = (), host_of: HostOf | None = None) -> None:
        """From (category, lines of a list); `host_of` gives the host of a line that is not plain, or None."""
        self.categories: list[str] = []
        parts: list[Hashes] = []
        for category, data in lists:
            keys, starts, ends = _plain_lines(np.frombuffer(data, np.uint8), ALLOWED, FIRST)
            lines = (data[start:end].decode("utf-8", "replace") for start, end in zip(starts, ends, strict=True))
            names = (host_of(category, line) for line in lines) if host_of else ()
            parts.append(np.concatenate((keys, np.array([_hash(name) for name in names if name], np.uint64))))
            self.categories.append(category)
        joined = np.concatenate((np.zeros(0, np.uint64), *parts))
        self._keys, first = np.unique(joined, return_index=True)
        self._list = np.repeat(np.arange(len(parts)), [len(part) for part in parts])[first].astype(np.int32)

    def __len__(self) -> int:
        return len(self._keys)

    def get(self, host: str) -> str | None:
        """The category of exactly this host."""
        key = _hash(host)
        place = int(np.searchsorted(self._keys, key))
        found = place < len(self._keys) and self._keys[place] == key
        return self.categories[self._list[place]] if found else None


def _hash(host: str) -> np.uint64:
    data = np.frombuffer(host.encode("utf-8", "surrogatepass"), np.uint8)
    return np.uint64(hash_bytes(data, 0, len(data)))


@compiled
def _plain_lines(data: Bytes, allowed: NDArray[np.bool_], first: NDArray[np.bool_]) -> tuple[Hashes, Places, Places]:
    """The hashes of plain lines; where the other ones that are not empty start and end."""
    lines = 1
    for byte in data:
        lines += byte == LINE_FEED
    keys, starts, ends = np.empty(lines, np.uint64), np.empty(lines, np.int64), np.empty(lines, np.int64)
    plain = others = start = 0
    for place in range(len(data) + 1):
        if place < len(data) and data[place] != LINE_FEED:
            continue
        if place > start:
            fine = first[data[start]] and data[place - 1] != DOT
            for i in range(start, place):
                fine &= allowed[data[i]]
            www = place - start >= 4 and data[start + 3] == DOT
            for i in range(start, min(start + 3, place)):
                www &= data[i] == LETTER_W
            if fine and not www:
                keys[plain] = hash_bytes(data, start, place)
                plain += 1
            else:
                starts[others], ends[others] = start, place
                others += 1
        start = place + 1
    return keys[:plain], starts[:others], ends[:others]
