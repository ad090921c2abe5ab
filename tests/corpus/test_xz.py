import lzma
import random

import pytest

from groundup.core.errors import InputError
from groundup.corpus.xz import xz_bits_per_byte


def test_known_text_costs_almost_nothing():
    generator = random.Random(0)
    novel = bytes(generator.randrange(97, 123) for _ in range(20_000))
    bits = xz_bits_per_byte([b"something else " * 10, novel], [novel])
    assert bits.given_training < 0.1
    # 26 equally likely letters hold log2(26) = 4.70 bits each; a compressor cannot go below.
    assert 4.7 < bits.alone < 5.2


def test_alone_is_the_size_of_the_file():
    text = [b"to be or not to be, that is the question " * 20, b"whether it is nobler in the mind"]
    size = len(lzma.compress(b"\n\n".join(text), preset=9 | lzma.PRESET_EXTREME, check=lzma.CHECK_NONE))
    assert xz_bits_per_byte([], text).alone == pytest.approx(8 * size / sum(map(len, text)), rel=0.02)


def test_nothing_to_score_is_refused():
    with pytest.raises(InputError, match="at least one byte"):
        xz_bits_per_byte([b"abc"], [b""])
