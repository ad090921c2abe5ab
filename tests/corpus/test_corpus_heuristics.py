from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.corpus.heuristics import GopherConfig, gopher_fault

PROSE = (
    "The committee met in the morning to talk about the new road. It was agreed that the county should pay for a part "
    "of the work, and that each village would send two people with tools. Some of those who came had doubts: the soil "
    "is soft near the river, they said, and no cart could pass after rain. The engineer answered everyone with care."
)
LOOSE = GopherConfig(
    min_words=0,
    min_mean_word_length=0,
    min_stop_words=0,
    max_duplicate_line_fraction=1,
    max_duplicate_line_character_fraction=1,
    max_top_2gram_character_fraction=9,  # n-grams that overlap themselves count whole: the share can pass 1
    max_top_3gram_character_fraction=9,
    max_top_4gram_character_fraction=9,
)


def test_prose_passes():
    assert gopher_fault(PROSE, GopherConfig()) is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "too_few_words"),
        ("too short", "too_few_words"),
        (PROSE + " word" * 100_000, "too_many_words"),
        (PROSE.replace(" ", " a b "), "mean_word_length"),
        (PROSE.replace(" ", "reallyquitelong "), "mean_word_length"),
        (PROSE + " #tag" * 8, "too_many_hashes"),
        (PROSE.replace(".", "...").replace(",", "…").replace(" the ", " the... "), "too_many_ellipses"),
        (PROSE + " 1234" * 20, "too_few_alphabetic_words"),
        ("green ideas sleep furiously " * 20, "too_few_stop_words"),
        (
            PROSE.replace("The ", "\n- The ").replace("It ", "\n• It ").replace("Some ", "\n* Some "),
            "too_many_bullet_lines",
        ),
        (PROSE.replace(". ", "...\n"), "too_many_ellipsis_lines"),
        ((PROSE + "\n") * 2, "duplicate_lines"),
        ("\n".join([*(PROSE[:-1].split(". ")), "x" * 9, PROSE[:120], PROSE[:120]]), "duplicate_line_characters"),
        (" ".join(PROSE.split()[i // 2] if i % 2 else "of them" for i in range(100)), "top_2gram"),
    ],
)
def test_each_rule_gives_its_reason(text, reason):
    assert gopher_fault(text, GopherConfig()) == reason


def test_rules_can_be_switched_off_and_loosened():
    assert gopher_fault("short", GopherConfig(enabled=False)) is None
    assert gopher_fault("short text", replace(GopherConfig(), min_words=2, min_stop_words=0)) is None


def test_stop_words_are_those_of_the_language():
    german = "Die Sitzung begann mit der Frage, ob und wann man den Weg zum Fluss erneuern sollte. " * 1
    german += "Der Ingenieur rechnete vor, was die Arbeit kosten wird, und die Dörfer stimmten nach langem Streit zu."
    config = replace(GopherConfig(), min_words=10)
    assert gopher_fault(german, config, "de") is None
    assert gopher_fault(german, config, "en") == "too_few_stop_words"


@settings(max_examples=150)
@given(
    st.lists(st.sampled_from(["alpha", "be", "gamma", "de"]), min_size=1, max_size=40),
    st.sampled_from([2, 3, 4]),
    st.floats(0.05, 0.95),
)
def test_top_ngram_share_agrees_with_counting_tuples(words, n, limit):
    counts = Counter(tuple(words[i : i + n]) for i in range(len(words) - n + 1))
    most = max(counts.values(), default=0)
    total = sum(map(len, words))
    # Several n-grams can share the first place; the rule may look at any of them.
    shares = {most * sum(map(len, ngram)) / total for ngram, count in counts.items() if count == most and most > 1}
    over = {share > limit for share in shares} or {False}
    fault = gopher_fault(" ".join(words), replace(LOOSE, **{f"max_top_{n}gram_character_fraction": limit}))
    assert (fault == f"top_{n}gram") in over


def test_impossible_limits_are_refused():
    with pytest.raises(ConfigError, match="min_words = 10 and max_words = 5"):
        GopherConfig(min_words=10, max_words=5)
