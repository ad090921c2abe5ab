"""`groundup quantize`: a checkpoint with its weights in 8 or 4 bits."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from groundup.inference.quantization_config import QuantizationConfig


@dataclass(frozen=True)
class Args:
    """Round a model's weights to 8 or 4 bits, and say what that costs on held-out text.

    examples:
      groundup quantize runs/quickstart --out runs/quickstart-int8 --corpus runs/quickstart/corpus
      groundup quantize runs/quickstart --bits 4 --method awq --corpus runs/quickstart/corpus --out runs/quickstart-int4
    """

    model: tyro.conf.Positional[Path]
    """A run or checkpoint folder."""
    out: Path
    """The folder to write; serve, generate, chat and evaluate take it."""
    settings: Annotated[QuantizationConfig, tyro.conf.arg(name="")] = field(default_factory=QuantizationConfig)
    corpus: Path | None = None
    """A corpus folder or text files: held-out text for the quality, training text for awq. Without it nothing is
    measured."""


def run(args: Args) -> None:
    from rich.console import Console
    from rich.table import Table

    from groundup.stages.quantization import quantize_checkpoint

    quality = quantize_checkpoint(args.model, args.out, args.settings, args.corpus)
    table = Table("", "before", "after", "change")
    for column in table.columns[1:]:
        column.justify = "right"
    rows = {
        "bytes": ("megabytes", 1e6, 1),
        "bits_per_byte": ("bits per byte", 1, 4),
        "tokens_per_second": ("tokens/s", 1, 1),
    }
    for key, (name, unit, digits) in rows.items():
        if key in quality:
            before, after = (quality[key][when] / unit for when in ("before", "after"))
            change = f"{after - before:+.4f}" if key == "bits_per_byte" else f"x {after / before:.2f}"
            table.add_row(name, f"{before:.{digits}f}", f"{after:.{digits}f}", change)
    if "bits_per_byte_of_float8_cache" in quality:
        cached = quality["bits_per_byte_of_float8_cache"]
        change = cached - quality["bits_per_byte"]["before"]
        table.caption = f"as it was, but with float8 keys and values: {cached:.4f} bits per byte ({change:+.4f})"
    Console().print(table)
    print(f"written: {quality['checkpoint']}; next: groundup generate {args.out}")
