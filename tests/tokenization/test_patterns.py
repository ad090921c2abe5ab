"""Pre-tokens: the published GPT-2 splits, single digits, and nothing lost with any regular expression."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.tokenization.patterns import PATTERNS, compile_pattern, resolve_pattern, split


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
@given(st.text(), st.sampled_from([*PATTERNS.values(), r"\w+", r"(a)|(b)", r"", r"x*", r"(?<=a)b", r"[^\n]+\n?"]))
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
