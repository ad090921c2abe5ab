"""`groundup sft`: fine-tune a pretrained model on verifiable instructions."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from groundup.cli.settings import option, starting_settings
from groundup.stages.config import SftConfig


@dataclass(frozen=True)
class Args:
    """Teach a pretrained model to answer verifiable instructions (sort, add, copy, reverse, count) in chat form.

    Training stops at `--target-accuracy` on validation instructions, so that reinforcement learning has work left.

    examples:
      groundup sft --base runs/notes --out runs/notes-sft
      groundup sft --base runs/quickstart/pretrain --out runs/better --target-accuracy 0.9 --max-steps 1000
    """

    settings: Annotated[SftConfig, tyro.conf.arg(name="")]
    base: Path
    """A pretrained run or checkpoint folder."""
    out: Path
    """The run folder to write."""
    recipe: str = "quickstart"
    """Named settings to start from."""
    config: Path | None = None
    """A config.json to start from instead."""


def defaults(words: Sequence[str]) -> Args:
    """The options' defaults, from the recipe or file among the words."""
    settings = starting_settings(words, SftConfig, "sft")
    return Args(settings, base=tyro.MISSING, out=tyro.MISSING, recipe=option(words, "--recipe") or "quickstart")


def run(args: Args) -> None:
    from groundup.cli.accuracy import print_accuracy
    from groundup.stages.sft import run_sft

    result = run_sft(args.settings, args.base, args.out)
    print_accuracy(result)
    print(f"{result['steps']} steps in {result['seconds']:.0f} s; checkpoints: {args.out / 'checkpoints'}")
    print(f"next: groundup grpo --start {args.out} --out {args.out}-grpo     groundup chat {args.out}")
