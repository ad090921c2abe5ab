"""What the encoding kernels share: one vector of addresses and sizes per encoder, and the tables that it names.

    state     int64 vector; the kernels get its address and read field F as `field(state, F)`
    pieces    hash table from pre-tokens to ids, 32 bytes a slot, linear probing:

        | lo: bytes 0..7 | hi: bytes 8..14, length | id 0, id 1, count | id 2, id 3 |

        A pre-token of up to 15 bytes is its own key, its length in the top byte of `hi`, so two compares decide. Up to
        4 ids lie in the slot, their count in the top byte of the third word, so one 16-byte copy writes them. Longer
        pre-tokens (key: 64-bit hash, length, and LONG in the top byte) and longer results have the mark ELSEWHERE in
        the top byte, so that no key equals it, and the offset of a record in the arena in the third word:

    arena     uint32 words; a record is | count | ids ... | the bytes, where there are more than 15 |

    pairs     rank of a pair of tokens, in three layers: two bytes -> a table of 65,536 ranks; other pairs -> a bitmap
              of 2^20 bits that refuses most of those that are no merge, then a hash table of one word per pair,
              | left: 21 bits | right: 21 bits | rank: 22 bits |

A rank is a token's internal number: 0 to 255 for bytes, 256 + i for merge i; `ids` turns it into the public id.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import xxhash
from numba import njit

from groundup.tokenization.compiled.machine import load64, store64


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """A kernel: machine code, kept on disk, that lets other threads run."""
    return njit(cache=True, nogil=True, error_model="numpy")(function)


# Fields of the state.
(
    PATTERN,
    CLASSES,
    BYTE_PAIRS,
    BITMAP,
    PAIRS,
    PAIRS_SHIFT,
    IDS,
    MASKS,
    PIECES,
    PIECES_SHIFT,
    PIECES_USED,
    PIECES_LIMIT,
    ARENA,
    ARENA_USED,
    ARENA_LIMIT,
    STARTS,
    KEYS,
    SYMBOLS,
    TAIL,
    CONSUMED,
    FIELDS,
) = range(21)

CHUNK = 2048  # bytes of text between two looks at the room that is left; its buffers fit the first-level cache
MOST_TOKENS = CHUNK + 320  # starts in a chunk and the token behind it
ARENA_RESERVE = 4 * CHUNK  # words that one chunk can take
TAIL_BYTES = 192  # the end of a text is copied to where reading on does no harm
SLOT = 32
SHORT = 15  # bytes of a pre-token that is its own key
LONGEST = 255  # bytes of a pre-token that is remembered
LONG = 63 << 56  # in the place of the length: the key is a hash
INLINE_IDS = 4
COUNT_BYTE = 23  # of a slot: the top byte of its third word
ELSEWHERE = 1 << 62  # in the second word of a slot: the ids are in the arena
IDS_MASK = (1 << 56) - 1
BITMAP_BITS = 20
RANK_BITS, TOKEN_BITS = 22, 21
NO_RANK = (1 << RANK_BITS) - 1
# Odd multipliers for hashing, as signed 64-bit: the fractions of the golden ratio and of the square root of 3.
GOLDEN, ROOT = 0x9E3779B97F4A7C15 - (1 << 64), 0xBB67AE8584CAA73B - (1 << 64)


@compiled
def field(state: int, index: int) -> int:
    """A field of the state."""
    return load64(state + 8 * index)


@compiled
def set_field(state: int, index: int, value: int) -> None:
    """Change a field of the state."""
    store64(state + 8 * index, value)


def shift_of(slots: int) -> int:
    """What turns a hash of 64 bits into the index of one of so many slots, a power of two."""
    return 64 - (slots - 1).bit_length()


def cache_folder() -> Path:
    """Where Numba keeps the compiled kernels."""
    return Path(field.stats.cache_path)  # pyright: ignore[reportFunctionMemberAccess]


def is_on_disk(kernel: str) -> bool:
    """Whether a kernel has been compiled on this machine since its source last changed."""
    version = f"py{sys.version_info.major}{sys.version_info.minor}"
    return any(cache_folder().glob(f"*.{kernel}-*.{version}*.nbi"))


def _discard_stale_kernels() -> None:
    """Delete compiled kernels of other sources than these.

    Numba looks only at the file of the function itself, so a kernel would live on after a change of one that it calls.
    """
    sources = Path(__file__).parent
    modules = sorted(sources.glob("*.py"))
    constants = sources.with_name("unicode_classes.py")  # its numbers are part of the kernels
    digest = xxhash.xxh64(b"".join(path.read_bytes() for path in [*modules, constants])).hexdigest()
    folder = cache_folder()
    stamp = folder / "groundup_kernels.txt"
    if stamp.exists() and stamp.read_text() == digest:
        return
    for path in modules:
        for kind in ("nbi", "nbc"):
            for stale in folder.glob(f"{path.stem}.*.{kind}"):
                stale.unlink(missing_ok=True)
    if folder.is_dir():
        stamp.write_text(digest)


_discard_stale_kernels()
