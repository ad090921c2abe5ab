"""`groundup grpo`: reinforcement learning against the verifiers."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from groundup.cli.settings import option, starting_settings
from groundup.stages.config import RlConfig


@dataclass(frozen=True)
class Args:
    """Improve a fine-tuned model by trial and verification: GRPO on instructions whose answers a program checks.

    examples:
      groundup grpo --start runs/notes-sft --out runs/notes-grpo
      groundup grpo --start runs/notes-sft --out runs/control --grpo.reward random
    """

    settings: Annotated[RlConfig, tyro.conf.arg(name="")]
    start: Path
    """A finished sft run."""
    out: Path
    """The run folder to write."""
    recipe: str = "quickstart"
    """Named settings to start from."""
    config: Path | None = None
    """A config.json to start from instead."""


def defaults(words: Sequence[str]) -> Args:
    """The options' defaults, from the recipe or file among the words."""
    settings = starting_settings(words, RlConfig, "grpo")
    return Args(settings, start=tyro.MISSING, out=tyro.MISSING, recipe=option(words, "--recipe") or "quickstart")


def run(args: Args) -> None:
    from groundup.cli.accuracy import print_accuracy
    from groundup.stages.grpo import run_grpo

    result = run_grpo(args.settings, args.start, args.out)
    print_accuracy(result)
    gain = result["gain"]
    print(f"gain over the start: {gain['estimate']:+.1%} ({gain['low']:+.1%} to {gain['high']:+.1%}, paired)")
    print(f"{result['steps']} steps in {result['seconds']:.0f} s; checkpoints: {args.out / 'checkpoints'}")
    print(f"next: groundup chat {args.out}     groundup serve {args.out}")
