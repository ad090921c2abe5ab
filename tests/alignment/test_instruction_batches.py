"""Supervised batches: the loss sees each answer and its `<|end|>`, and nothing else."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.alignment.instruction_batches import LENGTH_MULTIPLE, InstructionSource, masked_batch
from groundup.evaluation.instructions import instruction, split_of
from groundup.tokenization.chat import Message, render_conversation
from groundup.training.objectives import next_token

sys.path.insert(0, str(Path(__file__).parents[1] / "inference"))
from tiny_engines import BYTES, full_logits, tiny_engine

END = BYTES.special_tokens["<|end|>"]


def test_the_weights_mark_the_answer_and_its_end():
    batch = InstructionSource(BYTES, 10, seed=3).batch(2)
    for row in range(10):
        example = instruction("train", 3, 20 + row)
        assert split_of(example) == "train"
        weighted = batch.targets_BT[row][batch.weights_BT[row] == 1].tolist()
        assert weighted == [*example.answer.encode(), END]
        text = f"<|endoftext|><|user|>{example.prompt}<|end|><|assistant|>{example.answer}<|end|>"
        ids = BYTES.encode(text, allow_special=True)
        assert batch.tokens_BT[row, : len(ids) - 1].tolist() == ids[:-1]
        assert batch.targets_BT[row, : len(ids) - 1].tolist() == ids[1:]


def test_batches_are_a_function_of_the_seed_and_the_step():
    source = InstructionSource(BYTES, 4, seed=0)
    for one, again in zip(source.batch(5)[:3], InstructionSource(BYTES, 4, seed=0).batch(5)[:3], strict=True):
        assert torch.equal(one, again)
    rows = {tuple(row) for step in range(5) for row in source.batch(step).tokens_BT[:, :12].tolist()}
    assert len(rows) > 10
    assert not torch.equal(source.batch(0).tokens_BT[0, :30], InstructionSource(BYTES, 4, 1).batch(0).tokens_BT[0, :30])


@given(
    st.lists(
        st.lists(st.tuples(st.integers(0, 259), st.integers(0, 1)), min_size=2, max_size=40), min_size=1, max_size=6
    )
)
def test_padding_shifts_and_never_counts(rows):
    conversations = [([token for token, _ in row], [mark for _, mark in row]) for row in rows]
    batch = masked_batch(conversations)
    assert {tensor.shape for tensor in batch[:3]} == {batch.tokens_BT.shape}
    assert batch.tokens_BT.shape[1] % LENGTH_MULTIPLE == 0
    for at, (ids, mask) in enumerate(conversations):
        length = len(ids) - 1
        assert batch.tokens_BT[at, :length].tolist() == ids[:-1]
        assert batch.targets_BT[at, :length].tolist() == ids[1:]
        assert batch.weights_BT[at, :length].tolist() == mask[1:]
        assert not batch.weights_BT[at, length:].any()


def test_several_turns_count_each_answer():
    turns = [Message("user", "a"), Message("assistant", "bc"), Message("user", "d"), Message("assistant", "e")]
    batch = masked_batch([render_conversation(BYTES, turns)])
    assert BYTES.decode(batch.targets_BT[0][batch.weights_BT[0] == 1].tolist()) == "bc<|end|>e<|end|>"


def test_the_loss_is_the_mean_over_answer_tokens_and_does_not_see_padding():
    engine = tiny_engine(sharpness=8)
    conversations = [
        render_conversation(BYTES, [Message("user", "Copy 12."), Message("assistant", "12")]),
        render_conversation(BYTES, [Message("user", "Copy 123456789123."), Message("assistant", "123456789123")]),
    ]
    nats = []
    for ids, mask in conversations:
        logprobs = torch.log_softmax(full_logits(engine, ids), dim=-1)
        nats += [-logprobs[at - 1, ids[at]].item() for at in range(1, len(ids)) if mask[at]]
    with torch.no_grad():
        loss, _ = next_token(engine.model, masked_batch(conversations))
    assert len(nats) == 3 + 13
    assert loss.item() == pytest.approx(sum(nats) / len(nats), abs=1e-4)
