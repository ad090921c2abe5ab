"""Pretraining: texts and a tokenizer to a checkpoint, resumable at any point."""

import statistics
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from groundup.accounting.language_model import parameters, training_flops_per_token
from groundup.batches.shards import open_shard, write_shard
from groundup.batches.windows import WindowSource
from groundup.checkpoint.store import latest_checkpoint
from groundup.core.errors import InputError
from groundup.core.files import clear_temporaries
from groundup.core.logging import get_logger
from groundup.core.progress import progress
from groundup.core.runs import Run, finished, read_metrics
from groundup.evaluation.bits_per_byte import window_bits_per_byte
from groundup.kernels.dispatch import chosen
from groundup.models.hierarchical_config import HierarchicalConfig
from groundup.stages.compute import Compute, prepare_compute
from groundup.stages.config import PretrainConfig
from groundup.stages.texts import text_fingerprint, train_and_heldout
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import END_OF_TEXT
from groundup.training.compiling import compile_for_training
from groundup.training.loop import Tick, train
from groundup.training.objectives import next_token
from groundup.training.state import TrainState

logger = get_logger(__name__)


def run_pretrain(config: PretrainConfig, corpus: Path, tokenizer: Path, out: Path) -> dict[str, Any]:
    """Train a language model; returns the result, which is also in `result.json` beside `checkpoints/`."""
    vocabulary = BytePairTokenizer.load(tokenizer)
    inputs = {"texts": text_fingerprint(corpus), "tokenizer": vocabulary.fingerprint}
    config = replace(config, model=replace(config.model, vocab_size=vocabulary.vocab_size))
    if (result := finished(out, config, inputs)) is not None:
        return result
    if isinstance(config.model, HierarchicalConfig) and not vocabulary.is_bytes:
        raise InputError(
            "A hierarchical model reads bytes, and this tokenizer merges them; train one without merges, whose "
            "--vocab-size is 256 and its special tokens."
        )
    if END_OF_TEXT not in vocabulary.special_tokens:
        raise InputError(f"The tokenizer has no {END_OF_TEXT} token; train one with `groundup tokenizer train`.")
    texts = train_and_heldout(corpus)  # before the run opens: a fault in the input leaves its folder as it was
    with Run(out, config, inputs) as run:
        tokenize_splits(*texts, vocabulary, out)
        tokens, _ = open_shard(out / "tokens" / "train")
        source = WindowSource(tokens, config.batch_size, config.model.context_length, config.seed)
        compute = prepare_compute(config.compute, out)
        validation = Validation(out, vocabulary, config)
        state, seconds = start_or_resume(config, compute, run)
        if config.compute.compile:
            compile_for_training(state.model)
        ticks = train(state, source, next_token, config.optimizer, config.steps)
        seconds = consume(ticks, run, config, compute, state, validation, tokenizer, seconds)
        run.add_provenance(kernels=chosen())
        return run.finish(summarize(run, config, compute, seconds))


def tokenize_splits(train: list[str], heldout: list[str], tokenizer: BytePairTokenizer, out: Path) -> None:
    """Write the token shards of both splits, unless an earlier start of this run did."""
    splits = {out / "tokens" / "train": train, out / "tokens" / "heldout": heldout}
    if all((folder / "shard.json").exists() for folder in splits):
        return
    clear_temporaries(out / "tokens")
    mark = tokenizer.special_tokens[END_OF_TEXT]
    with progress("tokenize", sum(map(len, splits.values()))) as advance:

        def encoded(texts: list[str]) -> Iterator[tuple[int, list[int]]]:
            for text in texts:
                yield len(text.encode()), tokenizer.encode(text)
                advance()

        for folder, texts in splits.items():
            write_shard(folder, encoded(texts), mark, tokenizer.vocab_size)


class Validation:
    """A fixed set of held-out windows for the learning curve."""

    def __init__(self, out: Path, tokenizer: BytePairTokenizer, config: PretrainConfig) -> None:
        tokens, _ = open_shard(out / "tokens" / "heldout")
        T = config.model.context_length
        count = min(config.evaluate_windows, max(0, len(tokens) - 1) // T)
        starts = np.linspace(0, len(tokens) - 1 - T, count, dtype=np.int64) if count else []
        rows = [torch.from_numpy(tokens[start : start + T + 1].astype(np.int64)) for start in starts]
        self.windows_NT = torch.stack(rows) if rows else None
        self.token_bytes = torch.from_numpy(tokenizer.token_bytes).long()

    def bits_per_byte(self, state: TrainState) -> float | None:
        """None where the held-out text is shorter than one window."""
        if self.windows_NT is None:
            return None
        state.model.eval()
        value = window_bits_per_byte(state.model, self.token_bytes, self.windows_NT)
        state.model.train()
        return value


def start_or_resume(config: PretrainConfig, compute: Compute, run: Run) -> tuple[TrainState, float]:
    """Random weights, or the newest whole checkpoint of this run; and the seconds spent so far."""
    checkpoint = latest_checkpoint(run.directory / "checkpoints")
    if checkpoint is None:
        run.rewind(0)
        return TrainState(config.model, config.optimizer, compute.dtype, config.seed), 0.0
    run.rewind(checkpoint.state["step"])
    logger.info("resuming at step %d of %d", checkpoint.state["step"], config.steps)
    return TrainState.resumed(checkpoint, config.optimizer, compute.dtype), checkpoint.state["seconds"]


def consume(
    ticks: Iterator[Tick],
    run: Run,
    config: PretrainConfig,
    compute: Compute,
    state: TrainState,
    validation: Validation,
    tokenizer: Path,
    seconds: float,
) -> float:
    """Log, evaluate and save while the loop runs; returns the total seconds, those before a resume included."""
    began = time.perf_counter() - seconds
    flops_per_token = training_flops_per_token(config.model)
    recent: list[Tick] = []
    with progress("pretrain", config.steps, done=state.step) as advance:
        for tick in ticks:
            recent.append(tick)
            saves = tick.step % config.checkpoint_every == 0 or tick.step == config.steps
            if saves or tick.step % config.log_every == 0:  # no interval spans a checkpoint: a resume could not redo it
                metrics = interval_metrics(recent, compute.peak_flops, flops_per_token)
                run.log(tick.step, metrics | {"seconds": time.perf_counter() - began})
                rate, mfu = metrics["tokens_per_second"], metrics["mfu"]
                advance(len(recent), f"loss {metrics['loss']:.3f}  {rate:,.0f} tokens/s  MFU {mfu:.0%}")
                recent = []
            if tick.step % config.evaluate_every == 0 or tick.step == config.steps:
                value = validation.bits_per_byte(state)
                if value is not None:
                    run.log(tick.step, {"validation_bits_per_byte": value})
                    logger.info("step %d: %.3f held-out bits per byte", tick.step, value)
            if saves:
                state.save(run.directory / "checkpoints", tokenizer, {"seconds": time.perf_counter() - began})
    return time.perf_counter() - began


def interval_metrics(ticks: list[Tick], peak_flops: float, flops_per_token: int) -> dict[str, float]:
    """Means over the ticks since the last line."""
    rate = statistics.median(tick.tokens / tick.seconds for tick in ticks)
    return {
        "loss": statistics.fmean(tick.loss for tick in ticks),
        "learning_rate": ticks[-1].learning_rate,
        "gradient_norm": statistics.fmean(tick.gradient_norm for tick in ticks),
        "tokens_per_second": rate,
        "mfu": rate * flops_per_token / peak_flops,
        "tokens": sum(tick.tokens for tick in ticks),
    }


def summarize(run: Run, config: PretrainConfig, compute: Compute, seconds: float) -> dict[str, Any]:
    """The run in numbers, from its metrics."""
    lines = read_metrics(run.directory)
    steps = [line for line in lines if "loss" in line]
    curve = [line["validation_bits_per_byte"] for line in lines if "validation_bits_per_byte" in line]
    return {
        "seconds": seconds,
        "parameters": parameters(config.model),
        "steps": config.steps,
        "tokens": config.steps * config.batch_size * config.model.context_length,
        "tokens_per_second": statistics.median(line["tokens_per_second"] for line in steps),
        "mfu": statistics.median(line["mfu"] for line in steps),
        "peak_flops_per_second": compute.peak_flops,
        "dtype": str(compute.dtype).removeprefix("torch."),
        "train_loss": steps[-1]["loss"],
        "validation_bits_per_byte": curve[-1] if curve else None,
    }
