"""What a report is drawn from: a run's folders read into one record, and the numbers that sum it up.

    runs/<name>/{corpus,tokenizer,pretrain,evaluate,sft,grpo,control}/{result.json, metrics.jsonl, samples.jsonl}

Every stage may be missing, or started and not finished (metrics without a result). A folder that is itself one stage,
such as the output of `groundup pretrain`, is a record with that stage alone. Numbers are read through `number`, which
takes what is absent or not finite for None, so that a report of half a run says "–" and never invents a value.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from groundup.core.errors import InputError, MissingError
from groundup.core.files import read_json
from groundup.core.runs import read_metrics, read_samples

STAGES = ("corpus", "tokenizer", "pretrain", "evaluate", "sft", "grpo", "control")
BASELINES = ("model", "kneser_ney", "xz")
ALIGNED = ("sft", "grpo", "control")
SIGNATURES = {  # a key of result.json or metrics.jsonl that only this stage writes
    "corpus": "funnel",
    "tokenizer": "comparison",
    "pretrain": "validation_bits_per_byte",
    "evaluate": "heldout",
    "grpo": "reward",
    "sft": "accuracy",
}


@dataclass(frozen=True)
class StageRecord:
    """One stage: its `result.json` (empty while unfinished), the lines of its `metrics.jsonl`, and its samples."""

    result: dict[str, Any]
    metrics: list[dict[str, Any]]
    samples: list[dict[str, Any]]

    @property
    def finished(self) -> bool:
        return bool(self.result)


@dataclass(frozen=True)
class RunRecord:
    """A run as the report sees it; `stages` holds only those that are there, in the order of the story."""

    name: str
    stages: dict[str, StageRecord]
    config: dict[str, Any]
    provenance: dict[str, Any]

    def result(self, stage: str) -> dict[str, Any]:
        """The result of a stage, empty where there is none."""
        return self.stages[stage].result if stage in self.stages else {}

    def metrics(self, stage: str) -> list[dict[str, Any]]:
        """The logged steps of a stage, empty where there are none."""
        return self.stages[stage].metrics if stage in self.stages else []

    def samples(self, stage: str) -> list[dict[str, Any]]:
        """What a stage's model wrote on the way, empty where nothing was kept."""
        return self.stages[stage].samples if stage in self.stages else []


def collect(run: Path) -> RunRecord:
    """Read a run folder; `MissingError` where it holds no stage, `InputError` where a file is not what it should be."""
    if not run.is_dir():
        raise MissingError(f"There is no run folder {run}; `groundup runs` lists the runs.")
    stages = {name: record for name in STAGES if (record := _stage(run / name)) is not None}
    if not stages and (whole := _stage(run)) is not None:
        stages = {_guess(whole): whole}
    if not stages:
        known = ", ".join(STAGES)
        raise MissingError(f"{run} holds no result of a stage ({known}); give the folder of a run, such as runs/NAME.")
    name = run.resolve().name
    return RunRecord(name, stages, _read_object(run / "config.json"), _read_object(run / "provenance.json"))


def summary(record: RunRecord) -> dict[str, Any]:
    """The numbers of `summary.json` and of the page's headline: the same keys for every run, None where unknown.

    `bits_per_byte` is of the held-out documents; `accuracy` and `gain` are fractions with 95 % intervals, `gain` being
    the paired difference to SFT; `seconds` counts each stage's own wall time.
    """
    pretrain, tokenizer = record.result("pretrain"), record.result("tokenizer")
    evaluated = record.result("evaluate")
    seconds = {name: number(stage.result, "seconds") for name, stage in record.stages.items()}
    known_seconds = [value for value in seconds.values() if value is not None]
    return {
        "run": record.name,
        "bits_per_byte": {name: number(evaluated, "bits_per_byte", name) for name in BASELINES},
        "bits_per_byte_interval": {end: number(evaluated, "bits_per_byte_interval", end) for end in ("low", "high")},
        "accuracy": {name: interval(record.result(name).get("accuracy")) for name in ALIGNED},
        "gain": {name: interval(record.result(name).get("gain")) for name in ALIGNED[1:]},
        "seconds": seconds,
        "total_seconds": math.fsum(known_seconds) if known_seconds else None,
        "tokens_per_second": number(pretrain, "tokens_per_second"),
        "mfu": number(pretrain, "mfu"),
        "parameters": number(pretrain, "parameters"),
        "training_steps": number(pretrain, "steps"),
        "training_tokens": number(pretrain, "tokens"),
        "validation_bits_per_byte": number(pretrain, "validation_bits_per_byte"),
        "vocab_size": number(tokenizer, "vocab_size"),
        "bytes_per_token": number(tokenizer, "bytes_per_token"),
    }


def number(values: Any, *path: str) -> float | None:  # noqa: ANN401 - JSON values
    """The finite number at a path of keys, or None."""
    for key in path:
        values = values.get(key) if isinstance(values, Mapping) else None
    if isinstance(values, bool) or not isinstance(values, int | float) or not math.isfinite(values):
        return None
    return values


def interval(values: Any) -> dict[str, float | None] | None:  # noqa: ANN401 - JSON values
    """An estimate with its bounds, and with the counts behind it where they are known; None without an estimate."""
    if number(values, "estimate") is None:
        return None
    counts = {key: count for key in ("correct", "n") if (count := number(values, key)) is not None}
    return {key: number(values, key) for key in ("estimate", "low", "high")} | counts


def rows(values: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - JSON values
    """The objects of a JSON list; anything else is left out."""
    return [row for row in values if isinstance(row, dict)] if isinstance(values, list) else []


def series(metrics: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Steps and values of one metric, where both are finite numbers."""
    points = [(number(line, "step"), number(line, key)) for line in metrics]
    known = [(step, value) for step, value in points if step is not None and value is not None]
    return [step for step, _ in known], [value for _, value in known]


def count_not_finite(metrics: Sequence[Mapping[str, Any]], key: str) -> int:
    """How many logged values of a metric are NaN or infinite: a diverged run must not look like a short one."""
    values = (line.get(key) for line in metrics)
    return sum(isinstance(value, float) and not math.isfinite(value) for value in values)


def _stage(directory: Path) -> StageRecord | None:
    result, metrics = _read_object(directory / "result.json"), rows(read_metrics(directory))
    return StageRecord(result, metrics, rows(read_samples(directory))) if result or metrics else None


def _guess(record: StageRecord) -> str:
    """Which stage wrote a folder, by the keys that it left."""
    keys = set(record.result).union(*record.metrics)
    return next((name for name, key in SIGNATURES.items() if key in keys), "pretrain")


def _read_object(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    value = read_json(path)
    if not isinstance(value, dict):
        raise InputError(f"{path} should hold a JSON object; delete it and run its stage again.")
    return value
