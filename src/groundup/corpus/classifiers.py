"""Quality, toxicity, subject: a classifier from labelled texts, measured on texts that it has not seen, and its use.

    train_classifier(documents, config, folder)     model, result.json and card.md (a model card) in a folder
    grade(documents, model, config)                 the score of each document, and whether a rule keeps it

The held-out split is by hash(seed, text) < fraction: equal texts never stand on both sides, and more texts move none.
For a label that is looked for (`positive`) the result has precision and recall at each threshold. Rules for keeping:

    threshold    score >= threshold
    pareto       Pareto(9) > 1 - score, the rule of GPT-3 (arXiv:2005.14165, appendix A): it keeps nearly all good
                 documents and some of the others, so that the corpus does not narrow to what the classifier knows

A quality classifier of hashed bigrams is what DCLM found best among eight ways (arXiv:2406.11794, section 4.4).
"""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np

from groundup.core.errors import InputError
from groundup.core.files import new_directory, require_file, write_json, write_text
from groundup.corpus.classifier_card import measure_labels, measure_thresholds, model_card, roc_auc
from groundup.corpus.classifier_config import ClassifierConfig, GradeConfig
from groundup.corpus.documents import Document, drop, repair_surrogates
from groundup.corpus.fasttext.predictor import FastText
from groundup.corpus.fasttext.quantization import quantize
from groundup.corpus.fasttext.training import train_fasttext
from groundup.corpus.reading.formats import read_documents
from groundup.corpus.reading.opening import opened

PARETO_SHAPE = 9
Labelled = list[tuple[str, str]]  # (text, label)


def read_labelled(places: Sequence[str], label_field: str = "label") -> Labelled:
    """Texts with labels: `LABEL=PATH` gives all documents of a file or folder that label, a bare path must be a JSONL
    file whose lines have `text` and the field of the label."""
    found: Labelled = []
    for place in places:
        label, equals, path = place.partition("=")
        if equals and not Path(place).exists():
            found += [(document.text, label) for document in read_documents([Path(path)])]
        else:
            found += _json_lines(Path(place), label_field)
    return found


def train_classifier(
    labelled: Labelled, config: ClassifierConfig, folder: Path, report: Callable[[int, float], None] | None = None
) -> dict[str, Any]:
    """Train on one part, measure on the other; returns what `result.json` holds."""
    train, heldout, left_out = _split(labelled, config)
    model = train_fasttext([text for text, _ in train], [label for _, label in train], config.model, report)
    positive = None if config.positive is None else model.labels[model.column(config.positive)]
    if config.quantize:
        model = FastText(replace(model.file, input=quantize(model.file.input)))  # pyright: ignore[reportArgumentType]
    truth = [label for _, label in heldout]
    if unknown := set(truth) - set(model.labels):
        raise InputError(
            f"All texts with the label {min(unknown)!r} fell into the held-out part; give more, or another seed."
        )
    scores_NL = model.probabilities([text for text, _ in heldout])
    counts = Counter(label for _, label in train)
    result = {
        "config": asdict(config),
        "file": "model.ftz" if config.quantize else "model.bin",
        "train": {label: counts[label] for label in model.labels},
        "heldout": {label: truth.count(label) for label in model.labels},
        "left_out": left_out,
        **measure_labels(scores_NL, truth, model.labels),
        "positive": positive,
        "thresholds": [],
    }
    if positive is not None:
        scores, of_label = scores_NL[:, model.column(positive)], np.array([label == positive for label in truth])
        result["roc_auc"] = roc_auc(scores, of_label)
        result["thresholds"] = measure_thresholds(scores, of_label)
    with new_directory(folder) as new:
        model.save(new / result["file"])
        write_json(new / "result.json", result)
        write_text(new / "card.md", model_card(result))
    return result


def grade(documents: Sequence[Document], model: FastText, config: GradeConfig) -> list[Document]:
    """The documents with their score in `meta`; what the rule does not keep is dropped with its reason. Those that are
    dropped already stay as they are."""
    column = None if config.rule == "most_likely" else model.column(config.label)
    kept = [document for document in documents if document.drop_reason is None]
    scores_NL = model.probabilities([one.text[: config.most_characters] for one in kept])
    if column is None:
        found = ((model.labels[best], row[best]) for row in scores_NL.tolist() for best in [row.index(max(row))])
        return [one if one.drop_reason else _labelled(one, *next(found), config) for one in documents]
    scores = iter(scores_NL[:, column].tolist())
    return [one if one.drop_reason else _graded(one, next(scores), config) for one in documents]


def pareto_keeps(score: float, identity: str, seed: int = 0) -> bool:
    """Whether a draw from Pareto(9), a function of the document's id and the seed, is above 1 - score."""
    return _uniform(identity, seed) ** (-1 / PARETO_SHAPE) - 1 > 1 - score


def _labelled(document: Document, label: str, score: float, config: GradeConfig) -> Document:
    found = {config.name: label, f"{config.name}_score": min(round(score, 6), 1.0)}
    return replace(document, meta=document.meta | found)


def _graded(document: Document, score: float, config: GradeConfig) -> Document:
    score = min(round(score, 6), 1.0)
    document = replace(document, meta={**document.meta, config.name: score})
    wanted = score if config.above else 1 - score
    if config.rule == "threshold" and wanted < (config.threshold if config.above else 1 - config.threshold):
        side = "below" if config.above else "above"
        return drop(document, "classifier", f"{config.name}_{side}_{config.threshold:g}")
    if config.rule == "pareto" and not pareto_keeps(wanted, document.id, config.seed):
        return drop(document, "classifier", f"{config.name}_not_drawn")
    return document


def _split(labelled: Labelled, config: ClassifierConfig) -> tuple[Labelled, Labelled, dict[str, int]]:
    """(to train on, to measure with, why how many are in neither)."""
    train: Labelled = []
    heldout: Labelled = []
    labels: dict[str, set[str]] = {}
    cut = [(text[: config.most_characters], label) for text, label in labelled]
    for text, label in cut:
        labels.setdefault(text, set()).add(label)
    seen: set[str] = set()
    left_out: Counter[str] = Counter()
    for text, label in cut:
        if not text.strip():
            left_out["empty"] += 1
        elif len(labels[text]) > 1:
            left_out["has two labels"] += 1
        elif text in seen:
            left_out["copy"] += 1
        else:
            seen.add(text)
            (heldout if _uniform(text, config.seed) < config.held_out_fraction else train).append((text, label))
    if not train or not heldout:
        raise InputError(
            f"{len(train)} texts are left to train on and {len(heldout)} to measure with; give more of them "
            f"({dict(left_out) or 'none'} left out)."
        )
    return train, heldout, dict(left_out)


def _uniform(text: str, seed: int) -> float:
    """A number in (0, 1] from a text and a seed."""
    digest = blake2b(text.encode(errors="surrogatepass"), digest_size=8, salt=seed.to_bytes(8, "little")).digest()
    return (int.from_bytes(digest, "little") + 1) / 2**64


def _json_lines(path: Path, label_field: str) -> Labelled:
    found: Labelled = []
    with opened(require_file(path)) as (file, _):
        for number, line in enumerate(file, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except ValueError as error:
                raise InputError(
                    f"{path} line {number} is not JSON ({error}); each line must be one object."
                ) from error
            if not isinstance(record, dict) or not isinstance(record.get("text"), str) or label_field not in record:
                raise InputError(
                    f"{path} line {number} has no text with a {label_field!r}; each line must look like "
                    f'{{"text": "...", "{label_field}": "..."}}, or give the label as LABEL={path}.'
                )
            found.append((repair_surrogates(record["text"]), str(record[label_field])))
    return found
