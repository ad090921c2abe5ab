"""The measures of a tokenizer: against counts by hand, brute force over bytes, tiktoken, and the formulas."""

import math
import unicodedata
from itertools import chain, groupby, pairwise

import numpy as np
import pytest
import tiktoken
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import InputError
from groundup.tokenization import encoding_speed
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.byte_tokenizer import ByteTokenizer
from groundup.tokenization.character_tokenizer import CharacterTokenizer
from groundup.tokenization.encoding_speed import measure_speed
from groundup.tokenization.evaluation import Counts, Passage, Tally, compare_tokenizers
from groundup.tokenization.patterns import PATTERNS
from groundup.tokenization.tokenizer import Tokenizer
from groundup.tokenization.vocabulary_use import renyi_efficiency, tokens_as_bytes, vocabulary_use
from groundup.tokenization.word_tokenizer import WordTokenizer

TEXTS = ["the cat and the dog", "the naïve dog"]
PROSE = "the cat sat on the mat, and the naïve dog didn't; बच्चे 孩子们 x_1 1984 the end. " * 5
BPE = train_bpe([PROSE], 330, "gpt2")
WORD_CHARACTERS = set("abtheé१_19čाचб")
ALPHABET = "abtheé१_19čाचб 孩庭พ.,'\n\t🙂"


def tally_of(tokenizer, *texts):
    tally = Tally(tokenizer)
    for number, text in enumerate(texts):
        tally.add(Passage(text), f"d{number}")
    return tally


def test_counts_by_hand():
    # "a bb" is 4 bytes; "ab ab!" is the tokens "ab", " ab", "!": two words in one token each
    tokenizer = BytePairTokenizer([(97, 98), (32, 256)], "gpt2")
    total = tally_of(tokenizer, "ab ab!", "é bb").total()
    assert total == Counts(
        documents=2,
        bytes=6 + 5,
        characters=6 + 4,
        tokens=3 + 5,  # ab| ab|!  and  C3|A9| |b|b
        unknown_tokens=0,
        words=4,
        word_tokens=1 + 1 + 2 + 2,
        continued_words=2,
        round_trip_failures=0,
    )
    assert total.ratios() == {
        "bytes_per_token": 11 / 8,
        "characters_per_token": 10 / 8,
        "fertility": 6 / 4,
        "continued_word_share": 2 / 4,
        "unknown_share": 0.0,
    }


def brute_force_words(tokenizer, text):
    """(words, tokens that they lie in, words in several): which token made each byte, and which word holds it."""
    token_of_byte = list(
        chain.from_iterable(
            [index] * len(tokenizer.decode_bytes([token])) for index, token in enumerate(tokenizer.encode(text))
        )
    )
    words, position = [], 0
    for is_word, run in groupby(text, WORD_CHARACTERS.__contains__):
        size = len("".join(run).encode())
        if is_word:
            words.append(len(set(token_of_byte[position : position + size])))
        position += size
    return len(words), sum(words), sum(tokens > 1 for tokens in words)


@pytest.mark.parametrize("tokenizer", [BPE, ByteTokenizer(), CharacterTokenizer.train([ALPHABET])])
@given(text=st.text(st.sampled_from(ALPHABET), min_size=1))
def test_words_are_those_of_brute_force(tokenizer, text):
    counts = tally_of(tokenizer, text).total()
    assert (counts.words, counts.word_tokens, counts.continued_words) == brute_force_words(tokenizer, text)
    assert counts.round_trip_failures == 0


def test_scripts_without_spaces_have_no_words():
    counts = tally_of(BPE, "孩子们正在花园里玩耍。", "庭で遊んでいると", "เด็กๆ").total()
    assert counts.words == 0
    assert counts.ratios()["fertility"] is None
    assert counts.tokens > 0


def test_combining_marks_do_not_cut_words():
    for text in ("बच्चे बगीचे", unicodedata.normalize("NFD", "naïve café")):
        assert len(Passage(text).words) == 2


@given(st.text())
def test_word_spans_hold_the_words(text):
    passage = Passage(text)
    for first, last in passage.words:
        word = passage.data[first : last + 1].decode()
        assert word
        assert not any(character.isspace() for character in word)


def test_bytes_per_token_are_those_of_tiktoken():
    ranks = {bytes([byte]): byte for byte in range(256)}
    ranks |= {BPE.vocabulary[256 + merge]: 256 + merge for merge in range(len(BPE.merges))}
    peer = tiktoken.Encoding("test", pat_str=PATTERNS["gpt2"], mergeable_ranks=ranks, special_tokens={})
    texts = [PROSE, "a dog, the end 77", "मैं孩子"]
    counted = compare_tokenizers({"bpe": BPE}, texts)[0]
    tokens = sum(len(peer.encode_ordinary(text)) for text in texts)
    assert counted["tokens"] == tokens
    assert counted["bytes_per_token"] == sum(len(text.encode()) for text in texts) / tokens


def test_unknown_text_is_counted_and_does_not_come_back():
    tally = tally_of(CharacterTokenizer.train(["ab c"]), "ab c", "aé c\x00 and then more than thirty bytes")
    counts = tally.total()
    assert counts.round_trip_failures == 1
    assert counts.unknown_tokens == sum(c not in "ab c" for c in "aé c\x00 and then more than thirty bytes")
    assert counts.words == 2 + 8
    assert counts.word_tokens == sum(map(len, ["ab", "c", "aé", "c", "and", "then", "more", "than", "thirty", "bytes"]))
    failure = tally.first_failure
    assert failure is not None
    assert (failure.document, failure.at_byte) == ("d1", 1)
    assert failure.text == "é c\x00 and then more than thirty"[: len(failure.text)]
    assert failure.decoded.startswith("\ufffd c\ufffd a\ufffd\ufffd")
    assert tally_of(BPE, "fine", "").first_failure is None


def test_a_word_tokenizer_knows_how_long_its_unknown_words_were():
    counts = tally_of(WordTokenizer.train(["the dog"], 9), "the unbelievable dog").total()
    assert (counts.words, counts.word_tokens, counts.continued_words, counts.unknown_tokens) == (3, 3, 0, 1)


class Composing(Tokenizer):
    """Bytes, of the text in composed form: a text in another form does not come back."""

    special_tokens: dict[str, int] = {}  # noqa: RUF012
    vocab_size = 256

    def encode(self, text, *, allow_special=False):
        return list(unicodedata.normalize("NFC", text).encode())

    def decode_bytes(self, ids):
        return bytes(ids)


def test_a_normalising_tokenizer_is_measured_on_what_it_gives_back():
    text = unicodedata.normalize("NFD", "é dog")
    counts = tally_of(Composing(), text).total()
    assert counts.round_trip_failures == 1
    assert counts.bytes == len(text.encode()) == 7
    assert counts.tokens == 6
    assert (counts.words, counts.word_tokens) == (2, 2 + 3)


@given(st.lists(st.tuples(st.sampled_from("xyz"), st.text(st.sampled_from("ab é")))))
def test_groups_add_up_to_the_total(documents):
    grouped, alone = Tally(BPE), Tally(BPE)
    for group, text in documents:
        grouped.add(Passage(text), group=(group,))
        alone.add(Passage(text))
    assert grouped.total() == alone.total()
    assert {group for (group,) in grouped.groups} == {group for group, _ in documents}
    every = [token for _, text in documents for token in BPE.encode(text)]
    assert grouped.token_counts.tolist() == np.bincount(every, minlength=BPE.vocab_size).tolist()


@given(st.lists(st.integers(0, 40), min_size=1))
def test_percentiles_are_those_of_numpy(lengths):
    tally = tally_of(ByteTokenizer(), *("a" * length for length in lengths))
    expected = np.percentile(lengths, [0, 5, 50, 95, 100], method="inverted_cdf").tolist()
    assert list(tally.document_length_percentiles().values()) == expected


def test_comparison_rows_are_those_of_a_count_by_hand():
    rows = compare_tokenizers(
        {"byte": ByteTokenizer(), "character": CharacterTokenizer.train(["aé"]), "word": WordTokenizer.train(["é"], 5)},
        ["aé", "é b"],
    )
    assert rows == [
        {"name": "byte", "vocab_size": 256, "bytes_per_token": 1.0, "unknown_share": 0.0, "tokens": 7},
        {"name": "character", "vocab_size": 3, "bytes_per_token": 7 / 5, "unknown_share": 2 / 5, "tokens": 5},
        {"name": "word", "vocab_size": 2, "bytes_per_token": 7 / 3, "unknown_share": 2 / 3, "tokens": 3},
    ]


def test_trained_vocabulary_holds_more_bytes_per_token_than_bytes():
    bpe = train_bpe(TEXTS * 9, 290)
    rows = compare_tokenizers({"bpe": bpe, "byte": ByteTokenizer()}, TEXTS)
    assert rows[0]["bytes_per_token"] > 2 * rows[1]["bytes_per_token"]


def test_nothing_to_compare_on():
    with pytest.raises(InputError, match="no text to compare"):
        compare_tokenizers({"byte": ByteTokenizer()}, [""])


def test_vocabulary_use_by_hand():
    # "abc" is never made: "ab" is merged first; "b " is never made: the pattern cuts before the space
    tokenizer = BytePairTokenizer(
        [(97, 98), (98, 99), (97, 257), (98, 32), (0xC3, 0xA9)], "gpt2", {"<|end|>": 261, "<|far|>": 270}
    )
    counts = np.zeros(tokenizer.vocab_size, dtype=np.int64)
    counts[[97, 256, 260, 261]] = [3, 5, 1, 100]
    use = vocabulary_use(tokenizer, counts)
    assert use.tokens == 256 + 5
    assert use.unused == 256 + 5 - 3
    assert use.unused_share == use.unused / 261
    assert use.unreachable == 2
    assert [(token.text, token.bytes, token.count) for token in use.longest[:3]] == [
        ("abc", 3, 0),
        ("ab", 2, 5),
        ("bc", 2, 0),
    ]


def test_the_unknown_token_is_not_ordinary():
    use = vocabulary_use(CharacterTokenizer.train(["aé"]), np.array([7, 1, 0]))
    assert (use.tokens, use.unused, use.unreachable) == (2, 1, 0)


def test_ids_that_no_token_has():
    pieces = tokens_as_bytes(BytePairTokenizer([(97, 98)], special_tokens={"<|end|>": 259}))
    assert pieces[255:] == [b"\xff", b"ab", None, None, b"<|end|>"]


def test_renyi_efficiency_is_the_formula():
    assert renyi_efficiency(np.array([2, 1, 0, 1]), 4, alpha=2) == pytest.approx(-math.log(3 / 8) / math.log(4))
    assert renyi_efficiency(np.array([5, 5, 5, 5]), 4) == pytest.approx(1)
    assert renyi_efficiency(np.array([0, 9, 0]), 3) == 0
    assert renyi_efficiency(np.array([3]), 1) == 0


@given(st.lists(st.integers(0, 50), min_size=2).filter(any))
def test_renyi_efficiency_falls_with_alpha(counts):
    at = [renyi_efficiency(np.array(counts), len(counts), alpha) for alpha in (0, 0.5, 2.5, 9)]
    assert at[0] == pytest.approx(math.log(np.count_nonzero(counts)) / math.log(len(counts)))
    assert all(-1e-9 <= later <= earlier + 1e-9 for earlier, later in pairwise(at))


def test_speed_is_the_median_of_the_rounds_after_the_first(monkeypatch):
    # each turn takes (encode, decode) seconds: a slow first round, then three
    turns = iter([(50, 50), (1, 4), (2, 2), (9, 1)])
    steps = chain.from_iterable((0, encode, encode + decode) for encode, decode in turns)
    monkeypatch.setattr(encoding_speed.time, "perf_counter", lambda: next(steps))
    called = []
    speeds = measure_speed({"byte": ByteTokenizer()}, ["é" * 500_000, "a" * 1_000_000], 3, lambda: called.append(1))
    assert speeds["byte"].encode_megabytes_per_second == 2 / 2
    assert speeds["byte"].decode_megabytes_per_second == 2 / 2
    assert len(called) == 4
