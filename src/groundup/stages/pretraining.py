"""One pretraining from its first step or last checkpoint to its end: planned, logged, evaluated, saved, rolled back."""

import itertools
import math
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from groundup.accounting.budget import Budget, parse_budgets, steps_within
from groundup.accounting.language_model import parameters, training_flops_per_token
from groundup.batches.batch import Batches
from groundup.batches.config import CORPUS
from groundup.batches.prefetch import Prefetch
from groundup.checkpoint.background import BackgroundWriter
from groundup.checkpoint.store import Checkpoint, latest_checkpoint, remove_superseded, write_checkpoint
from groundup.core.errors import InputError
from groundup.core.files import read_json, write_json
from groundup.core.logging import get_logger
from groundup.core.progress import Advance, progress
from groundup.core.runs import Run, read_metrics
from groundup.models.language_model import LanguageModel
from groundup.models.model_config import ModelConfig
from groundup.stages.compute import Compute
from groundup.stages.config import PretrainConfig
from groundup.stages.dashboard import dashboard, fits
from groundup.training.compiling import compile_for_training
from groundup.training.dtype_table import tabulated
from groundup.training.inspection import resident_bytes
from groundup.training.loop import Diverged, Tick, train
from groundup.training.objectives import next_token
from groundup.training.state import TrainState

logger = get_logger(__name__)
WARM_UP, TIMED = 3, 8  # steps that a time budget is planned by
MARGIN = 0.97  # of the time that is left, for checkpoints and for what varies


@dataclass(frozen=True)
class Pretraining:
    """What one needs. `batches` gives the batches of a training of so many steps; `validate` gives the held-out bits
    per byte of a model, None where there is no text for it; `sample` what it writes, as {"prompt", "text"}."""

    config: PretrainConfig
    batches: Callable[[int], Batches]
    validate: Callable[[LanguageModel], float | None]
    sample: Callable[[LanguageModel], list[dict[str, str]]]
    compute: Compute
    run: Run
    tokenizer: Path
    start_from: Checkpoint | None = None

    @property
    def checkpoints(self) -> Path:
        return self.run.directory / "checkpoints"

    def to_the_end(self) -> dict[str, Any]:
        """Start or resume, go back to the last checkpoint where the guard says so; returns the result."""
        config, guard, passed_over = self.config, self.config.guard, 0
        for attempt in itertools.count():
            state, seconds = self.start_or_resume()
            began = time.perf_counter() - seconds
            if attempt or state.skips >= guard.patience:  # or the last skip's step was saved before it led back
                state.passed_over, state.skips = max(state.passed_over, passed_over), 0
            state.model.recompute = config.recompute
            if config.compute.compile:
                compile_for_training(state.model, state.optimizers)
            if config.budget:
                config = replace(config, steps=self.planned_steps(state, began))
            state.keep_average(config.average)
            source, parts, every = self.batches(config.steps), config.accumulate, config.log_every
            try:
                with Prefetch(source, config.data.prefetch) as ahead:
                    options = (parts, guard, every, config.average.every)
                    ticks = train(state, ahead, next_token, config.optimizer, config.steps, *options)
                    tell = partial(write_json, self.run.directory / "dtypes.json")
                    ticks = tabulated(ticks, state, next_token, tell)
                    self.consume(ticks, config, state, source, began)
                return self.summary(config, source, time.perf_counter() - began)
            except Diverged as error:
                if attempt >= guard.rollbacks or not guard.factor:
                    raise
                checkpoint = latest_checkpoint(self.checkpoints)
                back = 0 if checkpoint is None else checkpoint.state["step"]
                passed_over = state.passed_over + state.step - back
                logger.warning("%s Going back to step %d, and on with the batches behind these.", error, back)
        raise AssertionError("unreachable")

    def start_or_resume(self) -> tuple[TrainState, float]:
        """The newest whole checkpoint, or else the weights to start from, or random ones; and the seconds spent."""
        config, checkpoint = self.config, latest_checkpoint(self.checkpoints)
        if checkpoint is not None:
            require_same_model(checkpoint, config.model)
            remove_superseded(checkpoint.path, config.keep_checkpoints, config.keep_every)
            self.run.rewind(checkpoint.state["step"])
            logger.info("resuming at step %d", checkpoint.state["step"])
            return TrainState.resumed(checkpoint, config.optimizer, self.compute.precision), checkpoint.state["seconds"]
        self.run.rewind(0)
        options = (config.optimizer, self.compute.precision, config.seed)
        if self.start_from is None:
            return TrainState(config.model, *options), 0.0
        return TrainState.warm(config.model, self.start_from, *options), 0.0

    def planned_steps(self, state: TrainState, began: float) -> int:
        """The steps that the budget allows, decided once for a run and written down."""
        plan, config = self.run.directory / "plan.json", self.config
        if plan.exists():
            return read_json(plan)["steps"]
        steps = min(self.steps_allowed(budget, state, began) for budget in parse_budgets(config.budget))
        write_json(plan, {"budget": config.budget, "steps": steps})
        logger.info("a budget of %s: %d steps", config.budget, steps)
        return steps

    def steps_allowed(self, budget: Budget, state: TrainState, began: float) -> int:
        """The steps that one budget allows, at least one."""
        config = self.config
        match budget.unit:
            case "seconds":
                return self.steps_in(state, budget.amount, began)
            case "epochs":  # of the source that is read most often
                most = max(epochs(self.batches(config.steps), config.steps).values())
                return max(1, int(budget.amount * config.steps / most))
        return steps_within(budget, config.model, config.batch_size * config.model.context_length)

    def steps_in(self, state: TrainState, seconds: float, began: float) -> int:
        """How many steps fit into what is left of the seconds after some were tried, whose effect is undone."""
        config, weights = self.config, {name: weight.clone() for name, weight in state.weights().items()}
        source = self.batches(WARM_UP + TIMED)
        trial = train(state, source, next_token, config.optimizer, WARM_UP + TIMED, config.accumulate)
        times = [tick.seconds for tick in trial][WARM_UP:]
        started = time.perf_counter()
        self.validate(state.model)
        self.sample(state.model)
        evaluation = time.perf_counter() - started
        state.restart(weights, config.optimizer)
        left = seconds - (time.perf_counter() - began)
        return max(1, int(MARGIN * left / (statistics.median(times) + evaluation / config.evaluate_every)))

    def consume(
        self, ticks: Iterator[Tick], config: PretrainConfig, state: TrainState, source: Batches, began: float
    ) -> None:
        """Log, evaluate and save while the loop runs; `began` is as if all of it were one process."""
        flops_per_token = training_flops_per_token(config.model)
        recent: list[Tick] = []
        with BackgroundWriter() as writer, self.display(config, state.step, began) as advance:
            for tick in ticks:
                recent.append(tick)
                note, last = None, tick.step == config.steps
                saves = last or tick.step % config.checkpoint_every == 0
                if saves or tick.step % config.log_every == 0:  # none spans a checkpoint: a resume could not redo it
                    metrics = interval_metrics(recent, self.compute.peak_flops, flops_per_token)
                    seen = epochs(source, tick.step + state.passed_over)
                    metrics |= {f"epochs_{name}": each for name, each in seen.items()}
                    self.run.log(tick.step, metrics | {"seconds": time.perf_counter() - began})
                    rate, mfu = metrics["tokens_per_second"], metrics["mfu"]
                    note = f"loss {metrics['loss']:.3f}  {rate:,.0f} tokens/s  MFU {mfu:.0%}"
                    recent = []
                advance(1, note)
                if last or tick.step % config.evaluate_every == 0:
                    self.evaluate(tick.step, state)
                if last and state.average is not None:  # before the checkpoint that says that all is done
                    average, folder = state.average.weights(), self.run.directory / "averaged"
                    write_checkpoint(folder, tick.step, config.model, average, {}, self.tokenizer)
                if saves:
                    snapshot = state.snapshot({"seconds": time.perf_counter() - began}, copy=True)
                    kept = config.keep_checkpoints, config.keep_every
                    writer.write(snapshot.write, self.checkpoints, self.tokenizer, *kept)

    def display(self, config: PretrainConfig, done: int, began: float) -> AbstractContextManager[Advance]:
        """The dashboard on a terminal that has room for it, else a bar or lines."""
        if config.dashboard and fits():
            return dashboard(self.run, config.steps, done, began)
        return progress("pretrain", config.steps, done=done)

    def evaluate(self, step: int, state: TrainState) -> None:
        """Log held-out bits per byte, those of the averaged weights too, and what the model writes."""
        value = self.validate(state.model)
        if value is not None:
            self.run.log(step, {"validation_bits_per_byte": value})
            logger.info("step %d: %.3f held-out bits per byte", step, value)
        if value is not None and state.average is not None:
            with state.averaged() as model:
                self.run.log(step, {"averaged_bits_per_byte": self.validate(model)})
        for each in self.sample(state.model):
            self.run.log_sample(step, each["prompt"], each["text"])

    def summary(self, config: PretrainConfig, source: Batches, seconds: float) -> dict[str, Any]:
        """The run in numbers, from its metrics."""
        lines = read_metrics(self.run.directory)
        steps = [line for line in lines if "loss" in line]
        curve = [line["validation_bits_per_byte"] for line in lines if "validation_bits_per_byte" in line]
        averaged = [line["averaged_bits_per_byte"] for line in lines if "averaged_bits_per_byte" in line]
        return {
            "seconds": seconds,
            "parameters": parameters(config.model),
            "steps": config.steps,
            "tokens": config.rows_before(config.steps) * config.model.context_length,
            "epochs": epochs(source, config.steps),
            "tokens_per_second": statistics.median(line["tokens_per_second"] for line in steps),
            "mfu": statistics.median(line["mfu"] for line in steps),
            "peak_flops_per_second": self.compute.peak_flops,
            "dtype": self.compute.precision.name,
            "train_loss": steps[-1]["loss"],
            "validation_bits_per_byte": curve[-1] if curve else None,
            "averaged_bits_per_byte": averaged[-1] if averaged else None,
        }


def epochs(source: Batches, steps: int) -> dict[str, float]:
    """How often so many steps go through each source."""
    return {each.source or CORPUS: each.epochs for each in source.seen(steps)}


def require_same_model(checkpoint: Checkpoint, model: ModelConfig) -> None:
    """A checkpoint that came from elsewhere into the run's folder must not become its model."""
    theirs = vars(checkpoint.config)
    for name, value in vars(model).items():
        if theirs.get(name) != value:
            raise InputError(
                f"{checkpoint.path} is of another model: its {name} is {theirs.get(name)}, this run's is {value}; move "
                "it out of this folder, or give it to --start-from with another --out."
            )


def interval_metrics(ticks: list[Tick], peak_flops: float, flops_per_token: int) -> dict[str, float]:
    """Means over the ticks since the last line."""
    rate = statistics.median(tick.tokens / tick.seconds for tick in ticks)
    norms = [tick.gradient_norm for tick in ticks if not tick.overflowed]  # of which fp16 has none
    return {
        "loss": statistics.fmean(tick.loss for tick in ticks),
        "learning_rate": ticks[-1].learning_rate,
        "gradient_norm": statistics.fmean(norms or [math.inf]),
        "tokens_per_second": rate,
        "mfu": rate * flops_per_token / peak_flops,
        "tokens": sum(tick.tokens for tick in ticks),
        "skipped": sum(tick.skipped for tick in ticks),
        "memory_bytes": resident_bytes(),
        **ticks[-1].metrics,
    }
