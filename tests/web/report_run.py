"""A quickstart run as its stages would leave it: folders, results and metrics with numbers of a realistic size."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

TASKS = ("add", "copy", "count", "reverse", "sort")
ROLES = {"matrices": 0.8, "embedding": 0.03, "rest": 0.2}


def write_stage(run: Path, stage: str, result: dict[str, Any], metrics: Sequence[dict[str, Any]] = ()) -> None:
    folder = run / stage
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "result.json").write_text(json.dumps({"fingerprint": "f" * 24, **result}))
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in metrics))


def share(correct: int, n: int) -> dict[str, float]:
    """A proportion with its Wilson interval."""
    p, z = correct / n, 1.96
    centre, spread = (p + z * z / 2 / n), z * math.sqrt(p * (1 - p) / n + z * z / 4 / n / n)
    scale = 1 + z * z / n
    return {
        "estimate": p,
        "low": (centre - spread) / scale,
        "high": (centre + spread) / scale,
        "correct": correct,
        "n": n,
    }


def corpus(run: Path) -> None:
    counts = (("read", 249, 0, {}), ("clean", 249, 0, {}), ("language", 248, 1, {"not_english": 1}), ("heuristics", 244,
        4, {"too_short": 3, "repetition": 1}), ("pii", 244, 0, {}), ("exact_duplicates", 243, 1, {"same": 1}),
        ("near_duplicates", 240, 3, {"minhash": 3}), ("split", 240, 0, {}), ("decontaminate", 240, 0, {}))  # fmt: skip
    funnel = [{"stage": stage, "documents": left, "dropped": dropped, "bytes": left * 49_812, "reasons": reasons}
        for stage, left, dropped, reasons in counts]  # fmt: skip
    splits = {"train": {"documents": 228, "bytes": 11_402_113}, "heldout": {"documents": 12, "bytes": 629_004}}
    cleaning = {"footnotes": 1242, "bracket_notes": 96}
    decontamination = {"ngram": 13, "matches": 0}
    write_stage(run, "corpus", {"seconds": 8.412, "funnel": funnel, "splits": splits, "cleaning": cleaning,
        "pii": {"email": 2, "phone": 0, "ip_address": 0}, "decontamination": decontamination})  # fmt: skip


def tokenizer(run: Path) -> None:
    compared = (("bpe", 4096, 4.391, 0.0), ("byte", 256, 1.0, 0.0), ("character", 118, 1.002, 0.00012),
        ("word", 4096, 5.127, 0.0843))  # fmt: skip
    rows = [{"name": name, "vocab_size": size, "bytes_per_token": ratio, "unknown_share": unknown,
        "tokens": round(629_004 / ratio)} for name, size, ratio, unknown in compared]  # fmt: skip
    write_stage(run, "tokenizer", {"seconds": 6.05, "vocab_size": 4096, "bytes_per_token": 4.391, "comparison": rows})


def pretrain(run: Path, steps: int = 560, stage: str = "pretrain") -> None:
    rng = random.Random(7)
    lines: list[dict[str, Any]] = []
    for step in range(1, steps + 1):
        done = step / steps
        lines.append({
            "step": step, "loss": 3.02 + 5.3 * math.exp(-step / 45) + 0.6 * (1 - done) + rng.gauss(0, 0.06),
            "learning_rate": 2e-3 * min(step / 40, 0.1 + 0.45 * (1 + math.cos(math.pi * done))),
            "gradient_norm": 0.4 + 2 * math.exp(-step / 20) + abs(rng.gauss(0, 0.08)),
            "tokens_per_second": rng.gauss(8350, 140) if step > 1 else 1900.0, "mfu": rng.gauss(0.475, 0.008),
            "tokens": step * 4096, "seconds": step * 0.49, "skipped": int(step == 77),
            "memory_bytes": 812_345_678 + step, "epochs_corpus": step / 400,
            **{f"gradient_norm_{role}": size * math.exp(-step / 90) for role, size in ROLES.items()},
            **{f"update_ratio_{role}": size * 1e-3 for role, size in ROLES.items()},
        })  # fmt: skip
        if step % 80 == 0:
            bits = 1.24 + 1.3 * math.exp(-step / 160)
            lines.append({"step": step, "validation_bits_per_byte": bits})
            lines.append({"step": step, "averaged_bits_per_byte": bits - 0.01})
    write_stage(run, stage, {"seconds": 281.377, "parameters": 6_912_256, "steps": steps, "tokens": steps * 4096,
        "tokens_per_second": 8349.21, "mfu": 0.4751, "peak_flops_per_second": 7.21e11, "epochs": {"corpus": 1.4},
        "validation_bits_per_byte": 1.2743, "train_loss": 3.0471}, lines)  # fmt: skip
    samples = [{"step": step, "prompt": prompt, "text": f"the text of step {step}"}
        for step in range(10, steps + 1, 10) for prompt in ("", "The")]  # fmt: skip
    (run / stage / "samples.jsonl").write_text("".join(json.dumps(sample) + "\n" for sample in samples))


def evaluate(run: Path) -> None:
    text = (" the people of the United States have reason to rejoice in the continued peace and prosperity of the "
        "country. The reports of the several Departments, herewith submitted, will show in detail the operations of "
        "the Government during the fiscal year.\n\nOur relations with foreign powers remain friendly.")  # fmt: skip
    samples = [
        {"prompt": "Fellow citizens,", "text": text},
        {"prompt": "The economy", "text": "The economy of the Government" + text[96:]},
    ]
    result = {
        "seconds": 21.6,
        "bits_per_byte": {"model": 1.25731, "xz": 1.7204, "xz_alone": 2.1602, "kneser_ney": 1.5518},
        "bits_per_byte_interval": {"low": 1.2391, "high": 1.2766},
        "heldout": {"documents": 12, "bytes": 629_004},
        "samples": samples,
        "tasks": {"next_word": {"accuracy": share(61, 200)}},
    }
    write_stage(run, "evaluate", result)


def align(run: Path, stage: str, correct: int, final: float, gain: tuple[float, float, float] | None) -> None:
    rng = random.Random(stage)
    by_task = {task: share(max(1, round(correct / 5 * weight)), 80)
        for task, weight in zip(TASKS, (0.6, 1.5, 1.2, 1.0, 0.7), strict=True)}  # fmt: skip
    prompts = ("Sort: 5 2 9 1", "Reverse: planet", "Add: 17 + 25", "Count the letter e in: here we are")
    answers = ("1 2 5 9", "tenalp", "42" if final > 0.4 else "32", "4" if final > 0.4 else "3")
    samples = [{"prompt": prompt, "expected": wanted, "answer": answer, "correct": wanted == answer} for prompt, wanted,
        answer in zip(prompts, ("1 2 5 9", "tenalp", "42", "5"), answers, strict=True)]  # fmt: skip
    result: dict[str, Any] = {"seconds": {"sft": 24.8, "grpo": 142.1, "control": 140.7}[stage], "steps": 60,
        "accuracy": share(correct, 400), "accuracy_by_task": by_task, "pass_at_k": {"1": correct / 400, "8": 0.79},
        "samples": samples}  # fmt: skip
    if gain is not None:
        result["gain"] = dict(zip(("estimate", "low", "high"), gain, strict=True))
    lines: list[dict[str, Any]] = []
    for step in range(1, 61):
        rise = 1 / (1 + math.exp(-(step - 30) / 6))
        reward = (0.5 if stage == "control" else 0.31 + (final - 0.31) * rise) + rng.gauss(0, 0.04)
        if stage == "sft":
            lines.append({"step": step, "loss": 0.3 + 2.4 * math.exp(-step / 12) + rng.gauss(0, 0.04)})
            continue
        lines.append({
            "step": step, "reward": reward, "entropy": 0.86 - (0.4 * rise if stage == "grpo" else 0.01),
            "kl": 0.004 * step if stage == "grpo" else 0.0007 * step, "clip_fraction_low": 0.01,
            "clip_fraction_high": 0.02, "zero_std_fraction": 0.2 + 0.3 * rise, "truncated": 0.01,
            "ratio_max": 1.4 + rng.random(),
            "length_mean": 6 + rng.random(), "gradient_norm": 0.4 + rng.random() / 5,
        })  # fmt: skip
        if step % 15 == 0:
            lines[-1]["heldout_accuracy"] = 0.31 + (final - 0.31) * rise
    write_stage(run, stage, result, lines)


def whole_run(run: Path) -> Path:
    """A finished quickstart, long form (with the control)."""
    run.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps({"recipe": "quickstart", "seed": 1}))
    (run / "provenance.json").write_text(json.dumps({
        "groundup": "0.1.0", "git": {"commit": "0" * 40, "dirty": ""}, "argv": ["groundup", "quickstart"],
        "started": "2026-11-22T10:00:00+0000", "python": "3.11.7", "libraries": {"torch": "2.13.0", "numpy": "2.4.6"},
        "hardware": {"processor": "Example CPU", "cores": 2, "memory_bytes": 16_000_000_000, "platform": "Linux"},
        "fingerprint": "ab" * 12,
    }))  # fmt: skip
    corpus(run)
    tokenizer(run)
    pretrain(run)
    evaluate(run)
    align(run, "sft", 125, 0.31, None)
    align(run, "grpo", 209, 0.52, (0.21, 0.152, 0.268))
    align(run, "control", 127, 0.32, (0.005, -0.021, 0.031))
    return run
