"""Single steps on documents in memory, for the verbs that do one thing: remove copies, decontaminate.

Documents come back annotated, all of them, in their order; what is dropped says where and why, as in the pipeline.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from groundup.corpus.dedup.clusters import keep_key
from groundup.corpus.dedup.config import DecontaminationConfig, DeduplicationConfig, SegmentConfig
from groundup.corpus.dedup.decontamination import EvaluationIndex, Overlap, SetReport
from groundup.corpus.dedup.exact import exact_clusters, url_clusters
from groundup.corpus.dedup.near import near_clusters
from groundup.corpus.dedup.segments import remove_repeated
from groundup.corpus.documents import Document, drop
from groundup.corpus.pipeline import keep_one

Clusters = list[list[int]]
STEPS: dict[str, tuple[str, Callable[[Sequence[Document], DeduplicationConfig], Clusters]]] = {
    "url": ("url_duplicates", lambda documents, _: url_clusters([document.url for document in documents])),
    "exact": ("exact_duplicates", lambda documents, _: exact_clusters([document.text for document in documents])),
    "near": ("near_duplicates", lambda documents, config: near_clusters([d.text for d in documents], config)),
}


def remove_copies(documents: Sequence[Document], step: str, config: DeduplicationConfig, seed: int) -> list[Document]:
    """Of each cluster of copies, as a step of `STEPS` finds them, one stays."""
    stage, clusters_of = STEPS[step]
    places = [place for place, document in enumerate(documents) if document.drop_reason is None]
    kept = [documents[place] for place in places]
    done = list(documents)
    for place, document in zip(places, keep_one(kept, clusters_of(kept, config), stage, seed), strict=True):
        done[place] = document
    return done


def remove_segments(documents: Sequence[Document], config: SegmentConfig, seed: int) -> tuple[list[Document], int]:
    """The documents without the lines, paragraphs or spans that occur again, and how many pieces went; a document of
    which nothing is left is dropped."""
    places = [place for place, document in enumerate(documents) if document.drop_reason is None]
    texts = [documents[place].text for place in places]
    cut = remove_repeated(texts, config, [keep_key(documents[place].id, seed) for place in places])
    done = list(documents)
    for place, text in zip(places, cut.texts, strict=True):
        left = replace(documents[place], text=text)
        done[place] = left if text.strip() else drop(documents[place], f"repeated_{config.unit}", "nothing_left")
    return done, int(cut.pieces.sum())


def decontaminate(
    documents: Sequence[Document], evaluation: Mapping[str, Sequence[str]], config: DecontaminationConfig
) -> tuple[list[Document], list[Overlap], dict[str, SetReport]]:
    """The documents, those above `max_overlap` dropped; each one's overlap; what training has of each set.

    The report counts the documents that stay: the n-grams of one that is dropped are not seen in training.
    """
    index = EvaluationIndex(evaluation, config.ngram)
    overlaps = index.match(documents)
    kept = [overlap.fraction <= config.max_overlap for overlap in overlaps]
    done = [
        document if stays else drop(document, "decontaminate", "overlaps_evaluation")
        for document, stays in zip(documents, kept, strict=True)
    ]
    index.seen[:] = False
    index.match([document for document in done if document.drop_reason is None])
    return done, overlaps, index.report()
