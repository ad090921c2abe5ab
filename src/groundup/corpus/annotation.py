"""The stages that look at one document at a time: address, clean, language, heuristics, models, personal data.

    annotate(found, config)        fills in what each stage finds about each document

A document that a stage drops goes no further but stays in the list, with `drop_stage` and `drop_reason`. Nothing here
looks at two documents together, so the list may be all of a small corpus or a batch of a crawl: the results are equal.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from groundup.corpus.cleaning import clean
from groundup.corpus.config import ClassifierConfig, CorpusConfig
from groundup.corpus.documents import Document, drop
from groundup.corpus.filters.blocklist import Blocklist, load_blocklist, url_faults
from groundup.corpus.language import UNKNOWN, language_faults
from groundup.corpus.pii import mask_pii

if TYPE_CHECKING:
    from groundup.corpus.fasttext.predictor import FastText
    from groundup.corpus.filters.perplexity import PerplexityModel

PII_KINDS = ("email", "ip", "phone")


@dataclass
class Annotated:
    """A document with what was found about it; `sizes` has its bytes after each stage that may change them."""

    document: Document
    language: str = UNKNOWN
    language_score: float = 0.0
    statistics: tuple[int, ...] | None = None
    """what the heuristic rules counted, in the order of `filters.statistics.FIELDS`"""
    faults: tuple[str, ...] = ()
    """every heuristic rule that it breaks; the first is the reason for dropping it"""
    cleaning: Counter[str] = field(default_factory=Counter)
    pii: Counter[str] = field(default_factory=Counter)
    sizes: dict[str, int] = field(default_factory=dict)

    def drop(self, stage: str, reason: str) -> None:
        self.document = drop(self.document, stage, reason)

    def put(self, stage: str, text: str) -> None:
        """A stage changed the text."""
        self.document = replace(self.document, text=text)
        self.sizes[stage] = self.document.bytes

    def note(self, **facts: Any) -> None:  # noqa: ANN401 - what JSON holds
        """Something to stay in the document's `meta`."""
        self.document = replace(self.document, meta={**self.document.meta, **facts})


def annotate(found: Sequence[Annotated], config: CorpusConfig) -> None:
    """All stages in order; documents that are dropped already are passed over."""
    for stage in (_address, _clean, _language, _heuristics, _bad_words, _perplexity, _quality, _toxicity, _pii):
        living = [one for one in found if one.document.drop_reason is None]
        if living:
            stage(living, config)


def address_fault(url: str | None, config: CorpusConfig) -> str | None:
    """Why a page of this address is not wanted."""
    if not config.addresses.enabled:
        return None
    lists = _blocklist(config.addresses.blocklists, config.addresses.categories)
    return next(iter(url_faults([url], lists)[0]), None)


def _address(found: Sequence[Annotated], config: CorpusConfig) -> None:
    for one in found:
        if reason := address_fault(one.document.url, config):
            one.drop("addresses", reason)


def _clean(found: Sequence[Annotated], config: CorpusConfig) -> None:
    asked = config.cleaning.editorial_notes
    for one in found:
        notes = one.document.source == "sotu" if asked is None else asked
        text, one.cleaning = clean(one.document.text, editorial_notes=notes)
        one.put("clean", text)
        if not text:
            one.drop("clean", "empty_after_cleaning")


def _language(found: Sequence[Annotated], config: CorpusConfig) -> None:
    for one, judged in zip(found, language_faults(_texts(found), config.language), strict=True):
        reason, one.language, one.language_score = judged
        if reason:
            one.drop("language", reason)


def _heuristics(found: Sequence[Annotated], config: CorpusConfig) -> None:
    if not config.heuristics.enabled:
        return
    from groundup.corpus.filters.heuristics import judge
    from groundup.corpus.filters.statistics import measure_and_edit

    languages = [one.language for one in found]
    statistics, edited = measure_and_edit(_texts(found), languages, config.heuristics.counting)
    removes = "c4" in config.heuristics.families and config.heuristics.c4.remove_lines
    judged = zip(found, statistics.tolist(), judge(statistics, config.heuristics), edited, strict=True)
    for one, counts, faults, text in judged:
        one.statistics, one.faults = counts, faults
        if faults:
            one.drop("heuristics", faults[0])
        elif removes and not text:
            one.drop("heuristics", "c4_no_line_stays")
        elif removes:
            one.put("heuristics", text)


def _bad_words(found: Sequence[Annotated], config: CorpusConfig) -> None:
    if not config.bad_words.enabled:
        return
    from groundup.corpus.filters.bad_words import bad_word_faults

    faults = bad_word_faults(_texts(found), config.bad_words, [one.language for one in found])
    for one, reasons in zip(found, faults, strict=True):
        if reasons:
            one.drop("bad_words", reasons[0])


def _perplexity(found: Sequence[Annotated], config: CorpusConfig) -> None:
    """Bits per byte under a model of good text, and the bucket that they put the document in."""
    if config.perplexity.model is None:
        return
    from groundup.corpus.filters.perplexity import BUCKETS

    model = _perplexity_model(config.perplexity.model)
    for one, bits in zip(found, model.bits_per_byte(_texts(found)).tolist(), strict=True):
        bucket = BUCKETS[sum(bits > bound for bound in model.bounds)]
        one.note(perplexity_bits=round(bits, 4), perplexity_bucket=bucket)
        if bucket not in config.perplexity.keep:
            one.drop("perplexity", bucket)


def _quality(found: Sequence[Annotated], config: CorpusConfig) -> None:
    _classify(found, "quality", config.quality, config.seed)


def _toxicity(found: Sequence[Annotated], config: CorpusConfig) -> None:
    _classify(found, "toxicity", config.toxicity, config.seed)


def _classify(found: Sequence[Annotated], name: str, config: ClassifierConfig, seed: int) -> None:
    if config.model is None:
        return
    from groundup.corpus.classifiers import GradeConfig, grade

    rule = GradeConfig(name, config.label, config.rule, config.threshold, above=config.above, seed=seed)
    for one, document in zip(
        found, grade([one.document for one in found], _classifier(config.model), rule), strict=True
    ):
        one.document = replace(document, drop_stage=name) if document.drop_reason else document


def _pii(found: Sequence[Annotated], config: CorpusConfig) -> None:
    if config.mask_pii:
        for one in found:
            text, one.pii = mask_pii(one.document.text)
            one.put("pii", text)


def _texts(found: Sequence[Annotated]) -> list[str]:
    return [one.document.text for one in found]


# Lists and models are read once in a process.
@lru_cache(maxsize=2)
def _blocklist(paths: tuple[Path, ...], categories: tuple[str, ...]) -> Blocklist:
    return load_blocklist(paths, categories or None)


@lru_cache(maxsize=2)
def _perplexity_model(path: Path) -> "PerplexityModel":
    from groundup.corpus.filters.perplexity import load_perplexity

    return load_perplexity(path)


@lru_cache(maxsize=4)
def _classifier(path: Path) -> "FastText":
    from groundup.corpus.fasttext.predictor import load_fasttext

    return load_fasttext(path)
