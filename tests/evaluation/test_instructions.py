"""The verifiable instructions: right answers by another way, and splits that share no operands."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from groundup.evaluation.instructions import (
    SPLITS,
    TASKS,
    Instruction,
    accuracy_by_task,
    instruction,
    instructions,
    is_correct,
    split_of,
)


def solve(prompt):
    """Read the prompt as a person would, and work the answer out digit by digit."""
    if match := re.fullmatch(r"Sort the digits (\d+)\.", prompt):
        return "".join(digit * match[1].count(digit) for digit in "0123456789")
    if match := re.fullmatch(r"Add (\d+) and (\d+)\.", prompt):
        return f"{int(match[1]) + int(match[2])}"
    if match := re.fullmatch(r"Copy (\d+)\.", prompt):
        return match[1]
    if match := re.fullmatch(r"Reverse (\d+)\.", prompt):
        answer = ""
        for digit in match[1]:
            answer = digit + answer
        return answer
    match = re.fullmatch(r"How many (\d)s are in (\d+)\?", prompt)
    return str(len([digit for digit in match[2] if digit == match[1]]))


@given(st.sampled_from(SPLITS), st.integers(0, 2**63 - 1), st.integers(0, 10**6))
def test_every_answer_is_right_and_in_its_split(split, seed, index):
    example = instruction(split, seed, index)
    assert example.answer == solve(example.prompt)
    assert example.task == TASKS[index % len(TASKS)]
    assert split_of(example) == split
    assert instruction(split, seed, index) == example


def operands(example):
    return example.task, tuple(sorted(re.findall(r"\d+", example.prompt)))


@pytest.mark.parametrize("seeds", [(0, 0, 0), (0, 1, 2), (123, 77, 5)])
def test_splits_share_no_operands_whatever_the_seeds(seeds):
    parts = [{operands(e) for e in instructions(split, seed, 700)} for split, seed in zip(SPLITS, seeds, strict=True)]
    for one in range(3):
        for other in range(one):
            assert not parts[one] & parts[other]


def test_the_order_of_a_sum_and_the_task_do_not_change_the_split():
    for first in range(10, 60):
        sides = [Instruction("add", f"Add {a} and {b}.", "") for a, b in ((first, 71), (71, first))]
        assert split_of(sides[0]) == split_of(sides[1])
        digits = [Instruction("", f"{verb} {first}731.", "") for verb in ("Sort the digits", "Copy", "Reverse")]
        assert len({split_of(each) for each in digits}) == 1


def test_a_tenth_of_the_operands_is_for_each_test_split():
    drawn = [split_of(Instruction("copy", f"Copy {number}.", "")) for number in range(10_000, 20_000)]
    for split in ("heldout", "validation"):
        assert 0.09 < drawn.count(split) / len(drawn) < 0.11


def test_examples_are_distinct_and_a_longer_list_begins_with_a_shorter_one():
    hundred = instructions("heldout", 0, 400)
    assert len({example.prompt for example in hundred}) == 400
    assert instructions("heldout", 0, 100) == hundred[:100]
    assert {example.task for example in hundred[:5]} == set(TASKS)
    assert instructions("heldout", 1, 100) != hundred[:100]


def test_an_answer_is_right_only_if_it_is_exactly_that():
    example = Instruction("sort", "Sort the digits 21.", "12")
    assert is_correct(example, "12")
    assert is_correct(example, " 12\n")
    for wrong in ("", "1 2", "12.", "The answer is 12", "21", "012"):
        assert not is_correct(example, wrong)


def test_counts_by_task():
    examples = [Instruction(task, "", "") for task in ("add", "sort", "add", "add")]
    assert accuracy_by_task(examples, [True, False, False, True]) == {"add": (2, 3), "sort": (0, 1)}


def test_an_unknown_split_is_a_fault_of_ours():
    with pytest.raises(AssertionError, match="no split 'test'"):
        instruction("test", 0, 0)
