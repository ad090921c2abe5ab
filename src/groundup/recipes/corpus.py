"""Recipes for `groundup corpus build`: the rules of well-known corpora, as far as one machine can have them.

plain     any text: Gopher's rules, copies and near copies out
c4        arXiv:1910.10683, section 2.2: English at 0.99, C4's rules on lines and pages, no page with a bad word, and of
          every span of three sentences one occurrence in the whole crawl; near copies stay
fineweb   arXiv:2406.17557, section 3: English at 0.65, Gopher's rules, C4's except that lines may end without a full
          stop, FineWeb's own; MinHash of 5-grams in 14 bands of 8

FineWeb judges a page by its own rules after C4's have removed lines, here all families judge the page as it was found,
in one pass. It takes pages that agree in a band for copies; here their Jaccard similarity must be at least 0.75 too.
"""

from groundup.corpus.config import CorpusConfig, RepeatedSegmentsConfig
from groundup.corpus.dedup.config import DeduplicationConfig
from groundup.corpus.filters.config import FAMILIES, BadWordsConfig, C4Config, CountingConfig, HeuristicsConfig
from groundup.corpus.language import LanguageConfig


def c4() -> CorpusConfig:
    """The Colossal Clean Crawled Corpus; its language model is lid.176 here and was langdetect there."""
    return CorpusConfig(
        language=LanguageConfig(min_score=0.99, method="fasttext"),
        heuristics=HeuristicsConfig(families=("c4",)),
        bad_words=BadWordsConfig(enabled=True),
        segments=RepeatedSegmentsConfig(unit="sentences", enabled=True),
        deduplication=DeduplicationConfig(keep_near=True),
    )


def fineweb() -> CorpusConfig:
    """FineWeb, without its lists of blocked addresses, which `--addresses.blocklists` adds."""
    counting = CountingConfig(c4_end_punctuation=False, c4_min_words_per_line=3)
    return CorpusConfig(
        language=LanguageConfig(min_score=0.65, method="fasttext"),
        heuristics=HeuristicsConfig(families=FAMILIES, c4=C4Config(min_sentences=5), counting=counting),
        deduplication=DeduplicationConfig(ngram=5, bands=14, rows=8, threshold=0.75),
    )
