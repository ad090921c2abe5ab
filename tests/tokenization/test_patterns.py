"""Pre-tokens: the published splits, equal to those of tiktoken's engine, and nothing lost with any expression."""

import random
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import regex
import tiktoken
from hypothesis import given, settings
from hypothesis import strategies as st
from tiktoken_ext import openai_public

from groundup.core.errors import ConfigError
from groundup.tokenization import patterns
from groundup.tokenization.patterns import PATTERNS, compile_pattern, resolve_pattern, split
from groundup.tokenization.unicode_classes import CLASSES, OTHER, class_of, class_table

# What the patterns treat in ways of their own, one or more of each kind; each string is an atom of random texts.
ENDINGS = ("s", "d", "m", "t", "ll", "ve", "re", "\u017f")  # U+017F is an s to `(?i:s)`
CASED = [
    cased for end in ENDINGS for cased in (end, end.upper(), end.title(), end[0] + end[1:].upper(), f"{end}\u017f")
]
CONTRACTIONS = [f"'{cased}" for cased in CASED]
LETTERS = [*"aBzéßǅªʰ日ا\u0130\u017f\u212a", "\U0001d400", "\U00010400", "\U00010428", "camelCase", "HTTPServer", "ǅa"]
DIGITS = [*(str(1234567)[:length] for length in range(1, 8)), "²", "٣", "Ⅷ", "\U0001d7d8"]
SPACES = [" ", " ", "  ", "\n", "\r\n", "\r", "\t", "\v", "\f", "\u0085", "\u00a0", "\u2028", "\u3000"]
MARKS = ["\u0301", "e\u0301", "\u20e3", "\u0903", "\U000e0100"]
OTHERS = [*"'’.,/-_$~", "//", "🙂", "👩\u200d🚀", *"\0\x1c\x1d\x1e\x1f\x7f\u200b\ufeff\ue000\u0378", "\U0010ffff"]
NEWER = [*"\u0295\u088f\u0cdc\u1acf\ua7ce", "\U00010ec5", "\U00010ef9", "\U00016ea0", "\U00016ebb", "\U000323b0"]
ATOMS = [CONTRACTIONS, LETTERS, DIGITS, SPACES, SPACES, MARKS, OTHERS, NEWER]
CONTEXT = "{0}a{0}b 1{0}2 {0} {0}{0} Ab{0}'s{0}'{0}\n{0}\n\u0301{0}\u0301A{0}a'{0}s {0}"
# In tiktoken the expression of GPT-2's vocabulary is another, meant to be equal and quicker.
PUBLISHED = PATTERNS | {"gpt2": openai_public.r50k_pat_str}


def assert_split_like_tiktoken(pattern: str, texts: Sequence[str]) -> None:
    """tiktoken cuts each text where we do.

    tiktoken shows ids, not pieces; a piece that is a token becomes that token. The vocabulary here holds our pieces and
    every two neighbours joined. If the ids are one per piece of ours, then tiktoken's cuts are among ours, and it left
    none out: it would have joined the two pieces that it did not cut apart, since they are a token too.
    """
    expected = [pieces(pattern, text) for text in texts]
    tokens = {piece for found in expected for piece in found}
    tokens |= {left + right for found in expected for left, right in pairwise(found)}
    alphabet = [bytes([byte]) for byte in range(256)]
    ranks = {token: rank for rank, token in enumerate(dict.fromkeys([*alphabet, *map(str.encode, sorted(tokens))]))}
    peer = tiktoken.Encoding("pieces", pat_str=PUBLISHED[pattern], mergeable_ranks=ranks, special_tokens={})
    for text, found in zip(texts, expected, strict=True):
        ids = peer.encode_ordinary(text)
        assert ids == [ranks[piece.encode()] for piece in found], (
            f"{text!r}: ours {found}, theirs {[peer.decode_single_token_bytes(token) for token in ids]}"
        )


@pytest.mark.parametrize("pattern", PATTERNS)
def test_random_texts_are_cut_as_by_tiktoken(pattern):
    generator = random.Random(1)
    atoms = [[generator.choice(generator.choice(ATOMS)) for _ in range(generator.randint(1, 8))] for _ in range(25_000)]
    assert_split_like_tiktoken(pattern, ["".join(some) for some in atoms])


@pytest.mark.parametrize(("quarter", "pattern"), list(enumerate(PATTERNS)))
def test_characters_of_other_classes_in_regex_are_cut_as_by_tiktoken(quarter, pattern):
    misjudged = np.flatnonzero(patterns._stand_in_table() != np.arange(0x110000))[quarter::4]  # each in one pattern
    assert_split_like_tiktoken(pattern, [CONTEXT.format(chr(code)) for code in misjudged])


@pytest.mark.parametrize("pattern", PATTERNS)
def test_all_characters_in_random_order_are_cut_as_by_tiktoken(pattern):
    characters = [chr(code) for code in np.flatnonzero(class_table() != OTHER)] + [chr(code) for code in range(0x3000)]
    random.Random(2).shuffle(characters)
    assert_split_like_tiktoken(pattern, ["".join(characters)])


@pytest.mark.parametrize("name", ["cl100k", "o200k"])
def test_expressions_are_the_published_ones(name, monkeypatch):
    monkeypatch.setattr(openai_public, "load_tiktoken_bpe", lambda *_, **__: {})  # the pattern without the vocabulary
    assert PATTERNS[name] == openai_public.ENCODING_CONSTRUCTORS[f"{name}_base"]()["pat_str"]


def test_stand_ins_are_of_their_class_and_nothing_special():
    assert [class_of(character) for character in patterns.STAND_INS] == list(range(7))
    assert not set(patterns.STAND_INS.casefold()) & set("sdmtlver'/\r\n ")
    theirs = [regex.fullmatch(members, patterns.STAND_INS[number]) for number, (_, members) in CLASSES.items()]
    assert all(theirs)


def test_users_own_expression_reads_the_text_itself():
    newer = "\U000323b0"  # a letter to `regex`, unassigned to tiktoken
    assert pieces("gpt2", f"a{newer}") == ["a", newer]
    assert pieces(r"\p{L}+", f"a{newer}") == [f"a{newer}"]
    assert pieces(regex.escape(newer) + "|a", f"a{newer}b") == ["a", newer, "b"]


def pieces(pattern: str, text: str) -> list[str]:
    return split(compile_pattern(resolve_pattern(pattern)), text)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We're here, it's 1984!", ["We", "'re", " here", ",", " it", "'s", " 1984", "!"]),
        ("a  b\n\n c", ["a", " ", " b", "\n\n", " c"]),
        ("I'LL   ", ["I", "'", "LL", "   "]),  # contractions are lower case only
        ("x²½ ٣", ["x", "²½", " ٣"]),
        ("", []),
    ],
)
def test_gpt2_splits(text, expected):
    assert pieces("gpt2", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("I'LL doN'T it'ſ", ["I", "'LL", " doN", "'T", " it", "'ſ"]),
        ("12345 6", ["123", "45", " ", "6"]),
        ("(word);\n\n  end\n ", ["(word", ");\n\n", " ", " end", "\n "]),
        ("a\r\n \n\tb", ["a", "\r\n \n", "\tb"]),
    ],
)
def test_cl100k_splits(text, expected):
    assert pieces("cl100k", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("camelCase HTTPServer", ["camel", "Case", " HTTPServer"]),
        ("don't I'LL", ["don't", " I'LL"]),
        ("cafe\u0301s", ["cafe\u0301s"]),
        ("x //\n/y 1234", ["x", " //\n/", "y", " ", "123", "4"]),
    ],
)
def test_o200k_splits(text, expected):
    assert pieces("o200k", text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("12 7", ["1", "2", " ", "7"]),
        ("in 1994, x=12+7", ["in", " ", "1", "9", "9", "4", ",", " x", "=", "1", "2", "+", "7"]),
        ("a  7\n8", ["a", " ", " ", "7", "\n", "8"]),
        ("don't stop", ["don", "'t", " stop"]),
    ],
)
def test_digits_stand_alone(text, expected):
    assert pieces("digits", text) == expected


@pytest.mark.parametrize(
    "text", ["The quick, brown fox's 'tail'.\n\n\tAnd\u00a0more…", "привет, мир", "日本語 です 🙂"]
)
def test_digits_equals_gpt2_without_digits(text):
    assert pieces("digits", text) == pieces("gpt2", text)


@settings(deadline=None, max_examples=200)
@given(
    st.text(st.characters()),
    st.sampled_from([*PATTERNS.values(), r"\w+", r"(a)|(b)", r"", r"x*", r"(?<=a)b", r"[^\n]+\n?"]),
)
def test_pieces_join_to_the_text(text, expression):
    found = split(compile_pattern(expression), text)
    assert "".join(found) == text
    assert all(found)


def test_text_between_matches_is_a_piece():
    assert pieces(r"[a-z]+", "ab, 12cd!") == ["ab", ", 12", "cd", "!"]
    assert pieces(r"([a-z])([a-z])", "abc") == ["ab", "c"]


def test_misspelt_name_is_not_taken_for_an_expression():
    with pytest.raises(ConfigError, match="did you mean 'gpt2'"):
        resolve_pattern("gpt-2")


def test_broken_expression_is_named():
    with pytest.raises(ConfigError, match=r"'\(\[a' is not a regular expression"):
        resolve_pattern("([a")
