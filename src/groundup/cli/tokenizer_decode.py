"""`groundup tokenizer decode`: token ids to text."""

import sys
from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional


@dataclass(frozen=True)
class Args:
    """Turn token ids back into text; the ids come as arguments, from a file, or from standard input.

    examples:
      groundup tokenizer decode --tokenizer runs/quickstart/tokenizer 871 268 1322
      groundup tokenizer decode --tokenizer runs/quickstart/tokenizer speech.npy
      groundup tokenizer encode --tokenizer T --text "Hello" | groundup tokenizer decode --tokenizer T
    """

    tokenizer: Path
    """A tokenizer folder, or another vocabulary: vocab.json + merges.txt, a .tiktoken file."""
    ids: Positional[tuple[str, ...]] = ()
    """Token ids, or one file of them: .npy, or text with spaces or commas between."""


def run(args: Args) -> None:
    from groundup.core.logging import console
    from groundup.tokenization.vocabulary_files import load_vocabulary

    tokenizer = load_vocabulary(args.tokenizer)
    ids = _read_ids(args.ids)
    data = tokenizer.decode_bytes(ids)
    sys.stdout.write(data.decode("utf-8", "replace"))
    sys.stdout.flush()
    if sys.stdout.isatty():
        print()
        console.print(f"{len(ids):,} tokens, {len(data):,} bytes", highlight=False)


def _read_ids(words: tuple[str, ...]) -> list[int]:
    """Ids from arguments, one file, or standard input."""
    from groundup.core.errors import InputError
    from groundup.core.files import require_file

    if len(words) == 1 and not words[0].strip(",").isdigit():
        path = Path(words[0])
        if not path.exists():
            raise InputError(f"{words[0]!r} is neither a token id (a whole number from 0 up) nor a file.")
        require_file(path)
        if path.suffix == ".npy":
            return _read_array(path)
        text, place = path.read_bytes().decode("utf-8", "replace"), str(path)
    elif words:
        text, place = " ".join(words), "the arguments"
    else:
        text, place = sys.stdin.buffer.read().decode("utf-8", "replace"), "standard input"
    ids = text.replace(",", " ").replace("[", " ").replace("]", " ").split()
    if not ids:
        raise InputError(f"There are no token ids in {place}; give some, such as: 72 101 108.")
    for word in ids:
        if not (word.isascii() and word.isdigit()):
            raise InputError(f"{word[:40]!r} in {place} is not a token id; ids are whole numbers from 0 up.")
    return [int(word) for word in ids]


def _read_array(path: Path) -> list[int]:
    import numpy as np

    from groundup.core.errors import InputError

    try:
        array = np.load(path, allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise InputError(f"{path} is not a NumPy array ({error}).") from error
    if array.dtype.kind not in "ui" or array.ndim != 1 or array.size == 0:
        raise InputError(f"{path} holds an array of {array.dtype} with shape {array.shape}; a row of ids is needed.")
    return array.tolist()
