"""One training step of each side: forward, backward, clipping to a norm of 1, update. All take the same batches.

Peers hold their weights in bf16 and let PyTorch's fused AdamW update those, which is less work than ours: our weights
have fp32 masters. They also get the choice of what is fastest for them (`VARIANTS`).
"""

from collections.abc import Callable
from itertools import cycle
from typing import NamedTuple

import torch
from torch import Tensor, nn

from training_peers.shapes import Shape, random_batches

LEARNING_RATE, WEIGHT_DECAY, BETAS, CLIP_NORM = 3e-4, 0.1, (0.9, 0.95), 1.0
Step = Callable[[], float]


class Trainee(NamedTuple):
    """A step, which returns the loss before its update, and the parameters that it trains."""

    step: Step
    parameters: int


def groundup(shape: Shape, optimizer: str, compiled: bool) -> Trainee:
    """Our own loop, as `groundup pretrain` runs it: bf16 weights with fp32 masters."""
    from groundup.batches.batch import Batch
    from groundup.models.presets import llama
    from groundup.optim.config import OptimizerConfig
    from groundup.optim.optimizer_config import AdamW, Muon
    from groundup.optim.schedule_config import Constant
    from groundup.training.compiling import compile_for_training
    from groundup.training.loop import train
    from groundup.training.objectives import next_token
    from groundup.training.state import TrainState

    batches = [Batch(tokens, targets, torch.ones(tokens.shape)) for tokens, targets in random_batches(shape)]

    class Source:
        def batch(self, step: int) -> Batch:
            return batches[step % len(batches)]

    adamw = AdamW(*BETAS)
    config = OptimizerConfig(
        matrices=Muon() if optimizer == "muon" else adamw,
        rest=adamw,
        learning_rate=LEARNING_RATE,
        embedding_learning_rate=LEARNING_RATE,
        weight_decay=WEIGHT_DECAY,
        schedule=Constant(),
        warmup_steps=0,
        clip_norm=CLIP_NORM,
    )
    model = llama(
        vocab_size=shape.vocabulary,
        context_length=shape.context,
        width=shape.width,
        depth=shape.depth,
        num_heads=shape.heads,
        num_kv_heads=shape.heads,
        mlp_width=shape.mlp_width,
    )
    state = TrainState(model, config, torch.bfloat16, seed=0)
    if compiled and not compile_for_training(state.model, state.optimizers):
        raise RuntimeError("there is no C++ compiler")
    ticks = train(state, Source(), next_token, config, steps=10**9)
    return Trainee(lambda: next(ticks).loss, count_parameters(state.model))


def transformers(shape: Shape, attention: str, compiled: bool) -> Trainee:
    """Hugging Face's Llama with its own loss."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.width,
        intermediate_size=shape.mlp_width,
        num_hidden_layers=shape.depth,
        num_attention_heads=shape.heads,
        num_key_value_heads=shape.heads,
        max_position_embeddings=shape.context,
        rms_norm_eps=1e-5,
        tie_word_embeddings=False,
        attn_implementation=attention,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16).train()
    call = torch.compile(model, dynamic=False) if compiled else model

    def loss(tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        return call(input_ids=tokens_BT, labels=targets_BT, shift_labels=targets_BT, use_cache=False).loss

    return usual_training(model, loss, shape)


def litgpt(shape: Shape, loss_compiled: bool) -> Trainee:
    """litgpt's decoder with its own loss, as its `pretrain` composes them, or with both in one compiled function."""
    from litgpt.config import Config
    from litgpt.model import GPT
    from litgpt.utils import chunked_cross_entropy

    config = Config(
        block_size=shape.context,
        n_layer=shape.depth,
        n_embd=shape.width,
        vocab_size=shape.vocabulary,
        padded_vocab_size=shape.vocabulary,
        n_head=shape.heads,
        n_query_groups=shape.heads,
        intermediate_size=shape.mlp_width,
        rotary_percentage=1.0,
        parallel_residual=False,
        bias=False,
        norm_class_name="RMSNorm",
        mlp_class_name="LLaMAMLP",
    )
    model = GPT(config).to(torch.bfloat16).train()
    call = model if loss_compiled else torch.compile(model, dynamic=False)

    def loss(tokens_BT: Tensor, targets_BT: Tensor) -> Tensor:
        return chunked_cross_entropy(call(tokens_BT), targets_BT, chunk_size=0 if loss_compiled else 128)

    return usual_training(model, torch.compile(loss, dynamic=False) if loss_compiled else loss, shape)


def gpt2_style(shape: Shape) -> Trainee:
    """The fp32 baseline (`gpt2_style.py`)."""
    from training_peers.gpt2_style import GPT2Style

    model = GPT2Style(shape)
    return usual_training(model, model, shape)


def usual_training(model: nn.Module, loss: Callable[[Tensor, Tensor], Tensor], shape: Shape) -> Trainee:
    """The loop that peers' recipes have in common, with PyTorch's AdamW."""
    optimizer = fused_adamw(model, LEARNING_RATE, BETAS)
    batches = cycle(random_batches(shape))

    def step() -> float:
        value = loss(*next(batches))
        value.backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return value.item()

    return Trainee(step, count_parameters(model))


def fused_adamw(model: nn.Module, learning_rate: float, betas: tuple[float, float]) -> torch.optim.AdamW:
    """PyTorch's AdamW, which decays matrices and tables but no gains."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim >= 2]
    others = [parameter for parameter in model.parameters() if parameter.ndim < 2]
    groups = [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": others, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)


def count_parameters(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


BUILDERS: dict[str, Callable[..., Trainee]] = {
    "groundup": groundup,
    "transformers": transformers,
    "litgpt": litgpt,
    "gpt2_style": gpt2_style,
}
