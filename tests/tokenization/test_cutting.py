"""Text may be cut where `text_cut` says without changing its tokens, and work divided evenly at such places."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.tokenization.bpe_training import train_bpe
from groundup.tokenization.cutting import SPLIT_WINDOW, Cut, even_cuts, text_cut
from groundup.tokenization.patterns import PATTERNS, compile_pattern, resolve_pattern, split

WORDS = (
    "Four score and seven years ago our fathers brought forth on this continent, a new nation; it's 1863, they'll say! "
)
END = "<|endoftext|>"
OWN_PATTERNS = [r"\S+|\s+", r"[^\n]*\n?", r"\w{1,9}(?=\s)|.|\s", r"(?s).{1,3}", r"\s*\w+|(?:\W(?!\w))+|\W"]
HOSTILE = [
    *"aZéЖ你ªⅫ٣1'’!/.-_\u0301\u200b🙂\0\x1c\x85\ufffd",
    *(" ", "\t", "\n", "\r", "\r\n", "\v", "\u00a0", "\u2028", "\u3000", "\n\n", "  "),
    *("'s", "'LL", "'ſ", "don't", " word", "Camel", "123", "!\n", "!\r\n", "/\n", "\n/", END, "<|a b|>", "<|"),
]


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe([WORDS * 9, "naïve café 你好 "], 400, "gpt2", (END, "<|a b|>"))


def split_evenly(data: bytes, parts: int, cut: Cut) -> list[bytes]:
    return [data[start:end] for start, end in pairwise(even_cuts(data, parts, cut))]


@pytest.mark.parametrize("pattern", [*PATTERNS, *OWN_PATTERNS])
@given(st.lists(st.sampled_from(HOSTILE), max_size=40), st.data())
def test_a_cut_changes_no_piece(pattern, parts, data):
    """Cut again and again from the end; every cut must leave the pieces of the text that was before it."""
    cut = text_cut(resolve_pattern(pattern))
    compiled = compile_pattern(PATTERNS.get(pattern, pattern))
    text = data.draw(st.sampled_from(["", "x" * 5000])) + "".join(parts)
    rest = text.encode()
    while at := cut(rest):
        assert 0 < at < len(rest)
        left, right = rest[:at].decode(), rest[at:].decode()
        assert split(compiled, left) + split(compiled, right) == split(compiled, left + right)
        rest = rest[:at]


@given(st.lists(st.sampled_from(HOSTILE), max_size=30), st.integers(0, 3))
def test_a_cut_does_not_depend_on_where_the_text_starts(parts, skipped):
    """Also from inside a character, which is how a boundary between two ranges of a file is looked for."""
    cut = text_cut(PATTERNS["digits"])
    data = "".join(parts).encode()
    found = cut(data[skipped:]) + skipped
    assert found == skipped or found == cut(data)


@given(st.lists(st.sampled_from(HOSTILE), max_size=30))
def test_a_cut_changes_no_special_token(tokenizer, parts):
    text = "".join(parts)
    rest = text.encode()
    while at := text_cut(tokenizer.pattern, tokenizer.special_tokens)(rest):
        whole = tokenizer.encode(rest.decode(), allow_special=True)
        left, right = rest[:at].decode(), rest[at:].decode()
        assert [i for part in (left, right) for i in tokenizer.encode(part, allow_special=True)] == whole
        rest = rest[:at]


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("some words here", 10),
        ("line one\nline", 9),
        ("你好。\n世界", 10),
        ("你好\r\n世界", 6),
        ("tab\tbed\tx", 7),
        ("caf\u00e9 au", 5),
        ("wide\u3000 x\u3000y", 0),
        ("nothing", 0),
        ("a  b", 0),
        ("", 0),
    ],
)
def test_where_a_text_is_cut(pattern, text, at):
    assert text_cut(resolve_pattern(pattern))(text.encode()) == at


def test_a_character_that_is_not_whole_may_still_be_a_blank():
    cut = text_cut(PATTERNS["digits"])
    blank = "\u3000".encode()
    assert cut("你好。\n".encode() + blank[:2]) == 0
    assert cut("你好。\n".encode() + "你".encode()[:3]) == 0, "it is whole, but what is behind it has not been seen"
    assert cut("你好。\n你x".encode()) == 10


@pytest.mark.parametrize("pattern", [r"[\s\S]*", r"(?s).{1,3}", r"(?s).{1,500}"])
def test_a_pattern_that_never_agrees_is_not_cut_and_not_asked_for_ever(pattern):
    assert text_cut(resolve_pattern(pattern))(b"some words " * 50_000) == 0


def joined_pieces(pattern: str, parts: list[bytes]) -> list[str]:
    compiled = compile_pattern(PATTERNS.get(pattern, pattern))
    return [piece for part in parts for piece in split(compiled, part.decode())]


@pytest.mark.parametrize("pattern", [*PATTERNS, OWN_PATTERNS[0]])
@given(st.lists(st.sampled_from(HOSTILE), max_size=60), st.integers(1, 9))
def test_divided_work_has_the_pieces_of_the_whole(pattern, atoms, number):
    data = "".join(atoms).encode()
    parts = split_evenly(data, number, text_cut(resolve_pattern(pattern)))
    assert b"".join(parts) == data
    assert len(parts) <= number
    assert all(parts) or data == b""
    assert joined_pieces(pattern, parts) == joined_pieces(pattern, [data])


@pytest.mark.parametrize("number", [1, 2, 3, 8])
def test_parts_are_about_the_same_size(number):
    data = (WORDS * 2000).encode()
    parts = split_evenly(data, number, text_cut(PATTERNS["digits"]))
    assert len(parts) == number
    assert b"".join(parts) == data
    assert max(map(len, parts)) - min(map(len, parts)) <= 20, "longer than a word of this text"


def test_text_that_cannot_be_cut_stays_whole():
    """There is one place, far from where four parts would meet; only the window before each of these is searched."""
    data = b"some " + b"x" * 8 * SPLIT_WINDOW
    assert split_evenly(data, 4, text_cut(PATTERNS["gpt2"])) == [data]
    assert split_evenly(b"", 4, text_cut(PATTERNS["gpt2"])) == [b""]
