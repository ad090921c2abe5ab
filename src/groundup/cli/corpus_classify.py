"""`groundup corpus classify`: a classifier's score for each document, and a rule by which they are kept."""

from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from groundup.corpus.classifier_config import GradeConfig


@dataclass(frozen=True)
class Args:
    """Give every document its score by a classifier in fastText's format, and keep by a rule if one is asked for.

    The score stands in "meta" under --grade.name. What a rule drops is written beside, each with its reason.
    --grade.rule pareto keeps a document of score s with probability (2 - s)^-9, as GPT-3's corpus did.

    --grade.rule most_likely writes the most likely label down (a topic, a kind of page), for groundup corpus mix --by.

    examples:
      groundup corpus classify --model classifiers/quality/model.bin --input texts.jsonl --out scored.jsonl
      groundup corpus classify --model q.bin --input texts.jsonl --out good.jsonl --grade.rule threshold
      groundup corpus classify --model t.bin --input texts.jsonl --out mild.jsonl --grade.name toxicity \\
        --grade.label toxic --grade.rule threshold --grade.threshold 0.8 --grade.no-above
      groundup corpus classify --model topics.bin --input texts.jsonl --out topics.jsonl --grade.name topic \\
        --grade.rule most_likely
    """

    model: Path
    """A .bin or .ftz of fastText, ours or another's."""
    input: tuple[Path, ...]
    """Files and folders of documents."""
    out: Path
    """The .jsonl file to write, or .jsonl.gz or .jsonl.zst."""
    grade: GradeConfig = field(default_factory=GradeConfig)


def run(args: Args) -> None:
    """Score, write, and say how many stay."""
    from groundup.cli.corpus_dedup import write_kept_and_rejected
    from groundup.corpus.classifiers import grade
    from groundup.corpus.fasttext.predictor import load_fasttext
    from groundup.corpus.reading.formats import read_documents

    done = grade(read_documents(args.input), load_fasttext(args.model), args.grade)
    if args.grade.rule == "most_likely":
        labels = Counter(str(document.meta[args.grade.name]) for document in done)
        print(", ".join(f"{label} {count:,}" for label, count in labels.most_common()))
    kept, rejected = write_kept_and_rejected(args.out, done)
    counts = Counter(document.drop_reason for document in done if document.drop_reason)
    told = ", ".join(f"{count:,} {reason}" for reason, count in counts.items()) or "none dropped"
    print(f"{kept:,} of {len(done):,} documents stay ({told}): {args.out}; others: {rejected}")
