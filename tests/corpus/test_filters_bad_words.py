import random
import re

import pytest

from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.corpus.filters.bad_words import bad_word_faults, count_bad_words, load_words
from groundup.corpus.filters.config import BadWordsConfig
from groundup.corpus.filters.tokens import token_hash, token_hashes, tokens

LISTED = ("darn", "oh my", "f!x", "-x", "🖕", "größe", "x2")


def plain_count(text, listed):
    """C4's rule as one pattern over the whole list."""
    words = [entry for entry in listed if re.search(r"\w", entry)]
    pattern = r"(?<!\w)(?:" + "|".join(map(re.escape, sorted(words, key=len, reverse=True))) + r")(?!\w)"
    others = [entry for entry in listed if entry not in words]
    return len(re.findall(pattern, text.lower())) + sum(text.count(entry) for entry in others)


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Darn, darn it! Darned.", 2),
        ("oh my oh, my", 1),
        ("OH MY GOD f!x a-x", 2),
        ("_darn darn² darn", 1),
        ("🖕🖕 GRÖẞE Größe", 4),
        ("", 0),
    ],
)
def test_what_counts(text, count):
    assert (
        count_bad_words([text, "pad", text], LISTED).tolist()
        == [count, 0, count]
        == [plain_count(text, LISTED), 0, count]
    )


def test_counts_are_those_of_one_large_pattern():
    generator = random.Random(0)
    pieces = ["darn", "oh", "my", " ", " ", "f!x", "f", "-x", "x", "x2", "🖕", "größe", "²", "_", ".", "Ä", "\n"]
    texts = ["".join(generator.choice(pieces) for _ in range(generator.randrange(20))) for _ in range(800)]
    assert count_bad_words(texts, LISTED).tolist() == [plain_count(text, LISTED) for text in texts]


def test_in_languages_without_spaces_an_entry_counts_inside_a_text():
    assert count_bad_words(["这是坏话吗", "这是坏话吗"], ["坏话"], ["zh", "en"]).tolist() == [1, 0]


def test_limits():
    text = "darn " + "word " * 99
    for config, dropped in (
        (BadWordsConfig(), False),
        (BadWordsConfig(max_count=1), False),
        (BadWordsConfig(max_rate=0.02), False),
    ):
        assert bool(bad_word_faults([text], config)[0]) == dropped
    assert bad_word_faults(["porn porn " + "word " * 98], BadWordsConfig()) == [("bad_words",)]
    assert bad_word_faults(["porn porn " + "word " * 98], BadWordsConfig(max_rate=0.02)) == [()]
    assert bad_word_faults(["porn porn " + "word " * 97], BadWordsConfig(max_rate=0.02)) == [("bad_words",)]
    with pytest.raises(ConfigError, match="at least 0"):
        BadWordsConfig(max_count=-1)


def test_a_list_of_the_user(tmp_path):
    (tmp_path / "words.txt").write_text("Darn\n\noh my\n")
    assert load_words(tmp_path / "words.txt") == {"darn", "oh my"}
    assert bad_word_faults(["oh my", "porn"], BadWordsConfig(file=tmp_path / "words.txt")) == [("bad_words",), ()]
    (tmp_path / "empty.txt").write_text("\n")
    with pytest.raises(InputError, match="is empty"):
        load_words(tmp_path / "empty.txt")
    with pytest.raises(MissingError):
        load_words(tmp_path / "none.txt")


def test_token_hashes_are_those_of_the_tokens():
    texts = ["It's 3.5 km; ÄHNLICH_so…", "", "  ", "日本語 और", "a\u3000b\x85c"]
    hashes, offsets = token_hashes(texts)
    assert tokens(texts[0]) == ["it", "'", "s", "3", ".", "5", "km", ";", "ähnlich_so", "…"]
    for text, start, end in zip(texts, offsets, offsets[1:], strict=False):
        assert hashes[start:end].tolist() == [token_hash(token) for token in tokens(text)]
