"""Supervised batches: chat conversations, right-padded, with the loss on the answers and their `<|end|>` only."""

from collections.abc import Sequence

import torch

from groundup.batches.batch import Batch, share_of
from groundup.evaluation.instructions import instruction
from groundup.inference.engine import pad
from groundup.tokenization.chat import Message, render_conversation
from groundup.tokenization.tokenizer import Tokenizer

LENGTH_MULTIPLE = 8  # few distinct shapes, so that few are compiled


class InstructionSource:
    """Training examples of the verifiable instructions; a pure function of (seed, step)."""

    def __init__(self, tokenizer: Tokenizer, batch_size: int, seed: int) -> None:
        self.tokenizer = tokenizer
        self.batch_size = batch_size
        self.seed = seed

    def batch(self, step: int, shard: int = 0, shards: int = 1) -> Batch:
        numbers = share_of(step * self.batch_size, (step + 1) * self.batch_size, shard, shards)
        examples = [instruction("train", self.seed, number) for number in numbers]
        turns = [[Message("user", each.prompt), Message("assistant", each.answer)] for each in examples]
        return masked_batch([render_conversation(self.tokenizer, messages) for messages in turns])


def masked_batch(conversations: Sequence[tuple[Sequence[int], Sequence[int]]]) -> Batch:
    """Pad (ids, mask) pairs on the right, then shift: the target of a position is the next id, with the next mask.

    Right padding needs no attention mask, because causal attention never looks right, and padding has weight 0.
    """
    longest = max(len(ids) for ids, _ in conversations)
    length = -(-(longest - 1) // LENGTH_MULTIPLE) * LENGTH_MULTIPLE + 1
    filler = [0] * length
    tokens = pad([[*ids, *filler][:length] for ids, _ in conversations])
    weights = pad([[*mask, *filler][:length] for _, mask in conversations]).to(torch.float32)
    return Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous(), weights[:, 1:].contiguous())
