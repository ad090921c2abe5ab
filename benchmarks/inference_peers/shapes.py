"""The models that all sides run: the same Llama shapes with the same random weights, written once."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

STEP = 0


@dataclass(frozen=True)
class Shape:
    """One size; embeddings are tied where `tied`."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    vocabulary: int
    context: int
    tied: bool

    @property
    def parameters(self) -> int:
        """Of a Llama: L (4 D² + 3 D F + 2 D) + D and one or two V D."""
        D = self.width
        layers = self.depth * (4 * D * D + 3 * D * self.mlp_width + 2 * D)
        return layers + D + (1 if self.tied else 2) * self.vocabulary * D


# "124M" has the parameters of the smallest GPT-2 in a Llama's shape; "quickstart" is what `make quickstart` trains.
SHAPES = {
    "124M": Shape(width=768, depth=12, heads=12, mlp_width=2048, vocabulary=50_257, context=1024, tied=True),
    "quickstart": Shape(width=192, depth=6, heads=3, mlp_width=512, vocabulary=4096, context=256, tied=False),
    "tiny": Shape(width=64, depth=2, heads=2, mlp_width=192, vocabulary=512, context=128, tied=False),
}


def write_models(shape: Shape, folder: Path) -> None:
    """One set of random weights as `checkpoints/` (ours), `int8/` and `int4/` (ours), `huggingface/`, and `bf16.gguf`
    and `q8_0.gguf`."""
    import torch

    from groundup.checkpoint.gguf import write_gguf
    from groundup.checkpoint.huggingface import write_huggingface
    from groundup.checkpoint.store import write_checkpoint
    from groundup.inference.quantization import quantized_weights
    from groundup.inference.quantization_config import QuantizationConfig
    from groundup.models.building import build_model
    from groundup.models.initialization import initialize
    from groundup.models.presets import llama
    from groundup.tokenization.bpe import BytePairTokenizer
    from groundup.tokenization.chat import END_OF_TEXT

    config = llama(
        shape.vocabulary,
        shape.context,
        shape.width,
        shape.depth,
        shape.heads,
        shape.heads,
        shape.mlp_width,
        tie_embeddings=shape.tied,
    )
    model = build_model(config)
    initialize(model, 0)
    weights = {name: weight.detach().bfloat16().float() for name, weight in model.named_parameters()}
    model.load_state_dict(weights)
    merges = [(token // 256, token % 256) for token in range(shape.vocabulary - 257)]  # any: no text is encoded
    tokenizer = BytePairTokenizer(merges, special_tokens={END_OF_TEXT: shape.vocabulary - 1})
    write_checkpoint(folder / "checkpoints", STEP, config, weights, {}, tokenizer)
    for bits in (8, 4):
        state = quantized_weights(model, QuantizationConfig(bits=bits))
        write_checkpoint(folder / f"int{bits}", STEP, config, state, {}, tokenizer)
    halves = {name: weight.to(torch.bfloat16) for name, weight in weights.items()}
    write_huggingface(config, halves, folder / "huggingface")
    write_gguf(config, weights, folder / "bf16.gguf", "bf16", tokenizer)
    write_gguf(config, weights, folder / "q8_0.gguf", "q8_0", tokenizer)


def prompts(shape: Shape, rows: int, length: int) -> list[list[int]]:
    """The same token ids on all sides, another prompt for each row."""
    generator = random.Random(0)
    return [[generator.randrange(shape.vocabulary) for _ in range(length)] for _ in range(rows)]
