"""The continuation task: what knows the text gets everything right, what knows nothing a quarter."""

import random
import sys
from pathlib import Path

import pytest

from groundup.evaluation.continuation import (
    CHOICE_CHARACTERS,
    CHOICES,
    Question,
    continuation_accuracy,
    continuation_questions,
    fits,
)

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
from tiny_engines import BYTES, tiny_engine

WORDS = ("state", "union", "congress", "people", "nation", "peace", "treaty", "tax", "river", "army", "navy", "law")
TEXTS = [" ".join(random.Random(seed).choices(WORDS, k=600)) for seed in range(3)]


class Stub:
    """An engine whose score of a continuation is given by a function of the two texts."""

    tokenizer = BYTES
    context_length = 1000

    def __init__(self, likelihood):
        self.likelihood = likelihood

    def score(self, pairs):
        return [(self.likelihood(BYTES.decode(c[1:]), BYTES.decode(x)), False) for c, x in pairs]


def test_questions_are_real_places_cut_at_spaces():
    questions = continuation_questions(TEXTS, 60, seed=0)
    assert len(questions) == 60
    for question in questions:
        assert len(question.choices) == CHOICES
        assert {len(choice) for choice in question.choices} == {CHOICE_CHARACTERS}
        assert any(question.context + question.choices[question.answer] in text for text in TEXTS)
        assert all(choice.startswith(" ") for choice in question.choices)
        assert all(any(choice in text for text in TEXTS) for choice in question.choices)
    assert {question.answer for question in questions} == set(range(CHOICES))
    assert continuation_questions(TEXTS, 60, seed=0) == questions
    assert continuation_questions(TEXTS, 60, seed=1) != questions


def test_an_oracle_that_knows_the_text_is_always_right():
    questions = continuation_questions(TEXTS, 80, seed=0)
    found = continuation_accuracy(
        Stub(lambda context, choice: float(any(context + choice in t for t in TEXTS))), questions
    )
    assert (found.correct, found.n) == (80, 80)


def test_guessing_is_right_a_quarter_of_the_time():
    questions = continuation_questions(TEXTS, 1500, seed=0)
    generator = random.Random(0)
    found = continuation_accuracy(Stub(lambda *_: generator.random()), questions)
    assert found.low < 0.25 < found.high
    assert continuation_accuracy(Stub(lambda *_: 0.0), questions).estimate == pytest.approx(0.25, abs=0.04)


def test_scores_count_per_byte():
    """Four bytes a character at half the cost per byte beat one byte a character."""
    question = Question("context", ("😀" * 10, "x" * 10), 0)
    questions = [Question(question.context, (*question.choices, "x" * 10, "x" * 10), 0)]
    costs = {"😀": -2.0, "x": -1.0}
    found = continuation_accuracy(Stub(lambda _, choice: sum(costs[c] for c in choice)), questions)
    assert found.correct == 1


def test_texts_that_are_too_short_give_no_questions():
    assert continuation_questions(["short", "a " * 600], 10, seed=0) == []
    assert continuation_questions([], 10, seed=0) == []
    assert len(continuation_questions(["no-spaces" * 200], 10, seed=0)) == 10


def test_choices_that_exceed_the_context_do_not_fit():
    (question,) = continuation_questions(TEXTS, 1, seed=0)
    assert not fits(tiny_engine(context_length=79), question)
    engine = tiny_engine(context_length=80)
    assert fits(engine, question)
    assert continuation_accuracy(engine, [question]).n == 1
