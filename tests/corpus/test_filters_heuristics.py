import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from groundup.core.errors import ConfigError, InputError
from groundup.corpus.filters.c4 import split_sentences
from groundup.corpus.filters.config import (
    FAMILIES,
    C4Config,
    CountingConfig,
    FineWebConfig,
    GopherConfig,
    HeuristicsConfig,
)
from groundup.corpus.filters.heuristics import fault_masks, faults, judge
from groundup.corpus.filters.reference import c4_lines, statistics_of
from groundup.corpus.filters.statistics import DTYPE, FIELDS, measure, measure_and_edit

PROSE = (
    "The committee met in the morning to talk about the new road. It was agreed that the county should pay for a part "
    "of the work, and that each village would send two people with tools. Some of those who came had doubts: the soil "
    "is soft near the river, they said, and no cart could pass after rain. The engineer answered everyone with care."
)
LINES = (
    "We walked to the station and bought two tickets for the coast.",
    "Nobody had told us that the early train was cancelled again.",
    "So we sat on the bench and shared what was left of the bread.",
    "A man with a dog asked whether this was the way to the harbour.",
    "In the end the bus came, half an hour late and almost empty.",
)
PAGE = "\n".join(LINES)
GERMAN = (
    "Die Sitzung begann mit der Frage, ob und wann man den Weg zum Fluss erneuern sollte. Der Ingenieur rechnete vor, "
    "was die Arbeit kosten wird, und die Dörfer stimmten nach langem Streit zu."
)
CHINESE = "\n".join(
    (
        "我们早上走到车站，买了两张去海边的票。",
        "没有人告诉我们早班火车又取消了。",
        "最后公共汽车晚了半个小时才来，几乎是空的。",
    )
)
EVERYTHING = HeuristicsConfig(families=FAMILIES)

# Everything that one of the rules looks at, and what lies beside it: for texts at random.
PIECES = (
    *("a", "aa", "b", "the", "of", "be", "und", "der", "1", "$", "é", "日本", "ไทย", "😀", "x" * 40),
    *(" ", " ", " ", "\t", "\u3000", "\n", "\n", "\n\n", "\r\n", "\r", "\x1c", "\u2028", "\x85"),
    *(".", "..", "...", "…", "。", "！", "!", "?", '"', "'", "”", ")", "#", "-", "•", "{"),
    *("[1]", "[12]", "[edit]", "[citation needed]", "[", "]", "[٣]"),
    *("JavaScript", "lorem ipsum", "Cookie Policy", "use cookies", "terms of use", " privacy policy"),
    "Word word word word word.",
)


def random_texts(count, seed):
    generator = random.Random(seed)
    for _ in range(count):
        few = generator.sample(PIECES, generator.choice([3, 6, 15, len(PIECES)]))
        yield "".join(generator.choice(few) for _ in range(generator.choice([0, 3, 10, 40, 150])))


@pytest.mark.parametrize("language", ["en", "de", "zh", "xx"])
@pytest.mark.parametrize(
    "config",
    [
        CountingConfig(),
        CountingConfig(
            bullets="#a",
            short_line_characters=3,
            c4_end_punctuation=False,
            c4_min_words_per_line=-1,
            c4_max_word_length=10,
            c4_cut_citations=False,
            c4_javascript=False,
            c4_policy_phrases=("word word", "日本", "und"),
        ),
        CountingConfig(c4_min_words_per_line=1, c4_max_word_length=-1, c4_policy=False),
    ],
)
def test_every_count_is_that_of_the_reference(language, config):
    texts = list(random_texts(250, seed=f"{language}{config.c4_min_words_per_line}"))
    statistics, edited = measure_and_edit(texts, [language] * len(texts), config)
    for text, row, kept in zip(texts, statistics, edited, strict=True):
        expected = statistics_of(text, language, config)
        assert {name: int(row[name]) for name in FIELDS} == expected, repr(text)
        assert kept == c4_lines(text, language, config)[1], repr(text)


def test_a_text_is_measured_the_same_in_any_company():
    texts = [*random_texts(60, seed=7), PROSE, "", "x" * 5000, PROSE * 50]
    together = measure(texts)
    alone = np.concatenate([measure([text]) for text in texts])
    assert together.dtype == DTYPE
    assert np.array_equal(together, alone)
    assert not len(measure([]))


def test_long_words_and_lone_surrogates_have_statistics():
    text = "x" * 20_000 + " " + "y" * 9_000 + "\n" + "x" * 20_000 + " \ud800 end."
    assert {name: int(measure([text])[0][name]) for name in FIELDS} == statistics_of(text)


def test_good_prose_breaks_no_rule():
    assert faults([PROSE, PAGE], replace(EVERYTHING, gopher=GopherConfig(min_stop_words=2))) == [(), ()]


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", "gopher_too_few_words"),
        ("too short", "gopher_too_few_words"),
        (PROSE + " word" * 100_000, "gopher_too_many_words"),
        (PROSE.replace(" ", " a b "), "gopher_short_words"),
        (PROSE.replace(" ", "reallyquitelong "), "gopher_long_words"),
        (PROSE + " #tag" * 8, "gopher_hashes"),
        (PROSE.replace(".", "...").replace(",", "…").replace(" the ", " the... "), "gopher_ellipses"),
        (PROSE + " 1234" * 20, "gopher_too_few_alphabetic_words"),
        ("green ideas sleep furiously " * 20, "gopher_too_few_stop_words"),
        ("- " + PROSE.replace(". ", ".\n• "), "gopher_bullet_lines"),
        (PROSE.replace(". ", "...\n"), "gopher_ellipsis_lines"),
        ("\n".join(LINES[:2] * 3), "gopher_duplicate_lines"),
        ("\n".join([*PROSE[:-1].split(". "), "x" * 9, PROSE[:120], PROSE[:120]]), "gopher_duplicate_line_characters"),
        ("\n\n".join([PROSE[:150], *LINES[:1] * 3]), "gopher_duplicate_paragraphs"),
        ("\n\n".join([*LINES, PROSE, PROSE]), "gopher_duplicate_paragraph_characters"),
        (" ".join(PROSE.split()[i // 2] if i % 2 else "of them" for i in range(100)), "gopher_top_2gram"),
        (" ".join(f"{word} a bit longer" for word in PROSE.split()), "gopher_top_3gram"),
        (" ".join(f"{word} a bit longer still" for word in PROSE.split()), "gopher_top_4gram"),
        (PROSE + " " + PROSE[:200], "gopher_duplicate_5grams"),
        (PROSE + " " + PROSE[:200], "gopher_duplicate_10grams"),
        (PAGE + "\nThis is a line with Lorem Ipsum in its middle part.", "c4_lorem_ipsum"),
        (PAGE + "\nThis is a line that has { in its middle part.", "c4_curly_brace"),
        ("\n".join(LINES[:2]), "c4_too_few_sentences"),
        (" \n\t\n", "fineweb_empty"),
        (PAGE.replace(".", ""), "fineweb_unpunctuated_lines"),
        (PAGE.replace(" the ", "\n").replace(" and ", "\n"), "fineweb_short_lines"),
        (PAGE + "\n" + LINES[0], "fineweb_duplicate_characters"),
        (PAGE.replace(" ", "\n", 30), "fineweb_newlines"),
    ],
)
def test_each_rule_finds_its_fault(text, rule):
    assert rule in faults([text], EVERYTHING)[0]
    assert rule not in faults([PAGE + " " + PROSE], EVERYTHING)[0]


def test_lines_that_c4_removes():
    lines = ("Home page", "You need JavaScript for this page to work.", "Read the cookie policy of this very site.")
    text = "\n".join([*lines, *LINES, "Too few words.", "It ends in an ellipsis and that is no end..."])
    statistics, (kept,) = measure_and_edit([text])
    assert kept == PAGE
    assert {name: int(statistics[0][name]) for name in FIELDS if name.startswith("c4_")} == {
        "c4_long_word_lines": 0,
        "c4_unpunctuated_lines": 2,
        "c4_short_lines": 1,
        "c4_javascript_lines": 1,
        "c4_policy_lines": 1,
        "c4_lorem_lines": 0,
        "c4_brace_lines": 0,
        "c4_kept_lines": 5,
        "c4_sentences": 5,
    }
    assert measure_and_edit(["As was said [12] before [edit] by the council[citation needed]."])[1] == [
        "As was said  before  by the council."
    ]


def test_a_what_if_needs_only_the_statistics():
    texts = [PROSE, PAGE, "\n".join(LINES[:2])]
    statistics = measure(texts)
    for limit in (0, 30, 60, 100):
        config = HeuristicsConfig(gopher=GopherConfig(min_words=limit), families=("gopher",))
        assert judge(statistics, config) == faults(texts, config)
        assert [bool(names) for names in judge(statistics, config)] == [len(text.split()) < limit for text in texts]
    two = HeuristicsConfig(families=("c4",), c4=C4Config(min_sentences=2))
    assert judge(statistics, two) == [(), (), ()]
    strict = HeuristicsConfig(families=("fineweb",), fineweb=FineWebConfig(max_short_line_fraction=-1))
    assert all(fault_masks(statistics, strict)["fineweb_short_lines"])


def test_only_the_families_asked_for_judge():
    for family in FAMILIES:
        for names in faults(["bad", ""], HeuristicsConfig(families=(family,))):
            assert names
            assert all(name.startswith(family + "_") for name in names)
    assert faults(["bad"], HeuristicsConfig(enabled=False)) == [()]
    assert judge(measure(["bad"]), HeuristicsConfig(enabled=False)) == [()]


def test_stop_words_are_those_of_the_language():
    config = HeuristicsConfig(gopher=GopherConfig(min_words=10))
    assert faults([GERMAN] * 3, config, ["de", "en", None]) == [
        (),
        ("gopher_too_few_stop_words",),
        ("gopher_too_few_stop_words",),
    ]
    assert faults([GERMAN], config, ["xx"]) == [()]  # no list, no rule


def test_a_language_without_spaces_is_not_dropped_for_that():
    config = replace(EVERYTHING, gopher=GopherConfig(min_words=20), fineweb=FineWebConfig(max_short_line_fraction=1))
    assert faults([CHINESE], config, ["zh"]) == [()]
    assert {"gopher_too_few_words", "gopher_long_words", "c4_too_few_sentences"} <= set(faults([CHINESE], config)[0])
    assert "gopher_too_few_words" in faults([CHINESE[:20]], config, ["zh"])[0]


@pytest.mark.parametrize(
    ("text", "sentences"),
    [
        ("", []),
        ("One. Two!  Three?", ["One.", "Two!", "Three?"]),
        ('He said "no." Then 3.5 km, then', ['He said "no."', "Then 3.5 km, then"]),
        ("没有人。又取消了！", ["没有人。", "又取消了！"]),
        ("Well... yes", ["Well...", "yes"]),
        ("क्या? हाँ। ठीक", ["क्या?", "हाँ।", "ठीक"]),
    ],
)
def test_sentences(text, sentences):
    assert split_sentences(text) == sentences


def test_what_cannot_be_is_refused():
    with pytest.raises(ConfigError, match="min_words = 10 and max_words = 5"):
        GopherConfig(min_words=10, max_words=5)
    with pytest.raises(ConfigError, match=r"'gofer'.*gopher, c4, fineweb"):
        HeuristicsConfig(families=("gofer",))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"'\.\.'.*letter"):
        CountingConfig(c4_policy_phrases=("..",))
    with pytest.raises(InputError, match="1 languages for 2 texts"):
        measure(["a", "b"], ["en"])


def test_decisions_are_those_of_datatrove():
    pytest.importorskip("datatrove", reason="the peer is installed for benchmarks only: make bench-heuristics")
    benchmarks = Path(__file__).resolve().parents[2] / "benchmarks"
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(benchmarks))
        from heuristics_peers.worker import datatrove, groundup, share_words

        share_words()
        texts = [text for text in (*random_texts(400, seed=3), PROSE, PAGE, GERMAN, CHINESE) if text.strip()]
        assert groundup(texts)[0] == datatrove(texts)[0]
