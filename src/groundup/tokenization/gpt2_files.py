"""The two files of GPT-2: `vocab.json` (printable token to id) and `merges.txt` (a line `Ġ t` for each merge).

What neither the bytes nor the merges make is a special token. The pre-token pattern is not written down: whatever reads
these files cuts text with GPT-2's, so only a tokenizer with that pattern can be written so.
"""

from pathlib import Path

from groundup.core.errors import ConfigError, InputError
from groundup.core.files import read_json, require_file, write_json, write_text
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.patterns import PATTERNS
from groundup.tokenization.printable_bytes import to_printable
from groundup.tokenization.tokenizer_file import merges_of_text, printable_merges

VOCABULARY_NAME, MERGES_NAME = "vocab.json", "merges.txt"
FIRST_LINE = "#version: 0.2"


def read_gpt2(directory: Path, pattern: str | None = None) -> BytePairTokenizer:
    """The tokenizer in a folder with both files, by default with GPT-2's pattern."""
    vocabulary = read_json(directory / VOCABULARY_NAME)
    try:
        lines = require_file(directory / MERGES_NAME).read_text(encoding="utf-8").splitlines()
        merges = [
            line for number, line in enumerate(lines) if line and not (number == 0 and line.startswith("#version"))
        ]
        made = [to_printable(bytes([byte])) for byte in range(256)] + [line.replace(" ", "") for line in merges]
        ids = [vocabulary[name] for name in made]
        known = set(made)
        special_tokens = {name: token for name, token in vocabulary.items() if name not in known}
        return BytePairTokenizer(merges_of_text(merges), pattern or "gpt2", special_tokens, ids)
    except KeyError as error:
        raise InputError(f"{directory / VOCABULARY_NAME} has no token {error.args[0]!r}.") from error
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"{directory} is not a GPT-2 vocabulary: {str(error).rstrip('.')}.") from error


def write_gpt2(tokenizer: BytePairTokenizer, directory: Path) -> Path:
    """Write both files into a folder; a `ConfigError` where their readers would give other ids."""
    if tokenizer.pattern != PATTERNS["gpt2"]:
        raise ConfigError(
            "The GPT-2 files name no pre-token pattern and their readers use GPT-2's, but this tokenizer cuts text "
            f"with {tokenizer.pattern!r}; write it for Hugging Face."
        )
    if tokenizer.normalization is not None or tokenizer.whole_pieces:
        what = f"the normalization {tokenizer.normalization}" if tokenizer.normalization else "tokens without a merge"
        raise ConfigError(f"The GPT-2 files cannot hold {what}; write this tokenizer for Hugging Face.")
    lines = [FIRST_LINE, *(f"{left} {right}" for left, right in printable_merges(tokenizer)), ""]
    write_json(directory / VOCABULARY_NAME, printable_vocabulary(tokenizer))
    write_text(directory / MERGES_NAME, "\n".join(lines))
    return directory


def printable_vocabulary(tokenizer: BytePairTokenizer) -> dict[str, int]:
    """Ids by printable token, special tokens by their names; a `ConfigError` where a name would stand for two."""
    names = dict(tokenizer.special_tokens)
    special = set(names.values())
    for token, data in tokenizer.vocabulary.items():
        if token in special:
            continue
        printable = to_printable(data)
        if printable in names:
            raise ConfigError(f"The special token {printable!r} is written like another token; it needs another name.")
        names[printable] = token
    return dict(sorted(names.items(), key=lambda item: item[1]))
