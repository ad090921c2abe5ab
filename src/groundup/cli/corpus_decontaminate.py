"""`groundup corpus decontaminate`: what stands in evaluation texts out of files of documents, with a report."""

from dataclasses import dataclass, field
from pathlib import Path

from groundup.corpus.dedup.config import DecontaminationConfig


@dataclass(frozen=True)
class Args:
    """Drop documents of which too large a share stands word for word in evaluation texts, by n-grams of words.

    The report has every document with its number of matches, zero included, and of each evaluation file how many of its
    items training has an n-gram of and how many are too short to be checked at all.

    examples:
      groundup corpus decontaminate --input train.jsonl --evaluation mmlu.jsonl gsm8k.jsonl --out clean.jsonl
      groundup corpus decontaminate --input train.jsonl --evaluation a.txt --out clean.jsonl --decontamination.ngram 8
    """

    input: tuple[Path, ...]
    """Files and folders of documents."""
    evaluation: tuple[Path, ...]
    """Files of texts that training must not contain."""
    out: Path
    """The .jsonl file to write; the report is beside it."""
    decontamination: DecontaminationConfig = field(default_factory=DecontaminationConfig)


def run(args: Args) -> None:
    import json

    from groundup.cli.corpus_dedup import write_kept_and_rejected
    from groundup.core.files import write_text
    from groundup.corpus.reading.formats import read_documents
    from groundup.corpus.steps import decontaminate

    evaluation = {str(path): [document.text for document in read_documents([path])] for path in args.evaluation}
    done, overlaps, reports = decontaminate(read_documents(args.input), evaluation, args.decontamination)
    kept, rejected = write_kept_and_rejected(args.out, done)
    report = args.out.with_name(f"report-{args.out.name.split('.')[0]}.jsonl")
    write_text(report, "".join(json.dumps(overlap.entry()) + "\n" for overlap in overlaps))
    for name, found in reports.items():
        print(f"{name}: {found.matched:,} of {found.items:,} items are seen in training, {found.too_short:,} too short")
    matches, ngrams = (sum(getattr(overlap, field) for overlap in overlaps) for field in ("matches", "ngrams"))
    print(
        f"{kept:,} of {len(done):,} stay; {matches:,} of {ngrams:,} {args.decontamination.ngram}-grams match: "
        f"{args.out}; the others: {rejected}; every document's matches: {report}"
    )
