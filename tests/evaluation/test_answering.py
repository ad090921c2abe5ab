"""Answers to instructions: prompts in chat form, exact answers, pass@k from samples."""

import sys
from pathlib import Path

import pytest

from groundup.evaluation.answering import MAX_ANSWER_TOKENS, answer, answer_request, sampled_pass_at_k
from groundup.evaluation.instructions import TASKS, instructions
from groundup.inference.requests import Completion, Sampling

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
from tiny_engines import BYTES

EXAMPLES = instructions("heldout", 0, 20)
ANSWERS = {example.prompt: example.answer for example in EXAMPLES}


class Scripted:
    """Answers as a function of the prompt's text and the sampling."""

    tokenizer = BYTES

    def __init__(self, reply):
        self.reply = reply
        self.requests = []

    def generate(self, requests):
        self.requests += requests
        texts = [self.reply(BYTES.decode(r.prompt).split("<|user|>")[1].split("<|end|>")[0], r) for r in requests]
        return [Completion((1,), text, (0.0,), "stop") for text in texts]


def test_a_request_is_a_chat_that_ends_at_the_end_mark():
    request = answer_request(Scripted(None), EXAMPLES[0], Sampling())
    assert BYTES.decode(request.prompt) == f"<|endoftext|><|user|>{EXAMPLES[0].prompt}<|end|><|assistant|>"
    assert [BYTES.decode([token]) for token in request.stop_ids] == ["<|end|>", "<|endoftext|>"]


def test_a_model_that_knows_only_sums():
    engine = Scripted(lambda prompt, _: ANSWERS[prompt] if prompt.startswith("Add") else "0" * 12)
    summary = answer(engine, EXAMPLES).summary()
    assert summary["accuracy"]["correct"] == 4
    assert summary["accuracy"]["n"] == 20
    assert {task: row["estimate"] for task, row in summary["accuracy_by_task"].items()} == {
        task: float(task == "add") for task in TASKS
    }
    assert [sample["correct"] for sample in summary["samples"]] == [task == "add" for task in TASKS]
    assert summary["samples"][1]["answer"] == summary["samples"][1]["expected"]
    assert {request.sampling for request in engine.requests} == {Sampling(MAX_ANSWER_TOKENS, 0.0)}


def test_pass_at_k_of_a_model_that_is_right_in_two_of_eight_samples():
    drawn = {}

    def reply(prompt, request):
        drawn.setdefault(prompt, []).append(request.sampling.seed)
        return ANSWERS[prompt] if len(drawn[prompt]) in (3, 8) else "?"

    found = sampled_pass_at_k(Scripted(reply), EXAMPLES[:5], 8, (1, 2, 8), seed=0)
    assert found == pytest.approx({"1": 0.25, "2": 1 - (6 / 8) * (5 / 7), "8": 1.0})
    seeds = [seed for each in drawn.values() for seed in each]
    assert len(set(seeds)) == 40  # no two samples share their random numbers
