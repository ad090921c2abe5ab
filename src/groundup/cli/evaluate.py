"""`groundup evaluate`: how good is a model on held-out text?"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from groundup.cli.settings import option, starting_settings
from groundup.stages.config import EvaluateConfig


@dataclass(frozen=True)
class Args:
    """Measure bits per byte on held-out text beside xz and Kneser-Ney, a likelihood task, and samples.

    examples:
      groundup evaluate runs/notes --corpus corpora/notes
      groundup evaluate runs/notes --corpus other.txt --out runs/notes-on-other --no-baselines
    """

    model: tyro.conf.Positional[Path]
    """A run or checkpoint folder."""
    settings: Annotated[EvaluateConfig, tyro.conf.arg(name="")]
    corpus: Path
    """A corpus folder (its held-out split is used), or text files (every twentieth document is held out)."""
    out: Path | None = None
    """The folder to write; by default the model's name with -evaluate, beside it."""
    recipe: str = "quickstart"
    """Named settings to start from."""
    config: Path | None = None
    """A config.json to start from instead."""


def defaults(words: Sequence[str]) -> Args:
    """The options' defaults, from the recipe or file among the words."""
    settings = starting_settings(words, EvaluateConfig, "evaluate")
    return Args(tyro.MISSING, settings, corpus=tyro.MISSING, recipe=option(words, "--recipe") or "quickstart")


def run(args: Args) -> None:
    from rich.console import Console
    from rich.table import Table

    from groundup.stages.evaluate import run_evaluate

    out = args.out or args.model.with_name(f"{args.model.name}-evaluate")
    result = run_evaluate(args.settings, args.model, args.corpus, out)
    table = Table("held-out text", "bits per byte")
    table.columns[1].justify = "right"
    names = {"model": "model", "kneser_ney": "Kneser-Ney", "xz": "xz, given the training text", "xz_alone": "xz alone"}
    for key, name in names.items():
        if key in result["bits_per_byte"]:
            table.add_row(name, f"{result['bits_per_byte'][key]:.4f}")
    interval = result["bits_per_byte_interval"]
    table.caption = f"model: {interval['low']:.4f} to {interval['high']:.4f}, 95 % bootstrap over documents"
    Console().print(table)
    for name, task in result["tasks"].items():
        accuracy = task["accuracy"]
        print(
            f"{name}: {accuracy['estimate']:.1%} ({accuracy['low']:.1%} to {accuracy['high']:.1%}, n={accuracy['n']})"
        )
    print(f"result: {out / 'result.json'}; next: groundup generate {args.model}")
