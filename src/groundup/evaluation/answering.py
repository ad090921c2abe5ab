"""A model answers verifiable instructions: greedily for accuracy, by sampling for pass@k."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from groundup.core.seeds import derive_seed
from groundup.evaluation.instructions import TASKS, Instruction, accuracy_by_task, is_correct
from groundup.evaluation.statistics import pass_at_k, wilson
from groundup.inference.engine import Engine
from groundup.inference.requests import Completion, Request, Sampling
from groundup.tokenization.chat import END, END_OF_TEXT, Message, render_prompt

MAX_ANSWER_TOKENS = 16


@dataclass(frozen=True)
class Answers:
    """One answer to each example."""

    examples: tuple[Instruction, ...]
    texts: tuple[str, ...]
    correct: tuple[bool, ...]

    def summary(self) -> dict[str, Any]:
        """Accuracy over all and by task, each with its Wilson interval, and the first answer of each task."""
        by_task = accuracy_by_task(self.examples, self.correct)
        firsts = [[example.task for example in self.examples].index(task) for task in TASKS if task in by_task]
        return {
            "accuracy": asdict(wilson(sum(self.correct), len(self.correct))),
            "accuracy_by_task": {task: asdict(wilson(*counts)) for task, counts in by_task.items()},
            "samples": [
                {
                    "prompt": self.examples[at].prompt,
                    "expected": self.examples[at].answer,
                    "answer": self.texts[at],
                    "correct": self.correct[at],
                }
                for at in firsts
            ],
        }


def answer_request(engine: Engine, example: Instruction, sampling: Sampling) -> Request:
    """The chat prompt of an example; the answer ends at `<|end|>`."""
    special = engine.tokenizer.special_tokens
    prompt = render_prompt(engine.tokenizer, [Message("user", example.prompt)])
    return Request(tuple(prompt), sampling, stop_ids=(special[END], special[END_OF_TEXT]))


def answer(engine: Engine, examples: Sequence[Instruction]) -> Answers:
    """Greedy answers."""
    greedy = Sampling(max_tokens=MAX_ANSWER_TOKENS, temperature=0.0)
    completions = engine.generate([answer_request(engine, example, greedy) for example in examples])
    texts = tuple(completion.text for completion in completions)
    correct = tuple(solves(example, completion) for example, completion in zip(examples, completions, strict=True))
    return Answers(tuple(examples), texts, correct)


def solves(example: Instruction, completion: Completion) -> bool:
    """Whether an answer is right and ended by itself: a model that never stops has not answered."""
    return completion.finish_reason == "stop" and is_correct(example, completion.text)


def sampled_pass_at_k(
    engine: Engine, examples: Sequence[Instruction], samples: int, ks: Sequence[int], seed: int
) -> dict[str, float]:
    """Mean pass@k at temperature 1 from `samples` answers to each example."""
    requests = [
        answer_request(engine, example, Sampling(MAX_ANSWER_TOKENS, 1.0, seed=derive_seed("pass@k", seed, row, number)))
        for row, example in enumerate(examples)
        for number in range(samples)
    ]
    completions = engine.generate(requests)
    hits = [
        sum(solves(example, completion) for completion in completions[row * samples : (row + 1) * samples])
        for row, example in enumerate(examples)
    ]
    return {str(k): sum(pass_at_k(samples, hit, k) for hit in hits) / len(hits) for k in ks}
