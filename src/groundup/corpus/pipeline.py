"""From documents as read to a corpus: every stage in order, with a funnel that accounts for every document.

read, addresses, clean, language, heuristics, words, models, PII, copies of addresses and of texts, repeated lines, near
copies, split, decontaminate. A rejected document keeps its text and carries `drop_stage` and `drop_reason`. Everything
is a function of (documents, config).
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from groundup.core.errors import InputError
from groundup.corpus.annotation import PII_KINDS, Annotated, annotate
from groundup.corpus.config import CorpusConfig
from groundup.corpus.dedup.decontamination import Overlap, overlaps
from groundup.corpus.dedup.exact import exact_clusters, url_clusters
from groundup.corpus.dedup.near import near_clusters
from groundup.corpus.documents import Document, drop
from groundup.corpus.funnel import Stage, count_stages
from groundup.corpus.split import split_documents
from groundup.corpus.steps import keep_one, remove_segments

STAGES_OF_ONE = (
    "read",
    "addresses",
    "clean",
    "language",
    "heuristics",
    "bad_words",
    "perplexity",
    "quality",
    "toxicity",
    "pii",
)
COPIES = ("url_duplicates", "exact_duplicates", "repeated_segments", "near_duplicates")
STAGES = (*STAGES_OF_ONE, *COPIES, "split", "decontaminate")
REMEDIES = {
    "addresses": "name other lists, or switch it off with --addresses.no-enabled",
    "clean": "give files with more than white space and notes",
    "language": "name the languages to keep with --language.keep, or none to keep all",
    "heuristics": "loosen its thresholds, or switch it off with --heuristics.no-enabled",
    "bad_words": "allow more with --bad-words.max-count",
    "perplexity": "keep more buckets with --perplexity.keep",
    "quality": "lower --quality.threshold",
    "toxicity": "raise --toxicity.threshold",
    "repeated_segments": "let one of each stay with --segments.keep one",
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
    segments: Counter[str] = field(default_factory=Counter)
    overlaps: list[Overlap] = field(default_factory=list)

    def close_stage(self, documents: Sequence[Document], also_kept: Sequence[Document] = ()) -> list[Document]:
        """Enter the next stage in the funnel, put aside what it dropped, and give back what it kept.

        `also_kept` are documents that the stage did not look at but that are still in the corpus.
        """
        dropped = [document for document in documents if document.drop_reason]
        kept = [document for document in documents if not document.drop_reason]
        self.rejected += dropped
        left = (*kept, *also_kept)
        reasons = Counter(str(document.drop_reason) for document in dropped)
        row = Stage(len(left), sum(document.bytes for document in left), reasons)
        self.funnel.append(row.row(STAGES[len(self.funnel)]))
        require_documents(self.funnel[-1:])
        return kept


def require_documents(funnel: Sequence[dict[str, Any]]) -> None:
    """A stage that leaves nothing is an error that says why."""
    for row in funnel:
        if not row["documents"]:
            reasons = ", ".join(f"{reason} {count}" for reason, count in row["reasons"].items())
            remedy = REMEDIES.get(row["stage"], "give more text")
            raise InputError(f"No document is left after the stage {row['stage']} ({reasons}); {remedy}.")


def build_corpus(
    documents: Sequence[Document],
    config: CorpusConfig,
    evaluation: Sequence[str] = (),
    advance: Callable[..., None] = lambda *_: None,
) -> Corpus:
    """Run all stages; `evaluation` are texts beside the held-out split that training must not contain.

    `advance(count, name)` is called when stages are done.
    """
    corpus = Corpus()

    def close(annotated: Sequence[Document]) -> list[Document]:
        kept = corpus.close_stage(annotated)
        advance(1, corpus.funnel[-1]["stage"])
        return kept

    found = [Annotated(document, sizes={"read": document.bytes}) for document in documents]
    annotate(found, config)
    corpus.funnel = [row.row(name) for name, row in count_stages(found, STAGES_OF_ONE).items()]
    require_documents(corpus.funnel)
    corpus.rejected = [one.document for name in STAGES_OF_ONE for one in found if one.document.drop_stage == name]
    corpus.cleaning = sum((one.cleaning for one in found), Counter())
    if config.mask_pii:
        corpus.pii = Counter({kind: sum(one.pii[kind] for one in found) for kind in PII_KINDS})
    kept = [one.document for one in found if one.document.drop_reason is None]
    for name in STAGES_OF_ONE:
        advance(1, name)
    kept = close(keep_one(kept, url_clusters([document.url for document in kept]), "url_duplicates", config.seed))
    kept = close(keep_one(kept, exact_clusters([document.text for document in kept]), "exact_duplicates", config.seed))
    if config.segments.enabled:
        kept, corpus.segments = remove_segments(kept, config.segments, config.seed)
    kept = close(kept)
    clusters = near_clusters([document.text for document in kept], config.deduplication)
    cluster_keys = {kept[place].id: min(kept[i].id for i in cluster) for cluster in clusters for place in cluster}
    kept = close(kept if config.deduplication.keep_near else keep_one(kept, clusters, "near_duplicates", config.seed))
    train, corpus.heldout = split_documents(kept, config.held_out_fraction, config.seed, cluster_keys)
    close([*train, *corpus.heldout])
    corpus.overlaps = overlaps(train, [*(d.text for d in corpus.heldout), *evaluation], config.decontamination)
    corpus.train = corpus.close_stage(_decontaminated(train, corpus.overlaps, config), also_kept=corpus.heldout)
    advance(1, "decontaminate")
    return corpus


def _decontaminated(train: Sequence[Document], found: Sequence[Overlap], config: CorpusConfig) -> list[Document]:
    limit = config.decontamination.max_overlap
    return [
        drop(document, "decontaminate", "overlaps_evaluation") if overlap.fraction > limit else document
        for document, overlap in zip(train, found, strict=True)
    ]
