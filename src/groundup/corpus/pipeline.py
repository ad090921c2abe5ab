"""From documents as read to a corpus: every stage in order, with a funnel that accounts for every document.

read, clean, language, heuristics, PII, exact duplicates, near duplicates, split, decontaminate. A rejected document
keeps its text and carries `drop_stage` and `drop_reason`. Everything is a function of (documents, config).
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from groundup.core.errors import InputError
from groundup.corpus.cleaning import clean
from groundup.corpus.config import CorpusConfig
from groundup.corpus.decontamination import Overlap, overlaps
from groundup.corpus.deduplication import exact_clusters, near_clusters, survivor
from groundup.corpus.documents import Document, drop
from groundup.corpus.heuristics import gopher_fault
from groundup.corpus.language import language_fault
from groundup.corpus.pii import mask_pii
from groundup.corpus.split import split_documents

STAGES = (
    "read",
    "clean",
    "language",
    "heuristics",
    "pii",
    "exact_duplicates",
    "near_duplicates",
    "split",
    "decontaminate",
)
REMEDIES = {
    "clean": "give files with more than white space and notes",
    "language": "name the languages to keep with --language.keep, or none to keep all",
    "heuristics": "loosen its thresholds, or switch it off with --heuristics.no-enabled",
    "decontaminate": "raise --decontamination.max-overlap, or hold out less",
}


@dataclass
class Corpus:
    """What came out; `funnel` has one entry for each stage: what it dropped and why, and what was left after it."""

    train: list[Document] = field(default_factory=list)
    heldout: list[Document] = field(default_factory=list)
    rejected: list[Document] = field(default_factory=list)
    funnel: list[dict[str, Any]] = field(default_factory=list)
    cleaning: Counter[str] = field(default_factory=Counter)
    pii: Counter[str] = field(default_factory=Counter)
    overlaps: list[Overlap] = field(default_factory=list)

    def close_stage(self, documents: Sequence[Document], also_kept: Sequence[Document] = ()) -> list[Document]:
        """Enter the next stage in the funnel, put aside what it dropped, and give back what it kept.

        `also_kept` are documents that the stage did not look at but that are still in the corpus.
        """
        stage = STAGES[len(self.funnel)]
        dropped = [document for document in documents if document.drop_reason]
        kept = [document for document in documents if not document.drop_reason]
        self.rejected += dropped
        self.funnel.append(
            {
                "stage": stage,
                "documents": len(kept) + len(also_kept),
                "dropped": len(dropped),
                "bytes": sum(document.bytes for document in (*kept, *also_kept)),
                "reasons": dict(Counter(str(document.drop_reason) for document in dropped).most_common()),
            }
        )
        if not kept:
            reasons = ", ".join(f"{reason} {count}" for reason, count in self.funnel[-1]["reasons"].items())
            remedy = REMEDIES.get(stage, "give more text")
            raise InputError(f"No document is left after the stage {stage} ({reasons}); {remedy}.")
        return kept


def build_corpus(
    documents: Sequence[Document],
    config: CorpusConfig,
    evaluation: Sequence[str] = (),
    advance: Callable[..., None] = lambda *_: None,
) -> Corpus:
    """Run all stages; `evaluation` are texts beside the held-out split that training must not contain.

    `advance(1, name)` is called when a stage is done.
    """
    corpus = Corpus()

    def close(annotated: Sequence[Document]) -> list[Document]:
        kept = corpus.close_stage(annotated)
        advance(1, corpus.funnel[-1]["stage"])
        return kept

    kept = close(documents)
    kept = close([_cleaned(document, config, corpus.cleaning) for document in kept])
    languages: dict[str, str] = {}
    kept = close([_in_language(document, config, languages) for document in kept])
    kept = close([_gopher(document, config, languages[document.id]) for document in kept])
    kept = close([_masked(document, config, corpus.pii) for document in kept])
    kept = close(_keep_one(kept, exact_clusters(kept), "exact_duplicates", config.seed))
    clusters = near_clusters(kept, config.deduplication, config.seed)
    cluster_keys = {kept[place].id: min(kept[i].id for i in cluster) for cluster in clusters for place in cluster}
    kept = close(kept if config.deduplication.keep_near else _keep_one(kept, clusters, "near_duplicates", config.seed))
    train, corpus.heldout = split_documents(kept, config.held_out_fraction, config.seed, cluster_keys)
    close([*train, *corpus.heldout])
    corpus.overlaps = overlaps(train, [*(d.text for d in corpus.heldout), *evaluation], config.decontamination)
    corpus.train = corpus.close_stage(_decontaminated(train, corpus.overlaps, config), also_kept=corpus.heldout)
    advance(1, "decontaminate")
    return corpus


def _cleaned(document: Document, config: CorpusConfig, counts: Counter[str]) -> Document:
    asked = config.cleaning.editorial_notes
    text, changes = clean(document.text, editorial_notes=document.source == "sotu" if asked is None else asked)
    counts.update(changes)
    document = replace(document, text=text)
    return document if text else drop(document, "clean", "empty_after_cleaning")


def _in_language(document: Document, config: CorpusConfig, languages: dict[str, str]) -> Document:
    reason, languages[document.id] = language_fault(document.text, config.language)
    return drop(document, "language", reason) if reason else document


def _gopher(document: Document, config: CorpusConfig, language: str) -> Document:
    reason = gopher_fault(document.text, config.heuristics, language)
    return drop(document, "heuristics", reason) if reason else document


def _masked(document: Document, config: CorpusConfig, counts: Counter[str]) -> Document:
    if not config.mask_pii:
        return document
    text, found = mask_pii(document.text)
    counts.update(found)
    return replace(document, text=text)


def _keep_one(
    documents: Sequence[Document], clusters: Sequence[Sequence[int]], stage: str, seed: int
) -> list[Document]:
    """Of each cluster all but one are dropped; the reason names the one that stays, in `meta`."""
    copy_of: Mapping[int, str] = {
        place: documents[kept].id
        for cluster in clusters
        for kept in [survivor(documents, cluster, seed)]
        for place in cluster
        if place != kept
    }
    return [
        drop(replace(document, meta=document.meta | {"copy_of": copy_of[place]}), stage, f"copy_{stage.split('_')[0]}")
        if place in copy_of
        else document
        for place, document in enumerate(documents)
    ]


def _decontaminated(train: Sequence[Document], found: Sequence[Overlap], config: CorpusConfig) -> list[Document]:
    limit = config.decontamination.max_overlap
    return [
        drop(document, "decontaminate", "overlaps_evaluation") if overlap.fraction > limit else document
        for document, overlap in zip(train, found, strict=True)
    ]
