"""xz as a language model: how many bits per byte a general compressor needs for held-out text.

    bits per byte given training = 8 (size(xz(train + heldout)) - size(xz(train))) / bytes(heldout)

is what the held-out text adds once the compressor knows the training text; alone it is 8 size(xz(heldout)) /
bytes(heldout). LZMA2 at its strongest preset, with a dictionary that reaches back over everything.
"""

import lzma
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from groundup.core.errors import InputError

SMALLEST_DICTIONARY, LARGEST_DICTIONARY = 4096, 1536 * 2**20  # limits of liblzma's encoder


@dataclass(frozen=True)
class XzBits:
    """Bits per byte of the held-out text, after the training text and on its own."""

    given_training: float
    alone: float


def xz_bits_per_byte(training: Sequence[bytes], heldout: Sequence[bytes]) -> XzBits:
    """Compress three times, on as many cores as are free: about a second per megabyte of training text, twice."""
    known, new = b"\n\n".join((*training, b"")), b"\n\n".join(heldout)
    size = sum(map(len, heldout))
    if not size:
        raise InputError("Bits per byte need at least one byte of held-out text; the texts given are empty.")
    with ThreadPoolExecutor(max_workers=3) as pool:  # lzma works outside the interpreter's lock
        both, first, alone = pool.map(_size, (known + new, known, new))
    return XzBits(given_training=8 * (both - first) / size, alone=8 * alone / size)


def _size(data: bytes) -> int:
    dictionary = min(max(len(data), SMALLEST_DICTIONARY), LARGEST_DICTIONARY)
    filters = [{"id": lzma.FILTER_LZMA2, "preset": 9 | lzma.PRESET_EXTREME, "dict_size": dictionary}]
    return len(lzma.compress(data, lzma.FORMAT_XZ, check=lzma.CHECK_NONE, filters=filters))
