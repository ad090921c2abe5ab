"""`groundup import`: a model of another program as a checkpoint."""

from dataclasses import dataclass
from pathlib import Path

import tyro


@dataclass(frozen=True)
class Args:
    """Read a model from a folder in Hugging Face's layout (config.json and safetensors files) or from a GGUF file.

    Families: GPT-2, Llama, Mistral, Qwen3, Gemma 3, OLMo 2, Mixtral, DeepSeek-V3. The result is a checkpoint like one
    of our own: generate from it, serve it, evaluate it, train it further.

    examples:
      groundup import downloads/Qwen3-0.6B --out runs/qwen3
      groundup import gpt2-folder --tokenizer gpt2-files --out runs/gpt2
      groundup import model.gguf --out runs/imported
    """

    source: tyro.conf.Positional[Path]
    """The folder, or the .gguf file."""
    out: Path
    """The folder to write; it must not be there, or be empty."""
    tokenizer: Path | None = None
    """Its vocabulary, where it is not in the folder: any form that `tokenizer convert` reads."""


def run(args: Args) -> None:
    from groundup.stages.interchange import import_model

    result = import_model(args.source, args.out, args.tokenizer)
    then = f'groundup generate {args.out} --prompt "The"' if result["tokenizer"] else f"groundup account {args.out}"
    print(f"{result['parameters']:,} parameters: {result['checkpoint']}; next: {then}")
