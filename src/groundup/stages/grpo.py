"""Reinforcement learning: a fine-tuned checkpoint improves against the verifiers, or against a coin as a control."""

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from groundup.alignment.grpo import grpo
from groundup.checkpoint.store import Checkpoint, latest_checkpoint, remove_superseded
from groundup.core.logging import get_logger
from groundup.core.progress import progress
from groundup.core.runs import Run, finished
from groundup.evaluation.answering import answer
from groundup.evaluation.instructions import instructions
from groundup.evaluation.statistics import paired_difference
from groundup.inference.engine import Engine, find_checkpoint, load_model
from groundup.kernels.dispatch import chosen
from groundup.stages.compute import Compute, prepare_compute
from groundup.stages.config import RlConfig
from groundup.stages.sft import final_evaluation, read_correct
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.training.compiling import compile_for_training
from groundup.training.state import TrainState

logger = get_logger(__name__)
CURVE_EXAMPLES = 200


def run_grpo(config: RlConfig, start: Path, out: Path) -> dict[str, Any]:
    """Run GRPO from an sft run; the gain is the paired difference to that run on the same held-out instructions."""
    before = read_correct(start)
    start_from = find_checkpoint(start)
    inputs = {"checkpoint": start_from.fingerprint}
    if (result := finished(out, config, inputs)) is not None:
        return result
    with Run(out, config, inputs) as run:
        compute = prepare_compute(config.compute, out)
        tokenizer = BytePairTokenizer.load(start_from.tokenizer)
        state, seconds = start_or_resume(config, start_from, compute, run)
        seconds = reinforce(config, state, tokenizer, start_from, run, seconds)
        engine = Engine(state.model.eval(), tokenizer)
        result = final_evaluation(engine, out, config.heldout_examples, config.pass_at_8_examples, config.seed)
        after = read_correct(out)
        shared = [prompt for prompt in after if prompt in before]
        gain = paired_difference([before[prompt] for prompt in shared], [after[prompt] for prompt in shared])
        run.add_provenance(kernels=chosen())
        return run.finish({"seconds": seconds, "steps": config.grpo.steps, "gain": asdict(gain), **result})


def start_or_resume(config: RlConfig, base: Checkpoint, compute: Compute, run: Run) -> tuple[TrainState, float]:
    """The fine-tuned weights, or this run's newest checkpoint; and the seconds spent so far."""
    checkpoint = latest_checkpoint(run.directory / "checkpoints")
    if checkpoint is None:
        run.rewind(0)
        return TrainState.from_weights(base, config.optimizer, compute.precision), 0.0
    remove_superseded(checkpoint.path)
    run.rewind(checkpoint.state["step"] // config.grpo.updates)
    return TrainState.resumed(checkpoint, config.optimizer, compute.precision), checkpoint.state["seconds"]


def reinforce(
    config: RlConfig, state: TrainState, tokenizer: BytePairTokenizer, base: Checkpoint, run: Run, seconds: float
) -> float:
    """Consume the steps: log, look at held-out accuracy now and then, save; returns the total seconds."""
    began = time.perf_counter() - seconds
    if config.compute.compile:
        compile_for_training(state.model, state.optimizers)
    name = run.directory.name
    steps = config.grpo.steps
    curve = instructions("heldout", 0, CURVE_EXAMPLES)
    engine = Engine(state.model, tokenizer)
    reference = load_model(base, state.model.embedding.dtype) if config.grpo.kl_coefficient > 0 else None
    with progress(name, steps, done=state.step // config.grpo.updates) as advance:
        for tick in grpo(state, tokenizer, config.grpo, config.optimizer, config.seed, reference):
            metrics = dict(tick.metrics)
            if tick.step % config.evaluate_every == 0 or tick.step == steps:
                answers = answer(engine, curve)
                metrics["heldout_accuracy"] = sum(answers.correct) / len(answers.correct)
                note = (tick.step, metrics["reward"], metrics["heldout_accuracy"])
                logger.info("%s step %d: reward %.3f, held-out accuracy %.3f", name, *note)
            run.log(tick.step, metrics | {"seconds": tick.seconds})
            advance(1, f"reward {metrics['reward']:.3f}  entropy {metrics['entropy']:.2f}")
            if tick.step % config.checkpoint_every == 0 or tick.step == steps:
                state.save(run.directory / "checkpoints", base.tokenizer, {"seconds": time.perf_counter() - began})
    return time.perf_counter() - began
