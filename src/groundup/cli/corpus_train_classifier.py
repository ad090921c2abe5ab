"""`groundup corpus train-classifier`: a text classifier from labelled texts, with its measured quality."""

from dataclasses import dataclass, field
from pathlib import Path

from groundup.corpus.classifier_config import ClassifierConfig


@dataclass(frozen=True)
class Args:
    """Train a classifier of texts (quality, toxicity, subject) and measure it on texts that it has not seen.

    --data takes LABEL=PATH, files or folders of documents that all have that label, or the path of a .jsonl file whose
    lines have "text" and "label". Writes the model in fastText's format, result.json, and card.md: what it was made
    from, precision and recall of each label and at each threshold, limits.

    examples:
      groundup corpus train-classifier --data good=handbook/ bad=crawl.jsonl --out classifiers/quality \\
        --classifier.name quality --classifier.positive good
      groundup corpus train-classifier --data comments.jsonl --out classifiers/toxic --classifier.positive toxic
      groundup corpus train-classifier --data subjects.jsonl --out classifiers/subject --classifier.quantize
    """

    data: tuple[str, ...]
    """LABEL=PATH, or JSON lines with labels of their own."""
    out: Path
    """The folder to write."""
    label_field: str = "label"
    """Where the label stands in JSON lines."""
    classifier: ClassifierConfig = field(default_factory=ClassifierConfig)


def run(args: Args) -> None:
    """Train, and print what the card begins with."""
    from groundup.core.progress import progress
    from groundup.corpus.classifiers import read_labelled, train_classifier

    labelled = read_labelled(args.data, args.label_field)
    with progress("training", args.classifier.model.epochs) as advance:
        result = train_classifier(labelled, args.classifier, args.out, lambda epoch, loss: advance(1))
    for label, figures in result["labels"].items():
        numbers = ", ".join(f"{name} {figures[name]:.3f}" for name in ("precision", "recall", "f1"))
        print(f"{label}: {numbers} ({result['train'][label]:,} trained on, {result['heldout'][label]:,} held out)")
    print(
        f"accuracy {result['accuracy']:.4f} (always the most frequent label: {result['majority']:.4f}); "
        f"{args.out / 'card.md'}; next: groundup corpus classify --model {args.out / result['file']} "
        "--input ... --out ..."
    )
