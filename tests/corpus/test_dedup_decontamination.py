import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.corpus.dedup.config import DecontaminationConfig
from groundup.corpus.dedup.decontamination import EvaluationIndex, SetReport, overlaps
from groundup.corpus.documents import Document

texts = st.lists(st.sampled_from("abc"), max_size=25).map(" ".join)


@given(st.lists(texts, max_size=4), st.lists(texts, max_size=3), st.integers(1, 5))
def test_agrees_with_sets_of_tuples(training, evaluation, n):
    def ngrams(text):
        words = text.split()
        return [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]

    known = {ngram for text in evaluation for ngram in ngrams(text)}
    expected = [(len(ngrams(text)), sum(ngram in known for ngram in ngrams(text))) for text in training]
    documents = [Document(str(i), text) for i, text in enumerate(training)]
    found = overlaps(documents, evaluation, DecontaminationConfig(ngram=n))
    assert [(o.ngrams, o.matches) for o in found] == expected
    assert [o.id for o in found] == [d.id for d in documents]


def test_case_and_punctuation_do_not_hide_a_copy():
    copied = "One, two, THREE four five six seven eight nine ten eleven twelve thirteen!"
    (found,) = overlaps(
        [Document("a", "before that " + copied)], [copied.lower().replace(",", "")], DecontaminationConfig()
    )
    assert (found.matches, found.ngrams) == (1, 3)
    assert found.fraction == pytest.approx(1 / 3)


def test_no_evaluation_text_means_zero_matches_for_each():
    found = overlaps([Document("a", "some words " * 20), Document("b", "")], [], DecontaminationConfig())
    assert [o.fraction for o in found] == [0.0, 0.0]


def test_impossible_values_are_refused():
    with pytest.raises(ConfigError, match="max_overlap is 2"):
        DecontaminationConfig(max_overlap=2)
    with pytest.raises(ConfigError, match="ngram is 0"):
        DecontaminationConfig(ngram=0)


def test_every_evaluation_set_is_reported_also_the_clean_and_the_short_ones():
    index = EvaluationIndex({"leaked": ["a b c d e", "v w x y z", "a b"], "clean": ["k l m n o"], "empty": []}, ngram=4)
    for batch in (["zero A, b! C d", "nothing of it"], ["a b c"]):
        index.match([Document("x", text) for text in batch])
    assert index.report() == {
        "leaked": SetReport(items=3, too_short=1, matched=1),
        "clean": SetReport(items=1, too_short=0, matched=0),
        "empty": SetReport(items=0, too_short=0, matched=0),
    }
