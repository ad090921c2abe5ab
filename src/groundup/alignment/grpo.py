"""GRPO on verifiable instructions, as a generator: sample groups of answers, reward them, push the policy.

Everything is a function of (config, seed, step, weights), so a resumed run draws the same prompts and answers. The
policy's log-probabilities are recomputed by the training forward pass: the engine's differ by rounding (bf16, other
shapes), and a ratio must be 1 where nothing has changed.

Shapes: P prompts, G answers a prompt, B rows, T time.
"""

import time
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from groundup.alignment.config import GrpoConfig
from groundup.alignment.instruction_batches import masked_batch
from groundup.alignment.policy_gradient import aggregate, clipped_losses, group_advantages, kl_k3
from groundup.batches.batch import Batch
from groundup.core.seeds import derive_seed, rng
from groundup.evaluation.answering import answer_request, solves
from groundup.evaluation.instructions import Instruction, instruction
from groundup.inference.engine import Engine
from groundup.inference.requests import Completion, Sampling
from groundup.models.language_model import LanguageModel
from groundup.optim.config import OptimizerConfig
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.training.loop import update
from groundup.training.precision import PRECISIONS, Precision
from groundup.training.state import TrainState


class Rollout(NamedTuple):
    """Answers to P·G prompts as one batch, whose weights mark the answers' tokens, and their rewards (P, G)."""

    batch: Batch
    rewards_PG: Tensor
    completions: list[Completion]


class GrpoTick(NamedTuple):
    """One finished step."""

    step: int
    metrics: dict[str, float]
    seconds: float


def grpo(
    state: TrainState,
    tokenizer: BytePairTokenizer,
    config: GrpoConfig,
    optimizer: OptimizerConfig,
    seed: int,
    reference: LanguageModel | None = None,
) -> Iterator[GrpoTick]:
    """Improve `state.model` from `state.step` updates on, yielding after each of `config.steps` steps.

    `reference` is the policy that `config.kl_coefficient` holds on to; without the coefficient it is not used.
    """
    engine = Engine(state.model, tokenizer)
    total_updates = config.steps * config.updates
    while state.step < total_updates:
        start = time.perf_counter()
        step = state.step // config.updates
        state.model.eval()
        rollout = roll_out(engine, config, seed, step)
        state.model.train()
        advantages_B = group_advantages(rollout.rewards_PG, config.normalize_std).flatten()
        metrics = learn(state, rollout.batch, advantages_B, config, optimizer, total_updates, reference)
        metrics |= rollout_metrics(rollout)
        yield GrpoTick(step + 1, metrics, time.perf_counter() - start)


def roll_out(engine: Engine, config: GrpoConfig, seed: int, step: int) -> Rollout:
    """Sample and reward the answers of one step."""
    examples = [
        instruction("train", derive_seed("grpo", seed), step * config.prompts + p) for p in range(config.prompts)
    ]
    requests = [
        answer_request(engine, example, Sampling(config.max_tokens, 1.0, seed=derive_seed("rollout", seed, step, p, g)))
        for p, example in enumerate(examples)
        for g in range(config.group_size)
    ]
    completions = engine.generate(requests)
    rows = [
        ((*request.prompt, *completion.ids), (*[0] * len(request.prompt), *[1] * len(completion.ids)))
        for request, completion in zip(requests, completions, strict=True)
    ]
    repeated = [example for example in examples for _ in range(config.group_size)]
    rewards = [
        reward(config.reward, example, completion, derive_seed("coin", seed, step, row))
        for row, (example, completion) in enumerate(zip(repeated, completions, strict=True))
    ]
    rewards_PG = torch.tensor(rewards).view(config.prompts, config.group_size)
    return Rollout(masked_batch(rows), rewards_PG, completions)


def reward(kind: str, example: Instruction, completion: Completion, seed: int) -> float:
    """1 for an answer that ended by itself and is right, else 0; or a coin that ignores the answer."""
    if kind == "random":
        return float(rng("coin", seed).random() < 0.5)
    return float(solves(example, completion))


def learn(
    state: TrainState,
    batch: Batch,
    advantages_B: Tensor,
    config: GrpoConfig,
    optimizer: OptimizerConfig,
    total: int,
    reference: LanguageModel | None = None,
) -> dict[str, float]:
    """`config.updates` updates, each on a share of the rows; returns the mean metrics.

    Without a KL term, rows without advantage (their group's answers were all right, or all wrong) have no gradient and
    are left out of the computation, not of the mean: the loss and its gradient are those of all rows.
    """
    shares = informative_shares(batch, advantages_B, config)
    # The first share is learnt from by the policy that sampled it. For the others its log-probabilities are kept; with
    # gradients on, though unused, so that attention takes the same path and unchanged weights give a ratio of 1.
    old = [None, *(token_logprobs(state.model, part, state.precision).detach() for part, _, _ in shares[1:])]
    totals: dict[str, float] = {}
    for (part, share_advantages_B, weight), old_BT in zip(shares, old, strict=True):
        logprobs_BT = token_logprobs(state.model, part, state.precision)
        old_BT = logprobs_BT.detach() if old_BT is None else old_BT
        losses_BT, ratios_BT = clipped_losses(
            logprobs_BT, old_BT, share_advantages_B, config.clip_low, config.clip_high
        )
        metrics = token_metrics(logprobs_BT.detach(), old_BT, ratios_BT.detach(), part.weights_BT, config)
        if config.kl_coefficient > 0:
            assert reference is not None, "a KL term needs the policy to hold on to"
            with torch.no_grad():
                reference_BT = token_logprobs(reference, part, state.precision)
            divergences_BT = kl_k3(logprobs_BT, reference_BT)
            losses_BT = losses_BT + config.kl_coefficient * divergences_BT
            metrics["kl_to_start"] = masked_mean(divergences_BT.detach(), part.weights_BT)
        loss = weight * aggregate(losses_BT, part.weights_BT, config.aggregation, config.max_tokens)
        scale = 1.0 if state.scaler is None else state.scaler.scale
        (scale * (loss + state.model.auxiliary_loss())).backward()
        norm, learning_rate = update(state, optimizer, total)
        metrics |= {"loss": loss.item(), "gradient_norm": norm, "learning_rate": learning_rate}
        totals = {name: totals.get(name, 0.0) + value / config.updates for name, value in metrics.items()}
    return totals


def informative_shares(batch: Batch, advantages_B: Tensor, config: GrpoConfig) -> list[tuple[Batch, Tensor, float]]:
    """For each update its rows with an advantage, these advantages, and the weight of their mean in that of all rows.

    A share without any such row keeps its first row, whose loss is 0. With a KL term every row counts.
    """
    shares = []
    for rows in torch.arange(len(advantages_B)).chunk(config.updates):
        kept = rows if config.kl_coefficient > 0 else rows[advantages_B[rows] != 0]
        kept = kept if len(kept) else rows[:1]
        part, mask_BT = batch.map(lambda tensor, kept=kept: tensor[kept]), batch.weights_BT
        by_tokens = config.aggregation == "dapo"
        weight = mask_BT[kept].sum() / mask_BT[rows].sum() if by_tokens else len(kept) / len(rows)
        shares.append((part, advantages_B[kept], float(weight)))
    return shares


def token_logprobs(model: LanguageModel, batch: Batch, precision: Precision = PRECISIONS["float32"]) -> Tensor:
    """log π of the answers' tokens at temperature 1, the temperature of the rollouts, (B, T), fp32; 0 elsewhere."""
    with precision.computing(batch.tokens_BT.device):
        return -model.losses_where(batch.tokens_BT, batch.targets_BT, batch.weights_BT > 0, batch.positions_BT)


def token_metrics(
    logprobs_BT: Tensor, old_BT: Tensor, ratios_BT: Tensor, mask_BT: Tensor, config: GrpoConfig
) -> dict[str, float]:
    """Means over the tokens of the answers that were learnt from."""
    return {
        "kl": masked_mean(kl_k3(old_BT, logprobs_BT), mask_BT),
        "clip_fraction_low": masked_mean((ratios_BT < 1 - config.clip_low).float(), mask_BT),
        "clip_fraction_high": masked_mean((ratios_BT > 1 + config.clip_high).float(), mask_BT),
        "ratio_max": (ratios_BT * mask_BT).max().item(),
    }


def masked_mean(values_BT: Tensor, mask_BT: Tensor) -> float:
    return ((values_BT * mask_BT).sum() / mask_BT.sum()).item()


def rollout_metrics(rollout: Rollout) -> dict[str, float]:
    """What the answers were like. Entropy is estimated by -log π of the sampled tokens, which is unbiased."""
    rewards_PG = rollout.rewards_PG
    count = len(rollout.completions)
    tokens = sum(len(each.ids) for each in rollout.completions)
    return {
        "entropy": -sum(sum(each.logprobs) for each in rollout.completions) / tokens,
        "reward": rewards_PG.mean().item(),
        "zero_std_fraction": (rewards_PG.std(dim=1) == 0).float().mean().item(),
        "truncated": sum(each.finish_reason == "length" for each in rollout.completions) / count,
        "length_mean": tokens / count,
    }
