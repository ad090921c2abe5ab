"""Encoders and decoders side by side: ids from a file, lists from texts, text from ids, per library.

`array_calls` read the file themselves, since one library is given a path and another bytes or a str; where a library
has several calls the benchmark takes the fastest of them, for the cold and for the warm pass. What a call returns may
still need `as_ids`; that is not timed, which favours the peer.
"""

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from harness.real_text import pieces

from tokenization_peers.vocabularies import Vocabulary

ArrayCall = Callable[[Path], Any]
ListCall = Callable[[list[str]], list[list[int]]]


class Encoder:
    """One library with one vocabulary loaded. A call that it does not offer is None, or not in the dictionary."""

    distribution: str
    array_calls: dict[str, ArrayCall]
    lists: ListCall | None = None
    one: Callable[[str], list[int]] | None = None
    bytes_of_array: Callable[[np.ndarray], bytes] | None = None
    text_of_list: Callable[[list[int]], str] | None = None

    def as_ids(self, result: Any) -> np.ndarray:
        """What an array call returned, as uint32."""
        return np.asarray(result, dtype=np.uint32)


class Ours(Encoder):
    """groundup: bytes in, uint32 out."""

    distribution = "groundup"

    def __init__(self, vocabulary: Vocabulary, threads: int = 1) -> None:
        from groundup.tokenization.vocabulary_files import load_vocabulary

        tokenizer = load_vocabulary(vocabulary.ranks)
        tokenizer.compile()
        keywords: dict[str, Any] = {"threads": threads} if threads > 1 else {}
        self.array_calls = {"encode_file": lambda path: tokenizer.encode_file(path, **keywords)}
        self.lists = tokenizer.encode_batch
        self.one = tokenizer.encode
        self.bytes_of_array = tokenizer.decode_bytes
        self.text_of_list = tokenizer.decode


class Gigatoken(Encoder):
    """gigatoken. Its cold call is `encode` (no parallel machinery to start: 134-213 MB/s on 12 MB against 25-45), its
    warm one `encode_files` or `encode_batch` (up to 490 against 300), so both are measured. `parallel=False` is its
    switch for one thread; from a `tokenizer.json` it is a little slower than from the rank file."""

    distribution = "gigatoken"

    def __init__(self, vocabulary: Vocabulary, threads: int = 1) -> None:
        import gigatoken

        tokenizer = gigatoken.Tokenizer.from_tiktoken(vocabulary.ranks)
        parallel = threads > 1
        self.array_calls = {
            "encode_files": lambda path: tokenizer.encode_files(path, parallel=parallel),
            "encode_batch": lambda path: tokenizer.encode_batch([path.read_bytes()], parallel=parallel),
        }
        if not parallel:  # encode has no parallel form
            self.array_calls["encode"] = lambda path: tokenizer.encode(path.read_bytes())
        self.lists = lambda texts: tokenizer.encode_batch_list(texts, parallel=parallel)
        self.one = None  # its shortest call returns an array
        self.bytes_of_array = tokenizer.decode

    def as_ids(self, result: Any) -> np.ndarray:
        """The one row of an awkward array, or the array itself."""
        return np.asarray(result if isinstance(result, np.ndarray) else result[0], dtype=np.uint32)


class Fastokens(Encoder):
    """fastokens, from `tokenizer.json`: given the rank file and a pattern it falls back to PCRE2, three times slower.
    Only str goes in. Texts of 100,000 characters are its best size: shorter ones cost calls, one long text costs
    memory (its warm passes were 95-225 MB/s on one text of 12 MB, 259 on pieces)."""

    distribution = "fastokens"

    def __init__(self, vocabulary: Vocabulary, threads: int = 1) -> None:
        import fastokens

        tokenizer = fastokens.Tokenizer.from_file(str(vocabulary.json))

        def in_pieces(path: Path) -> np.ndarray:
            return np.frombuffer(tokenizer.encode_batch_flat(read_pieces(path, 100_000))[0], dtype=np.uint32)

        def whole(path: Path) -> np.ndarray:
            return np.frombuffer(tokenizer.encode_batch_flat([read_text(path)])[0], dtype=np.uint32)

        self.array_calls = {"encode_batch_flat in pieces": in_pieces, "encode_batch_flat": whole}


class Tiktoken(Encoder):
    """tiktoken, with its own patterns. Its list call is the faster one: `encode_to_numpy` takes half as long again.
    `encode_ordinary_batch` with one thread is slower than a loop. It has no cache, so warm is as cold."""

    distribution = "tiktoken"

    def __init__(self, vocabulary: Vocabulary, threads: int = 1) -> None:
        encoding = tiktoken_encoding(vocabulary)
        self.array_calls = {"encode_ordinary": lambda path: encoding.encode_ordinary(read_text(path))}
        self.lists = lambda texts: [encoding.encode_ordinary(text) for text in texts]
        self.one = encoding.encode_ordinary
        self.text_of_list = encoding.decode


class HuggingFace(Encoder):
    """tokenizers: `encode_batch_fast` (no offsets), a thousand pieces at a time, their ids taken out at once: the
    encodings of 100 MB would need several gigabytes. Taking them out is some 2 % of the time."""

    distribution = "tokenizers"

    def __init__(self, vocabulary: Vocabulary, threads: int = 1) -> None:
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(vocabulary.json))

        def in_batches(path: Path) -> np.ndarray:
            texts = read_pieces(path, 4_000)
            batches = (texts[start : start + 1_000] for start in range(0, len(texts), 1_000))
            encodings = (
                one for batch in batches for one in tokenizer.encode_batch_fast(batch, add_special_tokens=False)
            )
            return np.concatenate([np.asarray(encoding.ids, dtype=np.uint32) for encoding in encodings])

        self.array_calls = {"encode_batch_fast": in_batches}


ENCODERS: dict[str, Callable[..., Encoder]] = {
    "groundup": Ours,
    "gigatoken": Gigatoken,
    "fastokens": Fastokens,
    "tiktoken": Tiktoken,
    "tokenizers": HuggingFace,
}
# Known before anything is loaded, so that each call gets a process of its own: its cold pass is really cold.
ARRAY_CALLS: dict[str, Sequence[str]] = {
    "groundup": ("encode_file",),
    "gigatoken": ("encode", "encode_files", "encode_batch"),
    "fastokens": ("encode_batch_flat in pieces", "encode_batch_flat"),
    "tiktoken": ("encode_ordinary",),
    "tokenizers": ("encode_batch_fast",),
}


def tiktoken_encoding(vocabulary: Vocabulary) -> Any:
    """tiktoken's encoding from the file at hand; its own definition gives the pattern and checks the file's hash."""
    import tiktoken
    from tiktoken.load import load_tiktoken_bpe
    from tiktoken_ext import openai_public

    def local(_url: str, expected_hash: str | None = None) -> dict[bytes, int]:
        return load_tiktoken_bpe(str(vocabulary.ranks), expected_hash)

    openai_public.load_tiktoken_bpe = local
    return tiktoken.Encoding(**getattr(openai_public, vocabulary.encoding)())


def read_text(path: Path) -> str:
    """A file as str, its line ends as they are."""
    return path.read_bytes().decode()


def read_pieces(path: Path, least: int) -> list[str]:
    """A file as pieces whose ids, one after the other, are those of the whole."""
    text = read_text(path)
    return [text[start:end] for start, end in pieces(text, least)]


def documents(path: Path, least: int) -> list[str]:
    """A file as documents of about `least` characters, for the calls that take a list of texts."""
    return [part for part in read_pieces(path, least) if re.search(r"\S", part)]
