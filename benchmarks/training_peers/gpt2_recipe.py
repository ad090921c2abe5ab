"""The recipe that nanoGPT's documentation gives for a CPU, ended by time.

4 layers of width 128 and 4 heads, context 64, batches of 12, no dropout, AdamW(β₁ 0.9, β₂ 0.99, weight decay 0.1),
gradients clipped to a norm of 1, all in fp32.

    first 100 steps    rate = 1e-3 · (step + 1) / 101
    behind them        rate = 1e-4 + (1e-3 - 1e-4) · (1 + cos π p) / 2,  p from 0 to 1 over the time that was left then

Source: README.md ("I only have a macbook") and config/train_shakespeare_char.py of github.com/karpathy/nanoGPT. There
the decay goes by steps, of which 2,000 are asked for; by time it ends where the time does, whatever a step takes. Two
things are to the recipe's advantage: AdamW is fused, and a row comes again only after all others.

B batch, T time.
"""

import math
import time
from collections.abc import Callable
from itertools import count

import torch
from torch import nn

from groundup.batches.batch import BatchSource
from training_peers.gpt2_style import GPT2Style
from training_peers.shapes import Shape
from training_peers.steps import CLIP_NORM, fused_adamw

BATCH, CONTEXT = 12, 64
HIGHEST_RATE, LOWEST_RATE, WARM_UP_STEPS = 1e-3, 1e-4, 100
BETAS = (0.9, 0.99)


def recipe_shape(vocabulary: int) -> Shape:
    """The model's shape; `mlp_width` is that of a gated MLP with as many parameters, which GPT-2 has not."""
    return Shape(width=128, depth=4, heads=4, mlp_width=341, vocabulary=vocabulary, context=CONTEXT, batch=BATCH)


def train_for(
    seconds: float,
    model: GPT2Style,
    source: BatchSource,
    compiled: bool = False,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[int, float]:
    """Train for so many seconds, compilation included; returns the steps and the seconds that they took."""
    began = clock()
    optimizer = fused_adamw(model, HIGHEST_RATE, BETAS)
    loss_of = torch.compile(model, dynamic=False) if compiled else model
    warm = math.inf  # when the warm-up was over
    for step in count():
        now = clock() - began
        if now >= seconds:
            return step, now
        if step == WARM_UP_STEPS:
            warm = now
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(step, now, warm, seconds)
        batch = source.batch(step)
        loss_of(batch.tokens_BT, batch.targets_BT).backward()
        nn.utils.clip_grad_norm_(model.parameters(), CLIP_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    raise AssertionError("unreachable")


def learning_rate(step: int, now: float, warm: float, end: float) -> float:
    """The rate of a step that begins at `now`, where the warm-up was over at `warm`."""
    if step < WARM_UP_STEPS:
        return HIGHEST_RATE * (step + 1) / (WARM_UP_STEPS + 1)
    progress = (now - warm) / (end - warm)
    return LOWEST_RATE + (HIGHEST_RATE - LOWEST_RATE) * (1 + math.cos(math.pi * progress)) / 2
