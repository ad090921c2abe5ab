"""`groundup tokenizer encode`: text to token ids."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tyro.conf import Positional

if TYPE_CHECKING:
    from groundup.tokenization.bpe import BytePairTokenizer


@dataclass(frozen=True)
class Args:
    """Turn text into token ids, printed on one line; the text comes from --text, a file, or standard input.

    examples:
      groundup tokenizer encode --tokenizer runs/quickstart/tokenizer --text "We the people"
      groundup tokenizer encode --tokenizer runs/quickstart/tokenizer --show --text "12 + 7 = 19"
      groundup tokenizer encode --tokenizer runs/quickstart/tokenizer speech.txt --out speech.npy
      cat speech.txt | groundup tokenizer encode --tokenizer runs/quickstart/tokenizer
    """

    tokenizer: Path
    """A tokenizer folder, or another vocabulary: vocab.json + merges.txt, a .tiktoken file."""
    file: Positional[Path | None] = None
    """A UTF-8 text file."""
    text: str | None = None
    """The text itself."""
    out: Path | None = None
    """Write the ids to this .npy file instead of printing them."""
    show: bool = False
    """Print the pieces of text, coloured, instead of the ids."""
    allow_special: bool = False
    """Read special tokens such as <|end|> in the text as such, not as plain text."""


def run(args: Args) -> None:
    from groundup.core.errors import ConfigError
    from groundup.core.logging import console
    from groundup.tokenization.vocabulary_files import load_vocabulary

    if args.out is not None and args.out.suffix != ".npy":
        raise ConfigError(f"--out {args.out} must end in .npy; the ids are written as a NumPy array.")
    tokenizer = load_vocabulary(args.tokenizer)
    text = _read_text(args)
    ids = tokenizer.encode(text, allow_special=args.allow_special)
    next_step = f"groundup tokenizer decode --tokenizer {args.tokenizer} {args.out or '...'}"
    if args.out is not None:
        _write_array(ids, args.out)
    elif args.show:
        _show(tokenizer, ids)
    else:
        print(*ids)
    where = f"{args.out}: " if args.out else ""
    held = len(text.encode(errors="replace")) / len(ids)
    console.print(
        f"{where}{len(ids):,} tokens, {held:.2f} bytes per token; back to text: {next_step}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )


def _read_text(args: Args) -> str:
    """The text from the one place that was given; none, two, an empty or a binary one is an error."""
    from groundup.core.errors import ConfigError, InputError
    from groundup.core.files import require_file
    from groundup.core.logging import console
    from groundup.corpus.sources import decode_bytes

    if args.text is not None and args.file is not None:
        raise ConfigError(f"Both --text and the file {args.file} were given; give one of them.")
    if args.text is not None:
        if not args.text:
            raise InputError("--text is empty; give some text.")
        return args.text
    if args.file is not None:
        return decode_bytes(require_file(args.file).read_bytes(), str(args.file))[0]
    if sys.stdin.isatty():
        console.print("type the text, then Ctrl-D:", highlight=False)
    return decode_bytes(sys.stdin.buffer.read(), "standard input")[0]


def _write_array(ids: list[int], out: Path) -> None:
    import io

    import numpy as np

    from groundup.core.files import write_bytes

    buffer = io.BytesIO()
    np.save(buffer, np.array(ids, dtype=np.uint16 if max(ids) < 1 << 16 else np.uint32))
    write_bytes(out, buffer.getvalue())


def _show(tokenizer: "BytePairTokenizer", ids: list[int]) -> None:
    """Each token's text on a colour of its own; bytes that are half a character as \\xNN."""
    from rich.console import Console
    from rich.text import Text

    colours = ("black on bright_cyan", "black on bright_yellow", "black on bright_green", "black on bright_magenta")
    special = set(tokenizer.special_tokens.values())
    shown = Text()
    for number, token in enumerate(ids):
        piece = tokenizer.decode_bytes([token]).decode("utf-8", "backslashreplace")
        visible = "".join(c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode() for c in piece)
        style = "bold white on red" if token in special else colours[number % len(colours)]
        shown.append(visible.replace("\n", "\\n\n"), style)
    Console(soft_wrap=True).print(shown)
