import json

import numpy as np
import pytest

from groundup.core.errors import ConfigError, InputError
from groundup.corpus.classifier_card import measure_thresholds, roc_auc
from groundup.corpus.classifier_config import ClassifierConfig, GradeConfig
from groundup.corpus.classifiers import (
    grade,
    pareto_keeps,
    read_labelled,
    train_classifier,
)
from groundup.corpus.documents import Document, drop
from groundup.corpus.fasttext.config import FastTextConfig
from groundup.corpus.fasttext.predictor import load_fasttext

SMALL = FastTextConfig(width=8, epochs=10, learning_rate=0.5, buckets=1000)


def made_data(count=600):
    random = np.random.default_rng(0)
    data = []
    for number in range(count):
        label = ("good", "bad")[number % 3 == 0]
        words = [f"{label if random.random() < 0.2 else 'any'}{random.integers(30)}" for _ in range(15)]
        data.append((" ".join(words), label))
    return data


def test_training_measures_on_texts_it_has_not_seen(tmp_path):
    data = [*made_data(), *made_data(30), ("", "good"), ("both ways", "good"), ("both ways", "bad")]
    result = train_classifier(data, ClassifierConfig(positive="good", model=SMALL), tmp_path / "quality")
    assert result["left_out"] == {"copy": 30, "empty": 1, "has two labels": 2}
    trained, held_out = sum(result["train"].values()), sum(result["heldout"].values())
    assert trained + held_out == 600
    assert 0.14 < held_out / 600 < 0.26
    assert result["accuracy"] > 0.95 > result["majority"] + 0.2
    assert result["roc_auc"] > 0.98
    assert json.loads((tmp_path / "quality" / "result.json").read_text())["accuracy"] == result["accuracy"]
    card = (tmp_path / "quality" / "card.md").read_text()
    for told in ("`model.bin`", "`good`", f"Accuracy {result['accuracy']:.4f}", "30 copy, 1 empty", "| 0.5 |"):
        assert told in card
    model = load_fasttext(tmp_path / "quality" / "model.bin")
    fresh = made_data(1200)[600:]
    right = [
        found[0][0] == label for found, (_, label) in zip(model.predict([t for t, _ in fresh]), fresh, strict=True)
    ]
    assert np.mean(right) > 0.95


def test_held_out_texts_stay_when_others_are_added(tmp_path):
    config = ClassifierConfig(model=SMALL)
    first = train_classifier(made_data(), config, tmp_path / "a")
    second = train_classifier([*made_data(), ("new text", "good")], config, tmp_path / "b")
    assert sum(second["heldout"].values()) - sum(first["heldout"].values()) in (0, 1)
    assert first["thresholds"] == []


def test_a_quantized_classifier_is_smaller_and_measured_as_written(tmp_path):
    config = ClassifierConfig(
        positive="good", model=FastTextConfig(width=16, epochs=10, learning_rate=0.5, buckets=20_000)
    )
    train_classifier(made_data(), config, tmp_path / "dense")
    small = train_classifier(made_data(), ClassifierConfig(**{**config.__dict__, "quantize": True}), tmp_path / "small")
    assert (tmp_path / "small" / "model.ftz").stat().st_size < (tmp_path / "dense" / "model.bin").stat().st_size / 5
    assert small["accuracy"] > 0.9


def test_thresholds_count_by_hand():
    scores, positives = np.array([0.95, 0.6, 0.55, 0.2, 0.02]), np.array([True, False, True, False, True])
    rows = {row["threshold"]: row for row in measure_thresholds(scores, positives)}
    assert rows[0.5] == {"threshold": 0.5, "precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "share": 3 / 5}
    assert (rows[0.01]["precision"], rows[0.01]["recall"]) == (3 / 5, 1)
    assert (rows[0.99]["precision"], rows[0.99]["recall"], rows[0.99]["f1"]) == (0, 0, 0)


def test_roc_auc_is_the_share_of_pairs_in_order():
    random = np.random.default_rng(0)
    scores, positives = random.integers(0, 6, 60) / 5, random.random(60) < 0.4
    pairs = scores[positives][:, None] - scores[~positives][None]
    assert roc_auc(scores, positives) == pytest.approx(((pairs > 0) + 0.5 * (pairs == 0)).mean())


def test_grading_annotates_and_drops_by_the_rule(tmp_path):
    train_classifier(made_data(), ClassifierConfig(model=SMALL), tmp_path / "q")
    model = load_fasttext(tmp_path / "q" / "model.bin")
    documents = [Document(str(i), text) for i, (text, _) in enumerate(made_data(60))]
    documents[5] = Document("5", "any1", drop_stage="language", drop_reason="language_de")
    plain = grade(documents, model, GradeConfig())
    assert [one.text for one in plain] == [one.text for one in documents]
    assert plain[5] == documents[5]
    scores = {one.id: one.meta["quality"] for one in plain if one.id != "5"}
    kept = grade(documents, model, GradeConfig(rule="threshold", threshold=0.5))
    assert {one.id for one in kept if not one.drop_reason} == {i for i, score in scores.items() if score >= 0.5}
    assert {one.drop_reason for one in kept} == {None, "language_de", "quality_below_0.5"}
    low = grade(documents, model, GradeConfig(name="toxic", rule="threshold", threshold=0.5, above=False))
    assert {one.id for one in low if not one.drop_reason} == {i for i, score in scores.items() if score <= 0.5}
    with pytest.raises(ConfigError, match="no label 'x'"):
        grade(documents, model, GradeConfig(label="x"))


def test_the_most_likely_label_is_written_down():
    labels = ("farm", "tool")
    scores = {"hay": [0.7, 0.3], "saw": [0.25, 0.75], "": [0.5, 0.5]}

    class Model:
        def __init__(self):
            self.labels = labels

        def probabilities(self, texts):
            return np.array([scores[text] for text in texts])

    gone = drop(Document("x", "hay"), "language", "language_de")
    found = grade([*(Document(text, text) for text in scores), gone], Model(), GradeConfig("topic", rule="most_likely"))
    assert [one.meta.get("topic") for one in found] == ["farm", "tool", "farm", None]
    assert [one.meta.get("topic_score") for one in found] == [0.7, 0.75, 0.5, None]
    assert found[-1] == gone


@pytest.mark.parametrize("score", [0.0, 0.5, 0.9, 1.0])
def test_pareto_keeps_the_share_of_the_formula(score):
    kept = np.mean([pareto_keeps(score, str(i)) for i in range(20_000)])
    assert kept == pytest.approx((2 - score) ** -9, abs=0.01)  # P(Pareto(9) > x) = (1 + x)^-9


def test_labelled_files(tmp_path):
    lines = tmp_path / "a.jsonl"
    lines.write_text('{"text": "one", "label": "x"}\n\n{"text": "two", "label": 1}\n')
    (tmp_path / "b.txt").write_text("three")
    assert read_labelled([str(lines), f"y={tmp_path / 'b.txt'}"]) == [("one", "x"), ("two", "1"), ("three", "y")]
    for content, words in (("{", "line 1 is not JSON"), ('{"text": "a"}', "no text with a 'label'")):
        lines.write_text(content)
        with pytest.raises(InputError, match=words):
            read_labelled([str(lines)])


def test_too_little_data_is_named(tmp_path):
    with pytest.raises(InputError, match="0 texts are left to train on"):
        train_classifier([("", "a")], ClassifierConfig(), tmp_path)
    with pytest.raises(ConfigError, match="held_out_fraction is 0"):
        ClassifierConfig(held_out_fraction=0)
