"""Vocabularies in every form that is known here, to use, to compare with, or to write for others.

a folder with tokenizer.json, or that file   ours, or Hugging Face's (`huggingface_file`): its content tells
a folder with vocab.json and merges.txt      GPT-2's (`gpt2_files`)
NAME.tiktoken                                tiktoken's (`rank_file`)
"""

from pathlib import Path
from typing import Literal, get_args

from groundup.core.config import nearest
from groundup.core.errors import ConfigError, InputError, MissingError
from groundup.core.files import read_json
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.gpt2_files import MERGES_NAME, VOCABULARY_NAME, read_gpt2, write_gpt2
from groundup.tokenization.huggingface_file import is_huggingface, tokenizer_of_huggingface, write_huggingface
from groundup.tokenization.rank_file import SUFFIX, read_rank_file, write_rank_file
from groundup.tokenization.tokenizer_file import FILE_NAME, is_tokenizer, tokenizer_of_json, write_tokenizer

Form = Literal["groundup", "huggingface", "tiktoken", "gpt2"]


def load_vocabulary(path: Path, pattern: str | None = None) -> BytePairTokenizer:
    """A tokenizer from any of the forms above; `MissingError` or `InputError` where there is none.

    `pattern` is for the two forms that do not name their pre-token pattern, tiktoken's and GPT-2's.
    """
    if path.suffix == SUFFIX:
        return read_rank_file(path, pattern)
    file = path / FILE_NAME if path.is_dir() else path
    if path.is_dir() and not file.exists():
        if (path / VOCABULARY_NAME).exists() and (path / MERGES_NAME).exists():
            return read_gpt2(path, pattern)
        raise MissingError(
            f"There is no vocabulary in {path}; it needs a {FILE_NAME}, or a {VOCABULARY_NAME} with a {MERGES_NAME}."
        )
    if pattern is not None:
        raise ConfigError(f"{file} names its own pre-token pattern; leave the pattern {pattern!r} out.")
    data = read_json(file)
    if is_tokenizer(data):
        return tokenizer_of_json(data, file)
    if is_huggingface(data):
        return tokenizer_of_huggingface(data, file)
    raise InputError(f"{file} is neither a groundup tokenizer nor one of Hugging Face.")


def save_vocabulary(tokenizer: BytePairTokenizer, form: Form, out: Path) -> Path:
    """Write a tokenizer in one of the forms: a folder, or a `.tiktoken` file; returns what loaders are given.

    A `ConfigError` says why a form cannot hold this tokenizer; it is never written with other ids.
    """
    match form:
        case "groundup":
            write_tokenizer(tokenizer, out)
            return out
        case "huggingface":
            return write_huggingface(tokenizer, out)
        case "tiktoken":
            return write_rank_file(tokenizer, out)
        case "gpt2":
            return write_gpt2(tokenizer, out)
    raise ConfigError(f"There is no form {form!r}; {nearest(form, get_args(Form))}")
