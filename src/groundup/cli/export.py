"""`groundup export`: a checkpoint as a model of another program."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro


@dataclass(frozen=True)
class Args:
    """Write a model for transformers and what reads its files (a folder), or for llama.cpp (a .gguf file).

    A decoder that no family of theirs can hold is refused with the reason; nothing is approximated but the number
    format that you choose.

    examples:
      groundup export runs/quickstart --out exported
      groundup export runs/quickstart --out quickstart.gguf --dtype q8_0
    """

    model: tyro.conf.Positional[Path]
    """A run or checkpoint folder."""
    out: Path
    """The folder to write, or a file that ends in .gguf."""
    dtype: Literal["float32", "bfloat16", "float16", "q8_0"] = "float32"
    """The format of the weights: the first three for folders, all for .gguf."""


def run(args: Args) -> None:
    from groundup.stages.interchange import export_model

    out = export_model(args.model, args.out, args.dtype)
    load = (
        f"llama-cli -m {out}"
        if out.suffix == ".gguf"
        else f'transformers.AutoModelForCausalLM.from_pretrained("{out}")'
    )
    print(f"written: {out}; load it: {load}")
