"""Verifiable instructions: small tasks whose answers a program can check.

    sort      Sort the digits 739142.        123479
    add       Add 87 and 25.                 112
    copy      Copy 5930718.                  5930718
    reverse   Reverse 41775.                 57714
    count     How many 7s are in 972771?     3

An example is a function of (split, seed, index). The split is a property of the operands (a hash of them, in any
order), so no operands of the held-out split can ever be seen in training, whatever the seed or the number of examples:
neither 85 + 47 for 47 + 85, nor the digits to copy for the same digits to reverse.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from groundup.core.seeds import derive_seed, rng

TASKS = ("sort", "add", "copy", "reverse", "count")
SPLITS = ("train", "validation", "heldout")
SHARE_OF_EACH_TEST_SPLIT = 10  # one in ten operand sets is held out, one in ten is for validation


@dataclass(frozen=True)
class Instruction:
    """A prompt for the user's turn, and the only right answer."""

    task: str
    prompt: str
    answer: str


def instruction(split: str, seed: int, index: int) -> Instruction:
    """Example `index` of a split; tasks take turns."""
    assert split in SPLITS, f"there is no split {split!r}"
    task = TASKS[index % len(TASKS)]
    generator = rng("instruction", split, seed, index)
    while True:
        example = _draw(task, generator)
        if split_of(example) == split:
            return example


def instructions(split: str, seed: int, count: int) -> list[Instruction]:
    """The first `count` distinct examples of a split."""
    seen: dict[str, Instruction] = {}
    index = 0
    while len(seen) < count:
        example = instruction(split, seed, index)
        seen.setdefault(example.prompt, example)
        index += 1
    return list(seen.values())


def split_of(example: Instruction) -> str:
    """The split that an example's operands belong to."""
    operands = sorted(re.findall(r"\d+", example.prompt))
    share = derive_seed("instruction split", *operands) % SHARE_OF_EACH_TEST_SPLIT
    return {0: "heldout", 1: "validation"}.get(share, "train")


def is_correct(example: Instruction, text: str) -> bool:
    """Whether a model's answer is exactly the right one, but for white space around it."""
    return text.strip() == example.answer


def accuracy_by_task(examples: Sequence[Instruction], correct: Sequence[bool]) -> dict[str, tuple[int, int]]:
    """Task to (correct, examples)."""
    counts: dict[str, tuple[int, int]] = {}
    for example, hit in zip(examples, correct, strict=True):
        right, total = counts.get(example.task, (0, 0))
        counts[example.task] = (right + hit, total + 1)
    return counts


def _draw(task: str, generator: Random) -> Instruction:
    if task == "sort":
        digits = _digits(generator, 4, 7)
        return Instruction(task, f"Sort the digits {digits}.", "".join(sorted(digits)))
    if task == "add":
        first, second = generator.randint(10, 99), generator.randint(2, 30)
        return Instruction(task, f"Add {first} and {second}.", str(first + second))
    if task == "copy":
        digits = _digits(generator, 5, 9)
        return Instruction(task, f"Copy {digits}.", digits)
    if task == "reverse":
        digits = _digits(generator, 4, 7)
        return Instruction(task, f"Reverse {digits}.", digits[::-1])
    digits = _digits(generator, 5, 8)
    wanted = generator.choice(digits)
    return Instruction(task, f"How many {wanted}s are in {digits}?", str(digits.count(wanted)))


def _digits(generator: Random, shortest: int, longest: int) -> str:
    return "".join(generator.choices("0123456789", k=generator.randint(shortest, longest)))
