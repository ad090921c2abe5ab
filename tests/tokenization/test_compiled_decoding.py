"""Decoding by the kernel: the bytes and the faults are those of looking each id up in the vocabulary."""

import pickle
import random
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import InputError
from groundup.tokenization import bpe
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.compiled.decoding import WIDE, CompiledDecoder, decode_ids
from groundup.tokenization.compiled.objects import address

# Tokens of 1 to 40 bytes: up to 16 are copied at once, longer ones byte by byte. Ids have gaps; 0 is one of them.
VOCABULARY = {7 * length + 3: bytes(range(length, 2 * length)) for length in range(1, 41)} | {500: b"\0" * 16}
DTYPES = [np.uint8, np.uint16, np.uint32, np.uint64, np.int16, np.int32, np.int64, ">u2", ">i4"]


@pytest.fixture
def kernels(monkeypatch):
    """Rows of every length go through the kernel."""
    monkeypatch.setattr(bpe, "LONG_ROW", 0)
    monkeypatch.setattr(bpe, "pays", lambda size, kernel: True)


def chained(merges):
    """A tokenizer whose ids have gaps and whose last tokens are long: 'ab', 'abab', 'abababab' and so on."""
    ids = [3 * number + 2 for number in range(256 + merges)]
    pairs = [(97, 98)] + [(255 + number, 255 + number) for number in range(1, merges)]
    return BytePairTokenizer(pairs, "gpt2", {"<|end|>": 0}, ids, whole_pieces={b" whole": 1})


@given(st.lists(st.sampled_from(sorted(VOCABULARY)), max_size=60))
def test_bytes_are_those_of_the_vocabulary(ids):
    expected = b"".join(VOCABULARY[token] for token in ids)
    decoder = CompiledDecoder(VOCABULARY)
    assert decoder.decode(ids) == expected
    for dtype in (np.uint16, np.int64):
        assert decoder.decode(np.array(ids, dtype)) == expected


@pytest.mark.parametrize("last", range(1, 41))
def test_nothing_is_written_behind_the_end(last):
    """Whatever the last tokens' lengths, 16 bytes are copied only where there is room for them."""
    decoder = CompiledDecoder(VOCABULARY)
    for length in (1, 2, WIDE - 1, WIDE, WIDE + 1, 40):
        expected = VOCABULARY[7 * length + 3] * 3 + VOCABULARY[7 * last + 3]
        row = np.array([7 * length + 3] * 3 + [7 * last + 3])
        out = np.full(len(expected) + 64, 0xEE, np.uint8)
        decode_ids(row, decoder._offsets, address(decoder._text), address(out), address(out) + len(expected))
        assert out.tobytes() == expected + b"\xee" * 64


@pytest.mark.parametrize("dtype", DTYPES)
def test_arrays_of_any_integers(dtype, kernels):
    tokenizer = BytePairTokenizer([(97, 98)], "gpt2")
    numbers = random.Random(1).choices([*range(120), 97], k=400)
    expected = bytes(numbers)
    ids = np.array(numbers, dtype)
    assert tokenizer.decode_bytes(ids) == expected
    assert tokenizer.decode_bytes(ids[::-1]) == expected[::-1]
    assert tokenizer.decode_bytes(ids[::3]) == expected[::3]
    ids.flags.writeable = False
    assert tokenizer.decode(ids) == expected.decode()


def test_a_file_in_memory(tmp_path, kernels):
    (tmp_path / "ids.bin").write_bytes(np.arange(65, 91, dtype=np.uint16).tobytes())
    assert chained(2).decode_bytes(np.memmap(tmp_path / "ids.bin", np.uint16) * 3 + 2) == bytes(range(65, 91))
    plain = BytePairTokenizer([], "gpt2")
    assert plain.decode_bytes(np.memmap(tmp_path / "ids.bin", np.uint16, "r")) == bytes(range(65, 91))


@settings(max_examples=60)
@given(st.lists(st.integers(0, 265), max_size=50))
def test_a_tokenizer_gives_the_same_with_and_without_the_kernel(numbers):
    tokenizer = chained(10)
    ids = [*(3 * number + 2 for number in numbers), 0, 1]
    expected = tokenizer.decode_bytes(iter(ids))  # an iterator is never for the kernel
    with pytest.MonkeyPatch.context() as patch:
        for length, pays in ((0, True), (0, False), (1 << 30, True)):
            patch.setattr(bpe, "LONG_ROW", length)
            patch.setattr(bpe, "pays", lambda size, kernel, pays=pays: pays)
            for row in (ids, tuple(ids), np.array(ids, np.uint32), np.array(ids)):
                assert tokenizer.decode_bytes(row) == expected
    assert expected.endswith(b"<|end|> whole")


class TestFaults:
    @pytest.mark.parametrize("bad", [3, 9, 3 * 257 + 3, 1 << 20, -1, -(1 << 40), (1 << 32) + 2, (1 << 63) - 1])
    @pytest.mark.parametrize("place", [0, 150, 299])
    def test_ids_that_no_token_has(self, bad, place, kernels):
        """Outside, below 0, in a gap, or one that would be a token if it were cut to 32 bits."""
        tokenizer = chained(2)
        ids = [*range(2, 302, 3)] * 3
        ids[place] = bad
        for row in (ids, np.array(ids)):
            with pytest.raises(InputError, match=rf"token id {bad} is not in this vocabulary, whose ids are 0 to 773"):
                tokenizer.decode_bytes(row)

    def test_the_first_of_several_is_named(self, kernels):
        with pytest.raises(InputError, match="token id 9 "):
            chained(2).decode_bytes(np.array([2, 5, 9, 10, 1 << 30]))

    def test_numbers_beyond_64_bits(self, kernels):
        with pytest.raises(InputError, match="token id 18446744073709551615 "):
            chained(2).decode_bytes(np.array([2, (1 << 64) - 1], np.uint64))
        with pytest.raises(InputError, match=f"token id {1 << 70} "):
            chained(2).decode_bytes([2, 1 << 70])

    def test_what_are_no_integers(self, kernels):
        """Numbers with a fraction are not cut off, and a table of ids is no row of them."""
        for row in ([2, 2.5], np.array([2, 2.5])):
            with pytest.raises(InputError, match=r"token id 2\.5 "):
                chained(2).decode_bytes(row)
        with pytest.raises(TypeError):
            chained(2).decode_bytes(np.array([[2, 5], [8, 11]]))

    def test_no_ids(self, kernels):
        for row in ([], np.array([], np.uint16), np.array([])):
            assert chained(2).decode_bytes(row) == b""


def test_a_pickled_tokenizer_decodes(kernels):
    tokenizer = chained(3)
    ids = np.arange(2, 700, 3)
    expected = tokenizer.decode_bytes(ids)
    assert pickle.loads(pickle.dumps(tokenizer)).decode_bytes(ids) == expected == bytes(range(233))


def test_little_is_decoded_without_numba():
    code = """
import sys
import numpy as np
from groundup.tokenization.bpe import BytePairTokenizer
assert BytePairTokenizer([], "gpt2").decode_bytes(np.full(100_000, 65, np.uint16)) == b"A" * 100_000
sys.exit("numba" in sys.modules)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
