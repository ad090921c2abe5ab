"""Supervised fine-tuning: a pretrained checkpoint learns to answer verifiable instructions in chat form."""

import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from groundup.alignment.instruction_batches import InstructionSource
from groundup.checkpoint.store import Checkpoint, latest_checkpoint, remove_superseded
from groundup.core.errors import InputError
from groundup.core.files import clear_temporaries, write_json, write_text
from groundup.core.logging import get_logger
from groundup.core.progress import progress
from groundup.core.runs import Run, finished
from groundup.core.seeds import derive_seed
from groundup.evaluation.answering import Answers, answer, sampled_pass_at_k
from groundup.evaluation.instructions import instructions
from groundup.inference.engine import Engine, find_checkpoint
from groundup.kernels.dispatch import chosen
from groundup.optim.config import OptimizerConfig
from groundup.optim.schedule_config import Wsd
from groundup.stages.compute import Compute, prepare_compute
from groundup.stages.config import SftConfig
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.tokenization.chat import require_chat_tokens
from groundup.training.compiling import compile_for_training
from groundup.training.loop import train
from groundup.training.objectives import answer_tokens
from groundup.training.state import TrainState

logger = get_logger(__name__)
FRESH = {"seconds": 0.0, "annealing_from": None, "done": False}


def run_sft(config: SftConfig, base: Path, out: Path) -> dict[str, Any]:
    """Fine-tune until the target accuracy or the step limit; evaluates on held-out instructions."""
    start_from = find_checkpoint(base)
    inputs = {"checkpoint": start_from.fingerprint}
    if (result := finished(out, config, inputs)) is not None:
        return result
    tokenizer = BytePairTokenizer.load(start_from.tokenizer)
    require_chat_tokens(tokenizer)  # before the run opens
    with Run(out, config, inputs) as run:
        compute = prepare_compute(config.compute, out)
        state, counters = start_or_resume(config, start_from, compute, run)
        seconds = fine_tune(config, state, counters, tokenizer, start_from, run)
        engine = Engine(state.model.eval(), tokenizer)
        result = final_evaluation(engine, out, config.heldout_examples, config.pass_at_8_examples, config.seed)
        run.add_provenance(kernels=chosen())
        return run.finish({"seconds": seconds, "steps": state.step, **result})


def start_or_resume(
    config: SftConfig, base: Checkpoint, compute: Compute, run: Run
) -> tuple[TrainState, dict[str, Any]]:
    """The base weights, or this run's newest checkpoint, with its counters: seconds, and whether the end is reached."""
    checkpoint = latest_checkpoint(run.directory / "checkpoints")
    if checkpoint is None:
        run.rewind(0)
        return TrainState.from_weights(base, config.optimizer, compute.precision), dict(FRESH)
    remove_superseded(checkpoint.path)
    run.rewind(checkpoint.state["step"])
    return TrainState.resumed(checkpoint, config.optimizer, compute.precision), checkpoint.state


def fine_tune(
    config: SftConfig,
    state: TrainState,
    counters: dict[str, Any],
    tokenizer: BytePairTokenizer,
    base: Checkpoint,
    run: Run,
) -> float:
    """Train at full rate until the target, then anneal; returns the seconds spent, before a resume too."""
    began = time.perf_counter() - counters["seconds"]
    if config.compute.compile and not counters["done"]:
        compile_for_training(state.model, state.optimizers)
    source = InstructionSource(tokenizer, config.batch_size, config.seed)
    validation = instructions("validation", derive_seed("validation", config.seed), config.validation_examples)
    engine = Engine(state.model, tokenizer)
    with progress("sft", None, done=state.step) as advance:
        while not counters["done"]:
            optimizer, end = phase(config, counters["annealing_from"])
            for tick in train(state, source, answer_tokens, optimizer, end):
                run.log(tick.step, {"loss": tick.loss, "gradient_norm": tick.gradient_norm, "seconds": tick.seconds})
                advance(1, f"loss {tick.loss:.3f}")
                if tick.step % config.evaluate_every and tick.step < end:
                    continue
                answers = answer(engine, validation)
                accuracy = sum(answers.correct) / len(answers.correct)
                run.log(tick.step, {"validation_accuracy": accuracy})
                logger.info("sft step %d: loss %.3f, validation accuracy %.3f", tick.step, tick.loss, accuracy)
                counters = progressed(config, counters, tick.step, tick.step == end, accuracy)
                counters["seconds"] = time.perf_counter() - began
                state.save(run.directory / "checkpoints", base.tokenizer, counters)
                state.model.train()
                if counters["done"] or counters["annealing_from"] == tick.step:
                    break
    return counters["seconds"]


def phase(config: SftConfig, annealing_from: int | None) -> tuple[OptimizerConfig, int]:
    """The optimizer and the last step of the phase: at full rate, or falling to zero from where annealing began."""
    if annealing_from is None:
        return config.optimizer, config.max_steps
    end = annealing_from + config.anneal_steps
    share = config.anneal_steps / end
    return replace(config.optimizer, schedule=Wsd(decay_fraction=share), warmup_steps=0), end


def progressed(config: SftConfig, counters: dict[str, Any], step: int, last: bool, accuracy: float) -> dict[str, Any]:
    """The counters after an evaluation: the target or the last step ends the first phase, the last step the second."""
    if counters["annealing_from"] is not None:
        return {**counters, "done": last}
    if not last and accuracy < config.target_accuracy:
        return dict(counters)
    if config.anneal_steps == 0:
        return {**counters, "done": True}
    return {**counters, "annealing_from": step}


def final_evaluation(engine: Engine, out: Path, heldout: int, pass_at_8: int, seed: int) -> dict[str, Any]:
    """Greedy accuracy on held-out instructions with intervals, pass@1 and pass@8 by sampling; writes every answer.

    The held-out instructions do not depend on the run's seed: all runs answer the same ones.
    """
    examples = instructions("heldout", 0, heldout)
    answers = answer(engine, examples)
    clear_temporaries(out / "eval" / "instructions")
    write_answers(out, answers)
    result = answers.summary()
    if pass_at_8:
        result["pass_at_k"] = sampled_pass_at_k(engine, examples[:pass_at_8], 8, (1, 8), seed)
    write_json(out / "eval" / "instructions" / "summary.json", result)
    return result


def write_answers(out: Path, answers: Answers) -> None:
    """One line for each held-out instruction, so that runs can be compared example by example."""
    rows = zip(answers.examples, answers.texts, answers.correct, strict=True)
    lines = [
        json.dumps({"task": e.task, "prompt": e.prompt, "expected": e.answer, "answer": text, "correct": correct})
        for e, text, correct in rows
    ]
    write_text(out / "eval" / "instructions" / "examples.jsonl", "\n".join(lines) + "\n")


def read_correct(run: Path) -> dict[str, bool]:
    """Prompt to whether the run answered it correctly."""
    path = run / "eval" / "instructions" / "examples.jsonl"
    if not path.exists():
        raise InputError(f"{run} has no answers to held-out instructions; it must be a finished sft or grpo run.")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return {row["prompt"]: row["correct"] for row in rows}
