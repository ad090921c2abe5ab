"""Single steps on documents in memory, of the pipeline and of the verbs that do one thing.

Documents come back annotated, all of them, in their order; what is dropped says where and why, as in the pipeline.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np

from groundup.corpus.dedup.bloom import BloomFilter
from groundup.corpus.dedup.clusters import keep_key, survivor
from groundup.corpus.dedup.config import DecontaminationConfig, DeduplicationConfig, SegmentConfig, SubstringConfig
from groundup.corpus.dedup.decontamination import EvaluationIndex, Overlap, SetReport
from groundup.corpus.dedup.exact import exact_clusters, text_keys, url_clusters
from groundup.corpus.dedup.near import near_clusters
from groundup.corpus.dedup.segments import Cut, remove_repeated
from groundup.corpus.dedup.substrings import remove_substrings
from groundup.corpus.documents import Document, drop

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


def keep_one(documents: Sequence[Document], clusters: Sequence[Sequence[int]], stage: str, seed: int) -> list[Document]:
    """Of each cluster all but one are dropped; the reason names the one that stays, in `meta`."""
    ids = [document.id for document in documents]
    copy_of: Mapping[int, str] = {
        place: ids[kept]
        for cluster in clusters
        for kept in [survivor(ids, cluster, seed)]
        for place in cluster
        if place != kept
    }
    return [
        drop(replace(document, meta=document.meta | {"copy_of": copy_of[place]}), stage, f"copy_{stage.split('_')[0]}")
        if place in copy_of
        else document
        for place, document in enumerate(documents)
    ]


def remove_segments(
    documents: Sequence[Document], config: SegmentConfig, seed: int
) -> tuple[list[Document], Counter[str]]:
    """The documents without the lines, paragraphs or spans that occur again; how many pieces and bytes went out of
    those that stay. A document of which nothing is left is dropped, with its text."""
    keys = [keep_key(document.id, seed) for document in documents if document.drop_reason is None]
    return _cut(documents, lambda texts: remove_repeated(texts, config, keys), "repeated_segments")


def remove_long_repeats(documents: Sequence[Document], config: SubstringConfig) -> tuple[list[Document], Counter[str]]:
    """The same of every stretch of `config.length` bytes that occurs again, wherever it begins."""
    return _cut(documents, lambda texts: remove_substrings(texts, config.length, config.keep), "repeated_substrings")


def _cut(
    documents: Sequence[Document], remove: Callable[[list[str]], Cut], stage: str
) -> tuple[list[Document], Counter[str]]:
    places = [place for place, document in enumerate(documents) if document.drop_reason is None]
    texts = [documents[place].text for place in places]
    done, gone = list(documents), Counter[str](pieces=0, bytes=0)
    for number, left, lost in remove(texts).changes(texts):
        document = documents[places[number]]
        done[places[number]] = replace(document, text=left) if left else drop(document, stage, "nothing_left")
        gone.update(lost)
    return done, gone


def remove_seen(documents: Sequence[Document], seen: BloomFilter) -> list[Document]:
    """Documents whose text the filter has are dropped; the filter then has the others too."""
    places = [place for place, document in enumerate(documents) if document.drop_reason is None]
    known = seen.add(text_keys([documents[place].text for place in places])[:, 0])
    done = list(documents)
    for place in np.array(places, np.int64)[known].tolist():
        done[place] = drop(documents[place], "seen", "seen_before")
    return done


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
