import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.corpus.cleaning import clean

FRAGMENTS = (
    *(
        "[",
        "]",
        "Laughter",
        "applause",
        "—",
        ".",
        "1",
        "1833",
        "word",
        "Word",
        " ",
        "\n",
        "\r\n",
        "\t",
        "; White House",
    ),
    *(
        " correction",
        "e\u0301",
        "\ufeff",
        "\x00",
        "1See 1974",
        "see APP Note",
        "[Laughter]",
        "At this point,",
        "A",
        ".1 ",
    ),
)


@given(st.text() | st.lists(st.sampled_from(FRAGMENTS), max_size=40).map("".join), st.booleans())
def test_cleaning_is_idempotent(text, notes):
    once, _ = clean(text, editorial_notes=notes)
    again, changes = clean(once, editorial_notes=notes)
    assert again == once
    assert not changes


@given(st.text())
def test_clean_text_has_the_promised_form(text):
    cleaned, _ = clean(text)
    assert unicodedata.is_normalized("NFC", cleaned)
    assert not any(unicodedata.category(c) == "Cc" and c not in "\n\t" for c in cleaned)
    assert "\n\n\n" not in cleaned
    assert cleaned == cleaned.strip()
    assert all(line == line.rstrip() for line in cleaned.split("\n"))


@given(st.lists(st.from_regex(r"[a-zA-Z0-9,.]{1,8}", fullmatch=True), min_size=1).map(" ".join))
def test_plain_text_is_left_as_it_is(text):
    assert clean(text) == (text, {})


def test_characters_and_spaces():
    text, counts = clean("one  \r\ntwo\x07\r\n\r\n\r\n\r\ncafe\u0301\u200b\n")
    assert text == "one\ntwo\n\ncafé"
    assert counts == {"line_ends": 5, "invisible_characters": 2, "trailing_spaces": 1, "blank_lines": 1} | {
        "texts_composed": 1
    }


@pytest.mark.parametrize(
    ("raw", "cleaned"),
    [
        ("the last Congress1 of the century", "the last Congress of the century"),
        ("War Mobilization and Reconversion.1 It is", "War Mobilization and Reconversion. It is"),
        ("by Executive Order,1 established", "by Executive Order, established"),
        ("at Guam.1\nNeither", "at Guam.\nNeither"),
        ("same program 1\n\n1A list of the 16 properties was issued.\n\nNext", "same program\n\nNext"),
        ("the Kappel1 report.\n\n1Frederick R. Kappel, Chairman.\n\nI hope", "the Kappel report.\n\nI hope"),
        ("Thank you. [Laughter] I mean it.", "Thank you. I mean it."),
        ("Well—[applause]. Michelle's plan", "Well— Michelle's plan"),
        ("the 1st of August last [1794-08-07], from", "the 1st of August last, from"),
        ("was commenced [1825- 07] and [1833 October] x", "was commenced and x"),
        ("a treaty [see APP Note] with Spain", "a treaty with Spain"),
        ("has [p.3183] been violated", "has been violated"),
        ("our [caps; White House correction] on fees", "our caps on fees"),
        ('[Audience members sang "Happy Birthday."] You\n', "You"),
        ("[There was a disruption in the audience.]", ""),
        ("[As delivered in person before a joint session]\n\nMr. Speaker", "Mr. Speaker"),
    ],
)
def test_editorial_notes_go(raw, cleaned):
    assert clean(raw, editorial_notes=True)[0] == cleaned
    assert clean(raw, editorial_notes=False)[0] == raw.strip()


@pytest.mark.parametrize(
    "text",
    [
        "30K tons of steel, $15M and 5 M more",
        "H1N1, W2 forms, F-16 jets, Y2K, COVID-19, the G8, MX and B52 of 9/11",
        "on the 1st, 2d and 3rd of the 1990s",
        "on [March 27], of [the States] and [50,000] by [Mr. Marcy]",
        "[1.] First is growth",
        "see page 1 and chapter 12 of book 3",
        "5G networks and 3D printing",
        "[I repeat, this budget will be a balanced one.]",
        "Grew 7 percent in 1984.\n1984 was a year.",
    ],
)
def test_legitimate_text_stays(text):
    assert clean(text, editorial_notes=True) == (text, {})


@pytest.mark.parametrize("piece", [" ", "[", "[A", " [", "[A audience ", "a@", "1", "—[applause", "; "])
def test_no_text_makes_cleaning_slow(piece):
    start = time.process_time()
    clean(piece * (200_000 // len(piece)), editorial_notes=True)
    assert time.process_time() - start < 2
