"""The class of every code point is the one in tiktoken's engine, and the file of the classes is up to date."""

import importlib.util
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tiktoken

from groundup.tokenization import unicode_classes
from groundup.tokenization.unicode_classes import LETTER, LOWER, MARK, NUMBER, OTHER, UPPER, WHITESPACE, class_of

ROOT = Path(__file__).resolve().parents[2]
EVERYTHING = "".join(map(chr, (*range(0xD800), *range(0xE000, 0x110000))))


def members_in_tiktoken(expression: str) -> list[int]:
    """The code points that an expression matches in tiktoken's engine: tiktoken drops what its pattern leaves out."""
    encoding = tiktoken.Encoding(
        "bytes", pat_str=expression, mergeable_ranks={bytes([byte]): byte for byte in range(256)}, special_tokens={}
    )
    return [ord(character) for character in bytes(encoding.encode_ordinary(EVERYTHING)).decode()]


@pytest.mark.parametrize(
    ("classes", "expression"),
    [
        ({WHITESPACE}, r"\s"),
        ({NUMBER}, r"\p{N}"),
        ({MARK}, r"\p{M}"),
        ({LOWER}, r"\p{Ll}"),
        ({UPPER}, r"\p{Lu}|\p{Lt}"),
        ({LETTER}, r"\p{Lm}|\p{Lo}"),
        ({LOWER, UPPER, LETTER}, r"\p{L}"),
        ({WHITESPACE, NUMBER, MARK, LOWER, UPPER, LETTER}, r"[\s\p{N}\p{M}\p{L}]"),  # and so OTHER is the rest
    ],
)
def test_every_code_point_has_the_class_it_has_in_tiktoken(classes, expression):
    table = unicode_classes.class_table()
    assert table.shape == (0x110000,)
    np.testing.assert_array_equal(np.flatnonzero(np.isin(table, list(classes))), members_in_tiktoken(expression))


def test_letters_are_the_classes_from_lower_up():
    letters = np.flatnonzero(unicode_classes.class_table() >= LOWER)
    assert [chr(code) for code in letters[letters < 128]] == sorted(
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    )


@pytest.mark.parametrize(
    ("characters", "expected"),
    [
        ("aſß", LOWER),
        ("ZK", UPPER),
        ("ǅ", UPPER),  # title case
        ("ªʰ日", LETTER),
        ("7²Ⅷ٣", NUMBER),
        ("\u0300\u20e3", MARK),
        (" \t\n\v\f\r\u0085\u00a0\u2028\u3000", WHITESPACE),
        ("\0\x1c\x1f'_\u200b\u2060\ufeff🙂\ue000\ud800\udfff\U0010ffff", OTHER),
    ],
)
def test_classes_of_some_characters(characters, expected):
    assert {class_of(character) for character in characters} == {expected}


def test_the_table_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        unicode_classes.class_table()[0] = LETTER


def test_the_file_is_what_the_script_writes(capsys):
    spec = importlib.util.spec_from_file_location("generate", ROOT / "scripts" / "generate_unicode_classes.py")
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    assert script.main(["--check"]) == 0, capsys.readouterr().err


def test_the_file_is_installed_with_the_package():
    package = unicode_classes.FILE.parents[1]
    patterns = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["groundup"]
    assert unicode_classes.FILE in {file for pattern in patterns for file in package.glob(pattern)}
