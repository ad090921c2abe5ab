"""Texts with planted copies: words drawn by Zipf's law from syllables, so that texts look real and share phrases."""

import random
from functools import cache

SYLLABLES = [c + v + e for c in "bcdfghklmnprstvw" for v in "aeiou" for e in ("", "n", "r", "s")]


@cache
def vocabulary() -> list[str]:
    """Words of one to four syllables, the most frequent first."""
    generator = random.Random(0)
    drawn = ("".join(generator.choices(SYLLABLES, k=generator.choice((1, 2, 2, 3, 4)))) for _ in range(8000))
    return list(dict.fromkeys(drawn))


def random_texts(generator: random.Random, number: int, words: tuple[int, int] = (60, 600)) -> list[str]:
    """Texts of sentences, lower and upper case, with punctuation."""
    known = vocabulary()
    weights = [1 / (rank + 3) for rank in range(len(known))]
    return [
        _sentences(generator, generator.choices(known, weights, k=generator.randint(*words))) for _ in range(number)
    ]


def edited(generator: random.Random, text: str, share: float) -> str:
    """This share of the words (at least one) replaced."""
    words = text.split(" ")
    for place in generator.sample(range(len(words)), max(1, round(share * len(words)))):
        words[place] = "".join(generator.choices(SYLLABLES, k=5))
    return " ".join(words)


def disguised(generator: random.Random, text: str) -> str:
    """The same words in another case, with other spaces and accents."""
    return "".join(
        {" ": "  ", ".": " !\n", "e": "é"}.get(c, c.upper()) if generator.random() < 0.2 else c for c in text
    )


def _sentences(generator: random.Random, words: list[str]) -> str:
    parts, start = [], 0
    while start < len(words):
        end = start + generator.randint(4, 25)
        parts.append(" ".join(words[start:end]).capitalize() + ".")
        start = end
    return " ".join(parts)
