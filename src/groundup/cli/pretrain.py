"""`groundup pretrain`: train a decoder on a corpus."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

import tyro

from groundup.cli.settings import option, starting_settings
from groundup.recipes.named import PRETRAINING
from groundup.stages.config import PretrainConfig


@dataclass(frozen=True)
class Args:
    """Train a decoder from random weights on a corpus folder or on text files.

    Stopped at any point, the same command continues from the last checkpoint and ends with the same weights.

    recipes, with what to expect of each in docs/recipes.md; any option below, or --budget, changes them:
      quickstart        the model of `groundup quickstart`: about five minutes on two cores
      short             the same in 50 steps, to see that it works
      laptop            7 million parameters, an hour on a CPU
      tinystories-17m   the model of Stanford's CS336 on TinyStories; tokenizer of 10,000 tokens
      owt               the same on OpenWebText; tokenizer of 32,000 tokens
      speedrun-gpt2     the loss of GPT-2 124M on FineWeb, for 8 GPUs; GPT-2's tokenizer

    examples:
      groundup pretrain --corpus corpora/notes --tokenizer runs/words --out runs/notes
      groundup pretrain --corpus book.txt --tokenizer runs/words --out runs/book --steps 200 --model.width 96
      groundup pretrain --recipe laptop --corpus notes.txt --tokenizer runs/words --out runs/an-hour --budget 1h
      groundup pretrain --start-from runs/notes --corpus letters/ --tokenizer runs/words --out runs/letters --steps 200
      groundup pretrain --corpus notes.txt --tokenizer runs/words --out runs/seen --log-to tensorboard --no-dashboard
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
    """Named settings to start from, of those above."""
    config: Path | None = None
    """A config.json to start from instead."""


def defaults(words: Sequence[str]) -> Args:
    """The options' defaults, from the recipe or file among the words."""
    settings = starting_settings(words, PretrainConfig, "pretrain")
    if option(words, "--steps") is not None:  # which somebody wants more than the budget of a recipe or file
        settings = replace(settings, budget="")
    if (start_from := option(words, "--start-from")) is not None:  # its shape, unless options change it
        from groundup.inference.engine import find_checkpoint

        settings = replace(settings, model=find_checkpoint(Path(start_from)).config)
    missing = tyro.MISSING
    return Args(
        settings, corpus=missing, tokenizer=missing, out=missing, recipe=option(words, "--recipe") or "quickstart"
    )


def run(args: Args) -> None:
    from groundup.stages.pretrain import run_pretrain
    from groundup.stages.report import run_report

    warn_of_other_vocabulary(args)
    result = run_pretrain(args.settings, args.corpus, args.tokenizer, args.out)
    report = run_report(args.out)
    bits = result["validation_bits_per_byte"]
    quality = f", {bits:.3f} bits per byte on held-out text" if bits is not None else ""
    print(f"{result['parameters']:,} parameters, {result['tokens']:,} tokens, {result['seconds']:.0f} s{quality}")
    print(f"report: {report}")
    print(f"checkpoints: {args.out / 'checkpoints'}")
    print(f'next: groundup generate {args.out} --prompt "The"     groundup sft --base {args.out} --out {args.out}-sft')


def warn_of_other_vocabulary(args: Args) -> None:
    """Say so where a named recipe's numbers are for another vocabulary than the tokenizer's."""
    from groundup.accounting.language_model import parameters
    from groundup.core.logging import get_logger
    from groundup.tokenization.bpe import BytePairTokenizer

    expected = args.settings.model.vocab_size
    if args.recipe not in PRETRAINING or args.settings.start_from is not None:
        return  # the quickstart's settings are for any text, and weights come with their tokenizer
    found = BytePairTokenizer.load(args.tokenizer).vocab_size
    if found != expected:
        models = [replace(args.settings.model, vocab_size=size) for size in (found, expected)]
        here, there = (parameters(model) for model in models)
        get_logger(__name__).warning(
            f"What docs/recipes.md expects of {args.recipe} is for a tokenizer of {expected:,} tokens, but "
            f"{args.tokenizer} has {found:,}: the model gets {here:,} parameters instead of {there:,}, and its loss "
            "per token does not compare. That page says how to make the other."
        )
