"""`groundup tokenizer encode-files`: text of any size to token shards."""

from dataclasses import dataclass
from pathlib import Path

from tyro.conf import Positional, UseAppendAction


@dataclass(frozen=True)
class Args:
    """Turn files of text into shards of token ids, which training reads through a memory map.

    Reads text files (.txt, .md and others that are named), .jsonl, both also as .gz or .zst, and .parquet; folders are
    searched for these, and patterns such as 'data/**/*.jsonl.zst' are understood. The input may be larger than memory.
    A run that was stopped continues with the shards that are missing when the same command is given again.

    examples:
      groundup tokenizer encode-files --tokenizer runs/quickstart/tokenizer notes/ book.txt --out runs/notes-tokens
      groundup tokenizer encode-files --tokenizer runs/t 'crawl/**/*.jsonl.zst' --out runs/crawl-tokens --threads 8
      groundup tokenizer encode-files --tokenizer runs/t edu/*.parquet --column content --out runs/edu-tokens
      groundup tokenizer encode-files --tokenizer runs/t stories.txt --out runs/s --allow-special "<|endoftext|>"
    """

    inputs: Positional[tuple[str, ...]]
    """Files, folders, and patterns in quotes."""
    tokenizer: Path
    """A tokenizer folder, or another vocabulary: vocab.json + merges.txt, a .tiktoken file."""
    out: Path
    """The folder to write; a finished run of the same input and options is reused."""
    column: str = "text"
    """The field or column that holds the text of a JSONL or Parquet record."""
    separator: str | None = None
    """The special token in front of each document; "" for none, by default <|endoftext|> if the tokenizer has it."""
    allow_special: UseAppendAction[tuple[str, ...]] = ()
    """A special token that counts as such where the text holds its name; may be given several times."""
    threads: int = 0
    """How many shards are encoded at the same time; 0: one per core."""


def run(args: Args) -> None:
    """Encode, and say how much and what opens it."""
    from groundup.core.provenance import hardware
    from groundup.stages.token_shards import TokenShardsConfig, run_token_shards

    config = TokenShardsConfig(args.column, args.separator, args.allow_special)
    threads = args.threads or hardware()["cores"] or 1
    result = run_token_shards(config, args.tokenizer, args.inputs, args.out, threads)
    shards = f"{result['shards']:,} shard{'' if result['shards'] == 1 else 's'}"
    print(
        f"{result['documents']:,} documents, {result['text_bytes']:,} bytes -> {result['tokens']:,} tokens "
        f"({result['bytes_per_token']:.2f} bytes each) in {result['seconds']:.1f} s: {shards} in "
        f'{args.out}; to read them: groundup.tokenization.token_shards.open_shards("{args.out}")'
    )
