"""`groundup tokenizer train`: learn a byte-pair vocabulary."""

from dataclasses import dataclass
from pathlib import Path

from groundup.tokenization.chat import SPECIAL_TOKENS


@dataclass(frozen=True)
class Args:
    """Learn a byte-pair vocabulary from text, and show how many bytes its tokens hold beside simpler tokenizers.

    examples:
      groundup tokenizer train --corpus runs/quickstart/corpus --out runs/words
      groundup tokenizer train --corpus notes.txt --vocab-size 1000 --out runs/notes-tokenizer
      groundup tokenizer train --corpus notes/ --pattern gpt2 --compare gpt2-files/ --out runs/t
      groundup tokenizer train --corpus 'crawl/**/*.jsonl.zst' --vocab-size 32000 --pattern o200k --out runs/t32k
    """

    corpus: Path
    """A corpus folder; or texts of any size: a file, a folder, or a glob such as 'data/**/*.jsonl.zst' (.txt, .md,
    .jsonl, each also .gz or .zst, and .parquet)."""
    out: Path
    """The folder to write; a finished run of the same options is reused."""
    vocab_size: int = 4096
    """Tokens in all: 256 bytes, the merges, the special tokens."""
    pattern: str = "digits"
    """How text is cut before merging: gpt2, cl100k, o200k, digits (gpt2 with every digit alone), or a regular
    expression (slower)."""
    special_tokens: tuple[str, ...] = SPECIAL_TOKENS
    """Tokens that text never becomes by itself; a chat needs the default ones."""
    compare: tuple[str, ...] = ()
    """Vocabularies to measure too: folders with tokenizer.json or vocab.json + merges.txt, .tiktoken files."""
    column: str = "text"
    """Where JSONL and Parquet records have their text."""
    threads: int = 0
    """Threads that count; 0 means one per core."""


def run(args: Args) -> None:
    from rich.console import Console
    from rich.table import Table

    from groundup.stages.tokenizer import run_tokenizer
    from groundup.tokenization.config import TokenizerConfig

    config = TokenizerConfig(args.vocab_size, args.pattern, args.special_tokens, args.compare, args.column)
    result = run_tokenizer(config, args.corpus, args.out, args.threads)
    table = Table("tokenizer", *(f"{name:>10}" for name in ("vocabulary", "bytes/token", "unknown", "tokens")))
    for column in table.columns[1:]:
        column.justify = "right"
    for row in result["comparison"]:
        size, tokens = f"{row['vocab_size']:,}", f"{row['tokens']:,}"
        table.add_row(row["name"], size, f"{row['bytes_per_token']:.2f}", f"{row['unknown_share']:.1%}", tokens)
    table.caption = f"on {'held-out' if result['compared_on'] == 'heldout' else 'training'} text"
    Console().print(table)
    print(
        f"{result['vocab_size']:,} tokens in {result['seconds']:.1f} s: {args.out / 'tokenizer.json'}; next: "
        f'groundup tokenizer encode --tokenizer {args.out} --show --text "..."'
    )
