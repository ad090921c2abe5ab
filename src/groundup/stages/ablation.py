"""Ablation: variants of a pretraining at equal compute, several seeds each, and a table with intervals.

<out>/<variant>/seed_0 ...    the runs, each whole or resumed, reused where only other variants have changed
     table.md, ablation.png   what came out, as text and as a picture
     result.json              the numbers behind them
"""

import time
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from groundup.accounting.language_model import parameters, training_flops_per_token
from groundup.core.files import clear_temporaries, write_bytes, write_text
from groundup.core.logging import get_logger
from groundup.core.runs import Run
from groundup.evaluation.statistics import mean_of_few
from groundup.stages.config import AblationConfig, PretrainConfig, Variant
from groundup.stages.pretrain import run_pretrain
from groundup.tokenization.bpe import BytePairTokenizer
from groundup.training.loop import Diverged
from groundup.web.ablation_chart import ablation_chart

logger = get_logger(__name__)


def run_ablation(config: AblationConfig, corpus: Path, tokenizer: Path, out: Path) -> dict[str, Any]:
    """Train every variant with every seed; returns the result, whose rows are in the order of the variants."""
    variants = at_equal_compute(config.variants, BytePairTokenizer.load(tokenizer).vocab_size)
    started = time.perf_counter()
    with Run(out, config, of_runs=True) as run:
        results: dict[str, list[dict[str, Any] | None]] = {variant.name: [] for variant in variants}
        for seed in range(config.seeds):  # seeds outside: an early look sees every variant
            for number, variant in enumerate(variants, 1):
                logger.info("seed %d, variant %d of %d: %s", seed, number, len(variants), variant.name)
                pretrain = replace(variant.pretrain, seed=variant.pretrain.seed + seed)
                folder = out / variant.name.replace(" ", "_") / f"seed_{seed}"
                results[variant.name].append(trained(pretrain, corpus, tokenizer, folder))
        rows = [row(variant, results[variant.name], results[variants[0].name]) for variant in variants]
        clear_temporaries(out)
        write_text(out / "table.md", as_markdown(rows))
        write_bytes(out / "ablation.png", ablation_chart(rows))
        return run.finish({"seconds": time.perf_counter() - started, "rows": rows})


def at_equal_compute(variants: tuple[Variant, ...], vocab_size: int) -> list[Variant]:
    """The variants with the tokenizer's vocabulary and as many steps as the base's FLOPs allow them."""
    sized = [replace(each.pretrain, model=replace(each.pretrain.model, vocab_size=vocab_size)) for each in variants]
    budget = sized[0].steps * step_flops(sized[0])
    steps = [max(1, round(budget / step_flops(each))) for each in sized]
    whole = [
        replace(each, steps=count, evaluate_every=count, checkpoint_every=count)
        for each, count in zip(sized, steps, strict=True)
    ]
    return [Variant(variant.name, each) for variant, each in zip(variants, whole, strict=True)]


def step_flops(config: PretrainConfig) -> int:
    """FLOPs of a training step."""
    return config.batch_size * config.model.context_length * training_flops_per_token(config.model)


def trained(config: PretrainConfig, corpus: Path, tokenizer: Path, folder: Path) -> dict[str, Any] | None:
    """The result of one run, None where it diverged."""
    try:
        return run_pretrain(config, corpus, tokenizer, folder)
    except Diverged as error:
        logger.warning("%s", error)
        return None


def row(variant: Variant, results: list[dict[str, Any] | None], base: list[dict[str, Any] | None]) -> dict[str, Any]:
    """One variant in numbers. Differences from the base are between runs of one seed, which see the same data in the
    same order as far as both go."""
    config = variant.pretrain
    values = [each["validation_bits_per_byte"] for each in results if each is not None]
    pairs = [
        each["validation_bits_per_byte"] - other["validation_bits_per_byte"]
        for each, other in zip(results, base, strict=True)
        if each is not None and other is not None
    ]
    return {
        "name": variant.name,
        "bits_per_byte": interval(values),
        "difference": interval(pairs) if results is not base else None,
        "runs": values,
        "diverged": len(results) - len(values),
        "parameters": parameters(config.model),
        "flops_per_token": training_flops_per_token(config.model),
        "steps": config.steps,
        "tokens": config.steps * config.batch_size * config.model.context_length,
        "seconds": fmean(each["seconds"] for each in results if each is not None) if values else None,
    }


def interval(values: list[float]) -> dict[str, float | None] | None:
    """Mean and 95 % interval as JSON values: none of nothing, no bounds of one."""
    if not values:
        return None
    found = mean_of_few(values)
    low, high = (found.low, found.high) if len(values) > 1 else (None, None)
    return {"estimate": found.estimate, "low": low, "high": high}


def as_markdown(rows: list[dict[str, Any]]) -> str:
    """The table of a report."""
    lines = [
        "| variant | bits per byte | difference, 95 % interval | parameters | tokens | seconds |",
        "|---|---|---|---|---|---|",
    ]
    lines += [f"| {' | '.join(cells(each))} |" for each in rows]
    return "\n".join(lines) + "\n"


def cells(row: dict[str, Any]) -> list[str]:
    """A row as the table shows it."""
    bits, difference = row["bits_per_byte"], row["difference"]
    runs = len(row["runs"]) + row["diverged"]
    shown = "diverged" if bits is None else f"{bits['estimate']:.3f}"
    if bits is not None and row["diverged"]:
        shown += f" ({row['diverged']} of {runs} diverged)"
    interval = ""
    if difference is not None:
        interval = f"{difference['estimate']:+.3f}"
        if difference["low"] is not None:
            interval += f" ({difference['low']:+.3f} to {difference['high']:+.3f})"
    seconds = "" if row["seconds"] is None else f"{row['seconds']:.0f}"
    return [row["name"], shown, interval, f"{row['parameters'] / 1e6:.2f} M", f"{row['tokens'] / 1e6:.2f} M", seconds]
