"""Evaluation: held-out bits per byte beside a compressor and an n-gram model, samples, and a likelihood task."""

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from groundup.checkpoint.store import Checkpoint
from groundup.core.errors import ConfigError, InputError
from groundup.core.files import clear_temporaries, write_json
from groundup.core.progress import progress
from groundup.core.runs import Run, finished
from groundup.corpus import kneser_ney
from groundup.corpus.xz import xz_bits_per_byte
from groundup.evaluation.bits_per_byte import Likelihood, bits_per_byte, document_likelihoods, document_windows
from groundup.evaluation.continuation import continuation_accuracy, continuation_questions, fits
from groundup.inference.engine import Engine, find_checkpoint, load_engine
from groundup.stages.compute import prepare_compute
from groundup.stages.config import EvaluateConfig
from groundup.stages.samples import samples
from groundup.stages.texts import text_fingerprint, train_and_heldout


def run_evaluate(config: EvaluateConfig, model: Path, corpus: Path, out: Path) -> dict[str, Any]:
    """Evaluate a checkpoint or run on the held-out texts of a corpus."""
    checkpoint = find_checkpoint(model)
    inputs = {"texts": text_fingerprint(corpus), "checkpoint": checkpoint.fingerprint}
    if (result := finished(out, config, inputs)) is not None:
        return result
    start = time.perf_counter()
    train, heldout = train_and_heldout(corpus)
    check(config, checkpoint, corpus, heldout)
    with Run(out, config, inputs) as run:
        engine = load_engine(checkpoint.path, prepare_compute(config.compute, out).precision.weights)
        likelihoods = score_documents(engine, heldout, config.stride)
        interval = bits_per_byte(likelihoods)
        bits = {"model": interval.estimate}
        if config.baselines:
            bits |= baselines(train, heldout, config.kneser_ney_order)
        result = {
            "checkpoint": str(checkpoint.path),
            "bits_per_byte": bits,
            "bits_per_byte_interval": {"low": interval.low, "high": interval.high},
            "heldout": {"documents": len(heldout), "bytes": sum(each.text_bytes for each in likelihoods)},
            "tasks": tasks(engine, heldout, config),
            "samples": samples(engine, config.sample_prompts, config.sample_tokens, config.seed),
        }
        details = out / "eval" / "bits_per_byte"
        clear_temporaries(details)
        write_json(details / "summary.json", {"documents": [asdict(each) for each in likelihoods]})
        return run.finish({"seconds": time.perf_counter() - start, **result})


def check(config: EvaluateConfig, checkpoint: Checkpoint, corpus: Path, heldout: Sequence[str]) -> None:
    """Stop what cannot work before anything is written."""
    context = checkpoint.config.context_length
    if not 0 <= config.stride <= context:
        raise ConfigError(f"stride is {config.stride}; it must be between 0 and the model's context of {context}.")
    if not any(heldout):
        raise InputError(
            f"{corpus} holds no text out, so there is nothing to evaluate on; build it with a held-out part."
        )


def score_documents(engine: Engine, texts: Sequence[str], stride: int) -> list[Likelihood]:
    """Likelihood of each document, behind a progress bar."""
    windows = document_windows(engine.tokenizer, texts, engine.context_length, stride or None)
    with progress("score", len(windows)) as advance:
        return document_likelihoods(engine.model, texts, windows, advance)


def baselines(train: Sequence[str], heldout: Sequence[str], order: int) -> dict[str, float]:
    """Bits per byte of xz and of Kneser-Ney, both given the training texts; xz alone too."""
    known, new = [text.encode() for text in train], [text.encode() for text in heldout]
    with progress("baselines", 2) as advance:
        compressed = xz_bits_per_byte(known, new)
        advance(1, "xz done")
        ngrams = kneser_ney.train(known, order).bits_per_byte(new)
        advance(1, "Kneser-Ney done")
    return {"xz": compressed.given_training, "xz_alone": compressed.alone, "kneser_ney": ngrams}


def tasks(engine: Engine, heldout: Sequence[str], config: EvaluateConfig) -> dict[str, Any]:
    """The likelihood task, where the held-out texts are long enough for it."""
    questions = continuation_questions(heldout, config.continuation_questions, config.seed)
    questions = [question for question in questions if fits(engine, question)]
    return {"continuation": {"accuracy": asdict(continuation_accuracy(engine, questions))}} if questions else {}
