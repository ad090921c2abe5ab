"""`groundup pretrain`: train a decoder on a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from groundup.cli.settings import option, starting_settings
from groundup.stages.config import PretrainConfig


@dataclass(frozen=True)
class Args:
    """Train a decoder from random weights on a corpus folder or on text files.

    Stopped at any point, the same command continues from the last checkpoint and ends with the same weights.

    examples:
      groundup pretrain --corpus corpora/notes --tokenizer runs/words --out runs/notes
      groundup pretrain --corpus book.txt --tokenizer runs/words --out runs/book --steps 200 --model.width 96
      groundup pretrain --corpus notes.txt --tokenizer runs/words --out runs/an-hour --budget 1h
      groundup pretrain --start-from runs/notes --corpus letters/ --tokenizer runs/words --out runs/letters --steps 200
      groundup pretrain --config runs/notes/config.json --corpus more.txt --tokenizer runs/words --out runs/more
    """

    settings: Annotated[PretrainConfig, tyro.conf.arg(name="")]
    corpus: Path
    """A corpus folder, a text or JSONL file, or a folder of them."""
    tokenizer: Path
    """A tokenizer folder."""
    out: Path
    """The run folder to write."""
    recipe: str = "quickstart"
    """Named settings to start from."""
    config: Path | None = None
    """A config.json to start from instead."""


def defaults(words: Sequence[str]) -> Args:
    """The options' defaults, from the recipe or file among the words."""
    settings = starting_settings(words, PretrainConfig, "pretrain")
    if (start_from := option(words, "--start-from")) is not None:  # its shape, unless options change it
        from groundup.inference.engine import find_checkpoint

        settings = replace(settings, model=find_checkpoint(Path(start_from)).config)
    missing = tyro.MISSING
    return Args(
        settings, corpus=missing, tokenizer=missing, out=missing, recipe=option(words, "--recipe") or "quickstart"
    )


def run(args: Args) -> None:
    from groundup.stages.pretrain import run_pretrain

    result = run_pretrain(args.settings, args.corpus, args.tokenizer, args.out)
    bits = result["validation_bits_per_byte"]
    quality = f", {bits:.3f} bits per byte on held-out text" if bits is not None else ""
    print(f"{result['parameters']:,} parameters, {result['tokens']:,} tokens, {result['seconds']:.0f} s{quality}")
    print(f"checkpoints: {args.out / 'checkpoints'}")
    print(f'next: groundup generate {args.out} --prompt "The"     groundup sft --base {args.out} --out {args.out}-sft')
