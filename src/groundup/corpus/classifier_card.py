"""What a classifier is worth on texts that it has not seen, in numbers and as a model card (arXiv:1810.03993).

With the held-out texts that are of a label (positives) and those that are said to be (found):
precision = both / found, recall = both / positives, F1 = their harmonic mean.
ROC AUC is the probability that a positive text scores above a negative one, ties counting half.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

THRESHOLDS = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99)


def measure_labels(scores_NL: NDArray[np.float32], truth: list[str], labels: list[str]) -> dict[str, Any]:
    """Accuracy, that of always saying the most frequent label, and each label's figures when the likeliest is said."""
    said = np.array([labels[column] for column in scores_NL.argmax(axis=1)])
    true = np.array(truth)
    return {
        "accuracy": float((said == true).mean()),
        "majority": max(truth.count(label) for label in labels) / len(truth),
        "labels": {label: _figures(said == label, true == label) for label in labels},
    }


def measure_thresholds(scores: NDArray[np.float32], positives: NDArray[np.bool_]) -> list[dict[str, float]]:
    """The figures of one label at each threshold, and the share of texts at or above it."""
    return [
        {
            "threshold": threshold,
            **_figures(scores >= threshold, positives),
            "share": float((scores >= threshold).mean()),
        }
        for threshold in THRESHOLDS
    ]


def roc_auc(scores: NDArray[np.float32], positives: NDArray[np.bool_]) -> float:
    """Mann and Whitney's statistic: from the ranks of the scores, equal ones sharing their mean rank."""
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(counts) - (counts - 1) / 2)[inverse]
    found, others = int(positives.sum()), int((~positives).sum())
    return float((ranks[positives].sum() - found * (found + 1) / 2) / (found * others)) if found and others else 0.0


def model_card(result: dict[str, Any]) -> str:
    """The card as Markdown: what it is, from what, how good on which texts, how to use it, what it cannot do."""
    config, model = result["config"], result["config"]["model"]
    lines = [
        f"# Classifier: {config['name']}",
        "",
        f"A linear classifier over hashed word n-grams in fastText's format, `{result['file']}`; labels "
        + ", ".join(f"`{label}`" for label in result["train"])
        + ".",
        "",
        "## Training",
        "",
        f"- width {model['width']}, word n-grams up to {model['word_ngrams']}, subwords "
        + (
            f"{model['shortest_subword']} to {model['longest_subword']} characters"
            if model["longest_subword"]
            else "none"
        )
        + f", {model['buckets']:,} buckets, {model['epochs']} epochs, learning rate {model['learning_rate']}, "
        f"loss {model['loss']}, seed {model['seed']}",
        f"- the first {config['most_characters']:,} characters of each text; no other preparation",
        f"- held out: {config['held_out_fraction']:.0%} by a hash of the text; left out: {_told(result['left_out'])}",
        "",
        "| label | texts trained on | held out | precision | recall | F1 |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for label, figures in result["labels"].items():
        numbers = " | ".join(f"{figures[name]:.3f}" for name in ("precision", "recall", "f1"))
        lines.append(f"| {label} | {result['train'][label]:,} | {result['heldout'][label]:,} | {numbers} |")
    lines += ["", f"Accuracy {result['accuracy']:.4f} on the held-out texts; the most frequent label alone "
              f"{result['majority']:.4f}.", ""]  # fmt: skip
    if result["thresholds"]:
        lines += [
            f"## Thresholds for `{result['positive']}`",
            "",
            f"ROC AUC {result['roc_auc']:.4f}. Precision depends on how frequent the label is: here "
            f"{result['heldout'][result['positive']]:,} of {sum(result['heldout'].values()):,} held-out texts.",
            "",
            "| score at least | precision | recall | F1 | share of texts |",
            "|---:|---:|---:|---:|---:|",
        ]
        lines += [
            f"| {row['threshold']:g} | "
            + " | ".join(f"{row[n]:.3f}" for n in ("precision", "recall", "f1", "share"))
            + " |"
            for row in result["thresholds"]
        ]
        lines.append("")
    return "\n".join([*lines, *_use(result)])


def _use(result: dict[str, Any]) -> list[str]:
    name, label = result["config"]["name"], result["positive"] or next(iter(result["train"]))
    return [
        "## Use",
        "",
        "```",
        f"groundup corpus classify --model {result['file']} --input texts.jsonl --out scored.jsonl "
        f"--grade.name {name} --grade.label {label}",
        "```",
        "",
        "## Limits",
        "",
        "The classifier knows words, not meaning, and only kinds of text that it was trained on: it tells the sources "
        "of its labels apart, by subject and style too. The figures hold for texts drawn as the held-out ones were. "
        "Look at samples on both sides of a threshold before dropping anything by it.",
        "",
    ]


def _figures(found: NDArray[np.bool_], true: NDArray[np.bool_]) -> dict[str, float]:
    both, said, there = int((found & true).sum()), int(found.sum()), int(true.sum())
    precision = both / said if said else 0.0
    recall = both / there if there else 0.0
    return {"precision": precision, "recall": recall, "f1": 2 * both / (said + there) if said + there else 0.0}


def _told(counts: dict[str, int]) -> str:
    return ", ".join(f"{count:,} {why}" for why, count in counts.items()) or "none"
