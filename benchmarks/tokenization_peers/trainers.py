"""Trainers side by side: each reads the file itself and returns the vocabulary's tokens as bytes.

All use GPT-2's pattern and no special tokens. Ties are resolved differently (ours: the greater pair of byte strings;
gigatoken offers three rules, none of which is ours), and tokenizers and gigabpe read a file line by line, so that runs
of newlines never meet. The vocabularies share some 95 to 99 % of their tokens; the benchmark prints how many.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from harness.gpt2 import PATTERN, printable_bytes


def train_ours(path: Path, vocab_size: int) -> list[bytes]:
    """groundup."""
    from groundup.stages.tokenizer_training import train_on_files

    tokenizer = train_on_files([path], vocab_size, pattern="gpt2", threads=1)
    return [tokenizer.vocabulary[token] for token in range(tokenizer.vocab_size)]


def train_gigabpe(path: Path, vocab_size: int) -> list[bytes]:
    """gigabpe; the vocabulary comes as GPT-2's printable letters."""
    import gigabpe

    vocabulary, _ = gigabpe.train_bpe([str(path)], vocab_size, pretokenizer="bytelevel", threads=1)
    return from_letters(vocabulary)


def train_gigatoken(path: Path, vocab_size: int) -> list[bytes]:
    """gigatoken, given a Path; its number of threads is that of RAYON_NUM_THREADS."""
    import gigatoken

    vocabulary, _ = gigatoken.train_bpe(path, vocab_size, [])
    return [bytes(token) for token in vocabulary.values()]


def train_rustbpe(path: Path, vocab_size: int) -> list[bytes]:
    """rustbpe; takes an iterator of texts and knows no files. Its buffer is 8,192 texts: here, the whole file."""
    import rustbpe

    def texts() -> Iterator[str]:
        with open(path, encoding="utf-8", newline="") as file:
            while part := file.read(1 << 20):
                yield part

    tokenizer = rustbpe.Tokenizer()
    tokenizer.train_from_iterator(texts(), vocab_size, pattern=PATTERN)
    return [bytes(token) for token, _ in tokenizer.get_mergeable_ranks()]


def train_huggingface(path: Path, vocab_size: int) -> list[bytes]:
    """tokenizers' BpeTrainer, the alphabet being all 256 bytes."""
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train([str(path)], trainer)
    return from_letters(tokenizer.get_vocab())


def from_letters(vocabulary: dict[str, int]) -> list[bytes]:
    """Tokens in GPT-2's printable letters, as bytes in the order of their ids."""
    byte_of = {letter: byte for byte, letter in printable_bytes().items()}
    return [bytes(byte_of[letter] for letter in token) for token in sorted(vocabulary, key=vocabulary.__getitem__)]


TRAINERS: dict[str, Callable[[Path, int], list[bytes]]] = {
    "groundup": train_ours,
    "gigabpe": train_gigabpe,
    "gigatoken": train_gigatoken,
    "rustbpe": train_rustbpe,
    "tokenizers": train_huggingface,
}
# The module that each imports: loaded before the clock starts, on every side.
MODULES = {"groundup": "groundup.stages.tokenizer_training"}
