"""The compiled scanner cuts every text as the patterns do, and the check of UTF-8 agrees with Python's decoder.

What is compared are the counts of the pre-tokens of a text: `PieceCounter` runs the scanner on blocks, on what blocks
give up, and on the end of the text, and the oracle is the regular expression.
"""

import random
from collections import Counter
from collections.abc import Sequence
from itertools import chain, product

import numpy as np
import pytest

from groundup.tokenization.compiled import counter
from groundup.tokenization.compiled.counter import PieceCounter
from groundup.tokenization.compiled.layout import CHUNK, TAIL_BYTES
from groundup.tokenization.compiled.objects import address
from groundup.tokenization.compiled.utf8 import is_utf8
from groundup.tokenization.patterns import PATTERNS, compile_pattern, split
from groundup.tokenization.unicode_classes import MARK, NUMBER, WHITESPACE, class_table

ENDINGS = ["s", "t", "m", "d", "ll", "ve", "re", "\u017f", "l", "v", "r", "lv", "x"]  # U+017F is an s to `(?i:s)`
CONTRACTIONS = [f"'{cased}" for end in ENDINGS for cased in (end, end.upper(), end[0] + end[1:].upper())]
LETTERS = [*"aabcsdtmlAZéßЖяѯӁªʰǅİK日中あا", "\U0001d400", "\U00010400", "\U00010428", "camelCase", "HTTPServer"]
DIGITS = [*("123456789"[:size] for size in range(1, 10)), "²", "٣", "Ⅷ", "〇", "\U0001d7d8"]
BLANKS = [" ", " ", "  ", *"\n\r\t\v\f\x85\xa0\u2028\u3000", "\r\n", "\n\n", "\n  ", " \n"]
MARKS = ["\u0301", "e\u0301", "\u20e3", "\u0903", "\U000e0100"]
OTHERS = [*"'’.,/-_!`{。🙂\0\x1c\x1f\x7f\u200b\ufeff\ue000\U0010ffff", "//", "!\n/", "/\n", "\n//", "👩\u200d🚀"]
ATOMS = [CONTRACTIONS, LETTERS, LETTERS, DIGITS, BLANKS, BLANKS, MARKS, OTHERS]
PLAIN = [[atom for atom in atoms if atom.isascii()] for atoms in ATOMS if atoms is not MARKS]
WORDS = [
    [" the", " we'll", " camelCase", " 1863", ", ", ".\n", " привет", "мир", "中文字", " naïve", "\n\n    x", " HTML/"]
]


@pytest.fixture(autouse=True)
def small_tables(monkeypatch):
    """A new counter for each of thousands of texts; the smallest table that holds a chunk is quick to make."""
    monkeypatch.setattr(counter, "FIRST_SLOTS", 1 << 12)
    monkeypatch.setattr(counter, "FIRST_ARENA", 1 << 14)


def counted(pattern: str, data: bytes) -> dict[bytes, int]:
    kernels = PieceCounter(pattern)
    kernels.add(data)
    text, lengths, counts = kernels.pieces()
    ends = np.cumsum(lengths).tolist()
    spelt = [text[end - length : end].tobytes() for end, length in zip(ends, lengths.tolist(), strict=True)]
    return dict(zip(spelt, counts.tolist(), strict=True))


def assert_cut_like_the_pattern(pattern: str, text: str) -> None:
    expected = Counter(split(compile_pattern(PATTERNS[pattern]), text))
    found = counted(pattern, text.encode())
    assert found == {piece.encode(): count for piece, count in expected.items()}, repr(text)


def hostile_text(generator: random.Random, size: int) -> str:
    """About `size` bytes: everything, ASCII only, words that blocks handle, or few atoms many times."""
    atoms = generator.choice([ATOMS, PLAIN, WORDS, [generator.sample([*chain(*ATOMS)], 4)]])
    parts: list[str] = []
    while size > 0:
        atom = generator.choice(generator.choice(atoms))
        parts.append(atom * generator.choice([1, 1, 1, 1, 2, 3, 70]) if generator.random() < 0.05 else atom)
        size -= len(parts[-1].encode())
    return "".join(parts)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_random_texts(pattern):
    generator = random.Random(pattern)
    sizes = [generator.choice([40, 150, 300, 700]) for _ in range(5000)]
    sizes += [CHUNK + generator.randint(-80, TAIL_BYTES + 80) for _ in range(400)] + [20_000] * 10
    for size in sizes:
        assert_cut_like_the_pattern(pattern, hostile_text(generator, size))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("base", [0, CHUNK], ids=["one chunk", "two chunks"])
def test_every_length_around_the_end_that_is_copied(pattern, base):
    """Prefixes byte by byte: what is 192 bytes from the end is read elsewhere than what is before."""
    generator = random.Random(1)
    for text in (hostile_text(generator, base + 400).encode("utf-8") for _ in range(3)):
        for size in range(base, base + 301):
            assert_cut_like_the_pattern(pattern, text[:size].decode("utf-8", "ignore"))


@pytest.mark.parametrize("pattern", PATTERNS)
@pytest.mark.parametrize("filler", ["a", ".", " "])
def test_wide_characters_at_every_place_of_a_block(pattern, filler):
    for character in "éЖſ中\u3000\u0301🙂𝐀":
        for offset in range(64):
            text = f"x\n{filler * offset}{character}b'{character}1 {character}{character}"
            assert_cut_like_the_pattern(pattern, text + " end" * 60)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_long_tokens(pattern):
    """Runs about as long as a block, the copied end and a chunk, whole in a text and at its end."""
    lengths = [*range(61, 67), *range(126, 131), *range(189, 195), *range(CHUNK - 2, CHUNK + 3), 5000]
    for run in ["a", "A", "aA", "é", "Ж", "中", ".", "/", "1", " ", "\n", " \n", "\n ", "\u0301", "\u3000", "!\n"]:
        for length in lengths:
            long = run * (length // len(run.encode()) + 1)
            assert_cut_like_the_pattern(pattern, f"x {long}b, {long}")
            assert_cut_like_the_pattern(pattern, f"{long} x" + "y's" * 70)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_blanks_alone_between_and_at_the_end(pattern):
    for size in range(1, 5):
        for parts in product([" ", "\n", "\r", "\t", "\u3000"], repeat=size):
            blanks = "".join(parts)
            assert_cut_like_the_pattern(pattern, blanks)
            assert_cut_like_the_pattern(pattern, f"{'some words' * 20}{blanks}x{blanks}1{blanks}!{blanks}")
            assert_cut_like_the_pattern(pattern, f"{'!' * 62}{blanks}{'some words' * 20}{blanks}")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_contractions_at_every_place_of_a_block(pattern):
    for contraction in CONTRACTIONS:
        for offset in (0, 1, 30, *range(56, 65)):
            text = f"{'b' * offset}{contraction}{contraction}e {contraction} ''{contraction}1{contraction}\n"
            assert_cut_like_the_pattern(pattern, text * 4)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_all_characters(pattern):
    """Shuffled together, and without those that blocks give up, so that blocks class every other one themselves."""
    generator = random.Random(2)
    points = [*range(0xD800), *range(0xE000, 0x20000), *range(0xE0000, 0xE0200), 0x10FFFF]
    rare = set(np.flatnonzero(np.isin(class_table(), [WHITESPACE, NUMBER, MARK])).tolist()) - set(range(0x80))
    for chosen in (points, [point for point in points if point not in rare]):
        generator.shuffle(chosen)
        assert_cut_like_the_pattern(pattern, "".join(map(chr, chosen)))
    by_script = [range(0x80, 0x600), range(0x400, 0x480), range(0x4E00, 0xA000), range(0xAC00, 0xD7A4)]
    for script in by_script:
        characters = [chr(point) for point in script if point not in rare]
        words = ["".join(generator.choices(characters, k=generator.randint(1, 9))) for _ in range(4000)]
        assert_cut_like_the_pattern(pattern, " ".join(words))


def is_python_utf8(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def assert_judged_like_python(texts: Sequence[bytes]) -> None:
    verdicts = [is_python_utf8(text) for text in texts]
    ours = [bool(is_utf8(address(np.frombuffer(text, np.uint8)), len(text))) for text in texts]
    wrong = [text for text, verdict, judged in zip(texts, verdicts, ours, strict=True) if verdict != judged]
    assert not wrong, wrong[:3]
    assert 0 < sum(verdicts) < len(verdicts), "both kinds must occur"


def test_utf8_at_the_limits_of_every_form():
    """Overlong forms, surrogates, what is above U+10FFFF, bytes that never occur, and what is missing at the end."""
    firsts = bytes.fromhex("00 7f 80 bf c0 c1 c2 df e0 e1 ec ed ee ef f0 f1 f3 f4 f5 f8 ff")
    others = bytes.fromhex("00 7f 80 8f 90 9f a0 bf c0 f4")
    forms = [bytes(form) for size in range(4) for form in product(firsts, *[others] * size)]
    assert_judged_like_python(forms)
    for offset in (61, 62, 63):
        assert_judged_like_python([b"a" * offset + form + b"\xc3\xa9" * 40 for form in forms])


def test_utf8_of_every_first_and_second_byte():
    for rest in (b"", b"\x80", b"\x80\x80"):
        assert_judged_like_python([bytes(pair) + rest for pair in product(range(256), repeat=2)])


@pytest.mark.parametrize("character", "é中🙂")
def test_utf8_that_ends_or_breaks_at_every_place_of_a_block(character):
    data = character.encode()
    texts = []
    for offset in range(130):
        text = b"a" * offset + data + b"b" * 70
        for size in range(len(data) + 1):
            texts += [text[: offset + size], text[: offset + size] + text[offset + len(data) :]]
    assert_judged_like_python(texts)


def test_utf8_with_a_byte_changed():
    generator = random.Random(3)
    texts = []
    for _ in range(5000):
        data = bytearray(hostile_text(generator, 200).encode())
        for _ in range(generator.choice([0, 1, 1, 1, 3])):
            place = generator.randrange(len(data))
            data[place] = generator.choice([generator.randrange(256), data[place] ^ 1 << generator.randrange(8)])
        texts.append(bytes(data[: generator.randint(0, len(data))]))
    assert_judged_like_python(texts)
