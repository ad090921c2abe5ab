"""Which continuation is the real one? A likelihood task on any held-out text, in the manner of HellaSwag.

A question is a passage of a document and four continuations of equal length in characters: the real one and three from
other places. The model's choice is the continuation with the highest log-probability per byte; chance is 25 %.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from groundup.core.seeds import rng
from groundup.evaluation.statistics import Proportion, wilson
from groundup.inference.engine import Engine
from groundup.tokenization.chat import END_OF_TEXT

CONTEXT_CHARACTERS, CHOICE_CHARACTERS, CHOICES = 240, 80, 4


@dataclass(frozen=True)
class Question:
    """A context and its continuations; `answer` is the index of the real one."""

    context: str
    choices: tuple[str, ...]
    answer: int


def continuation_questions(texts: Sequence[str], count: int, seed: int) -> list[Question]:
    """Questions from random places, cut at spaces; fewer, or none, where the texts are too short for them."""
    generator = rng("continuation", seed)
    long_enough = [text for text in texts if len(text) > 4 * (CONTEXT_CHARACTERS + CHOICE_CHARACTERS)]
    if not long_enough:
        return []

    def passage() -> tuple[str, str]:
        text = generator.choices(long_enough, weights=[len(text) for text in long_enough])[0]
        start = generator.randrange(len(text) - CONTEXT_CHARACTERS - 2 * CHOICE_CHARACTERS)
        middle = text.find(" ", start + CONTEXT_CHARACTERS)
        middle = middle if 0 <= middle < len(text) - CHOICE_CHARACTERS else start + CONTEXT_CHARACTERS
        return text[start:middle], text[middle : middle + CHOICE_CHARACTERS]

    questions = []
    for _ in range(count):
        context, real = passage()
        others = [passage()[1] for _ in range(CHOICES - 1)]
        answer = generator.randrange(CHOICES)
        questions.append(Question(context, (*others[:answer], real, *others[answer:]), answer))
    return questions


def fits(engine: Engine, question: Question) -> bool:
    """Whether every continuation fits into the model's context; in a context of 64, a choice of rare words may not."""
    return all(len(engine.tokenizer.encode(choice)) <= engine.context_length for choice in question.choices)


def continuation_accuracy(engine: Engine, questions: Sequence[Question]) -> Proportion:
    """The share of questions whose real continuation has the highest log-probability per byte of UTF-8."""
    mark = engine.tokenizer.special_tokens[END_OF_TEXT]
    pairs = []
    for question in questions:
        context = [mark, *engine.tokenizer.encode(question.context)]
        pairs += [(context, engine.tokenizer.encode(choice)) for choice in question.choices]
    scores = [total for total, _ in engine.score(pairs)]
    correct = 0
    for number, question in enumerate(questions):
        own = scores[number * CHOICES : (number + 1) * CHOICES]
        per_byte = [score / len(choice.encode()) for score, choice in zip(own, question.choices, strict=True)]
        correct += per_byte.index(max(per_byte)) == question.answer
    return wilson(correct, len(questions))
