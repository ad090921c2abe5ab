"""`groundup quickstart`: the whole story on real text."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from groundup.cli.settings import option, starting_settings
from groundup.stages.config import QuickstartConfig


@dataclass(frozen=True)
class Args:
    """Run the whole story on real text: corpus, tokenizer, pretraining, evaluation, alignment, report.

    Offline, about ten minutes on two CPU cores. Stopped at any point, the same command continues where it was.

    examples:
      groundup quickstart
      groundup quickstart --short --out runs/try
      groundup quickstart --pretrain.steps 1000 --out runs/longer
      groundup quickstart --config runs/quickstart/config.json --out runs/again
    """

    settings: Annotated[QuickstartConfig, tyro.conf.arg(name="")]
    out: Path = Path("runs/quickstart")
    """The run folder."""
    recipe: str = "quickstart"
    """Named settings to start from: quickstart or short."""
    config: Path | None = None
    """A config.json to start from instead."""
    short: bool = False
    """The same as --recipe short: the same path in about two minutes."""


def defaults(words: Sequence[str]) -> Args:
    """The options' defaults, from the recipe or file among the words."""
    fallback = "short" if "--short" in words else "quickstart"
    name = option(words, "--recipe") or fallback
    return Args(starting_settings(words, QuickstartConfig, None, fallback), recipe=name)


def run(args: Args) -> None:
    import json

    from groundup.stages.quickstart import run_quickstart

    run_quickstart(args.settings, args.out)
    print_summary(json.loads((args.out / "summary.json").read_text()))
    print(f"report: {args.out / 'report.html'}")
    print(f"next:   groundup serve {args.out}     groundup chat {args.out}")


def print_summary(summary: dict[str, Any]) -> None:
    """The final table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("result", "value", "95 % interval", title="quickstart")
    table.columns[1].justify = table.columns[2].justify = "right"
    bits = summary["bits_per_byte"]
    for name, key in (("model", "model"), ("Kneser-Ney", "kneser_ney"), ("xz", "xz")):
        if bits.get(key) is not None:
            interval = summary["bits_per_byte_interval"] if key == "model" else None
            shown = f"{interval['low']:.3f} to {interval['high']:.3f}" if interval else ""
            table.add_row(f"bits per byte, {name}", f"{bits[key]:.3f}", shown)
    for name in ("sft", "grpo", "control"):
        accuracy = summary["accuracy"].get(name)
        if accuracy:
            interval = f"{accuracy['low']:.1%} to {accuracy['high']:.1%}"
            table.add_row(f"instruction accuracy, {name}", f"{accuracy['estimate']:.1%}", interval)
    table.add_row("training speed", f"{summary['tokens_per_second']:,.0f} tokens/s", f"MFU {summary['mfu']:.0%}")
    for name, seconds in summary["seconds"].items():
        table.add_row(f"time, {name}", f"{seconds:,.0f} s", "")
    Console().print(table)
