import numpy as np
import pytest
from fasttext_models import GOLDEN, WORDS, golden_file, random_model
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.corpus.fasttext import reference
from groundup.corpus.fasttext.features import ABSENT, hash_bytes, slot_of
from groundup.corpus.fasttext.model_file import LOSSES, write_model_file
from groundup.corpus.fasttext.predictor import KNOWN_ROWS, FastText, load_fasttext

MODELS = {
    "words": FastText(random_model()),
    "n-grams": FastText(random_model(word_ngrams=3)),
    "subwords and n-grams": FastText(random_model(subwords=(1, 3), word_ngrams=2)),
    "subwords of 0 to 2": FastText(random_model(subwords=(0, 2))),
    "pruned": FastText(random_model(subwords=(2, 4), word_ngrams=2, buckets=400, kept=300, quantized=True, norms=True)),
    "all pruned": FastText(random_model(subwords=(2, 4), word_ngrams=2, kept=0)),
}
TEXTS = st.lists(
    st.one_of(
        st.sampled_from([*WORDS, "__label__1", "__label__9", "__labe", "<", "\n", "\0", "\r\v\f\t", " ", "\u00a0"]),
        st.text(max_size=6),
    ),
    max_size=12,
).map(" ".join)


@pytest.mark.parametrize("name", MODELS)
@given(TEXTS)
def test_compiled_and_plain_python_agree(name, text):
    model = MODELS[name]
    np.testing.assert_allclose(
        model.probabilities([text])[0], reference.probabilities_of(text, model.file), rtol=2e-4, atol=2e-6
    )


@pytest.mark.parametrize("loss", LOSSES.values())
@pytest.mark.parametrize("labels", [2, 7, 40])
def test_losses_agree_with_plain_python(loss, labels):
    model = FastText(random_model(loss, labels=labels, subwords=(2, 3), width=3))
    texts = ["the house", "über grün é", "это 水", "", "unseen words only"]
    expected = [reference.probabilities_of(text, model.file) for text in texts]
    found = model.probabilities(texts)
    if loss in ("softmax", "hierarchical softmax"):
        np.testing.assert_allclose(found, expected, rtol=2e-4, atol=2e-6)
    else:  # of the table's steps, 1/32 wide, rounding can choose the next one
        np.testing.assert_allclose(found, expected, atol=0.01)
        assert np.isclose(found, expected, rtol=1e-5).mean() > 0.95
    if loss == "softmax":
        np.testing.assert_allclose(found.sum(axis=1), 1 + labels * 1e-5, rtol=1e-5)


@pytest.mark.parametrize("model", GOLDEN["models"], ids=lambda model: model["name"])
def test_predictions_are_those_of_fasttext(model, tmp_path):
    found = load_fasttext(golden_file(model["name"], tmp_path)).predict(GOLDEN["texts"], k=-1)
    for text, ours, theirs in zip(GOLDEN["texts"], found, model["predictions"], strict=True):
        assert {label for label, _ in ours} == {label for label, _ in theirs}, text
        # Equal probabilities may stand in another order.
        assert [p for _, p in ours] == pytest.approx([p for _, p in theirs], abs=1e-5), text
        assert dict(ours) == pytest.approx(dict(theirs), abs=1e-5), text


def test_hash_is_fnv_1a_with_signed_bytes():
    assert [reference.hash_token(token) for token in (b"", b"a", b"foobar")] == [0x811C9DC5, 0xE40C292C, 0xBF9CF968]
    signed = ((0x811C9DC5 ^ 0xFFFFFFC3) * 0x01000193) % 2**32
    signed = ((signed ^ 0xFFFFFFA9) * 0x01000193) % 2**32
    data = np.frombuffer("é".encode(), np.uint8)
    assert hash_bytes(data, 0, 2) == reference.hash_token("é".encode()) == signed


def test_every_entry_is_found_and_no_other():
    lookup = MODELS["words"].lookup
    for number, word in enumerate([*WORDS, "__label__0", "hous", "houses", "x" * 300]):
        data = np.frombuffer(word.encode(), np.uint8)
        slot = slot_of(
            hash_bytes(data, 0, len(data)), data, 0, len(data), lookup.bytes, lookup.starts, lookup.ends, lookup.slots
        )
        assert lookup.slots[slot] == (number if number <= len(WORDS) else ABSENT)


def test_subwords_of_a_token():
    assert [s.decode() for s in reference.subwords_of("né".encode(), 1, 3)] == [
        "<n",
        "<né",
        "n",
        "né",
        "né>",
        "é",
        "é>",
    ]


def test_a_text_gives_the_same_whatever_stands_beside_it():
    model = MODELS["pruned"]
    texts = ["the house über unseen", "grün " * 3000 + "é", "x" * 9000, "", "это the 水 unseen"] * 3
    alone = np.concatenate([model.probabilities([text]) for text in texts])
    np.testing.assert_array_equal(model.probabilities(texts), alone)


def test_forgetting_remembered_tokens_changes_nothing():
    texts = [" ".join(f"token{i}{j}" for i in range(500)) for j in range(120)]  # 60,000 tokens of 24 subwords
    assert KNOWN_ROWS < 60_000 * 24
    model = MODELS["subwords and n-grams"]
    alone = np.concatenate([model.probabilities([text]) for text in texts[-3:]])
    np.testing.assert_array_equal(model.probabilities(texts)[-3:], alone)


def test_end_token_and_labels_within_a_text():
    model = MODELS["n-grams"]
    features = [
        reference.features_of(text, model.file) for text in ("the </s> house", "the", "the __label__x", "the house")
    ]
    assert features[0] == features[1] == features[2] != features[3]
    assert model.predict(["the </s> house"]) == model.predict(["the"])


def test_predict_cuts_at_k_and_threshold():
    model = MODELS["words"]
    (everything,) = model.predict(["the house"], k=-1)
    assert [p for _, p in everything] == sorted((p for _, p in everything), reverse=True)
    assert model.predict(["the house"], k=2) == [everything[:2]]
    assert model.predict(["the house"], k=-1, threshold=everything[1][1]) == [everything[:2]]
    assert model.predict([]) == []
    assert model.probabilities([]).shape == (0, 5)
    np.testing.assert_allclose(model.scores(["the house"], "__label__3"), [dict(everything)["3"]])
    with pytest.raises(ConfigError, match=r"no label 'x'; its labels are 0, 1"):
        model.scores(["a"], "x")
    with pytest.raises(ConfigError, match="k is 0"):
        model.predict(["a"], k=0)


def test_half_a_surrogate_pair_is_a_question_mark():
    assert MODELS["subwords and n-grams"].predict(["a\ud800b"]) == MODELS["subwords and n-grams"].predict(["a?b"])


def test_a_saved_model_predicts_the_same(tmp_path):
    model = MODELS["pruned"]
    model.save(tmp_path / "x.ftz")
    texts = ["the house", "это unseen"]
    np.testing.assert_array_equal(load_fasttext(tmp_path / "x.ftz").probabilities(texts), model.probabilities(texts))


def test_no_feature_means_no_prediction(tmp_path):
    file = random_model()
    file.dictionary.words[0] = b"end"
    write_model_file(tmp_path / "x.bin", file)
    assert load_fasttext(tmp_path / "x.bin").predict(["nothing known", "the"], k=1)[0] == []
