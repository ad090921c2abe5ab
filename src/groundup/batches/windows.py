"""Pretraining batches: windows of a token shard in a shuffled order that depends only on the seed."""

import numpy as np
import torch

from groundup.batches.batch import Batch
from groundup.batches.permutation import permute
from groundup.core.errors import InputError
from groundup.core.seeds import derive_seed


class WindowSource:
    """Disjoint windows of T+1 tokens; each epoch has its own permutation and its own offset of the window grid."""

    def __init__(self, tokens: np.ndarray, batch_size: int, context_length: int, seed: int) -> None:
        self.tokens = tokens
        self.batch_size = batch_size
        self.context_length = context_length
        self.seed = seed
        self.windows = (len(tokens) - context_length) // context_length
        if self.windows < 1:
            raise InputError(
                f"The training text has {len(tokens)} tokens, fewer than two contexts of {context_length}; "
                "give more text or a smaller context_length."
            )

    def batch(self, step: int) -> Batch:
        """Batch `step`: tokens and targets (B, T), all weights 1."""
        starts = [self._start(step * self.batch_size + row) for row in range(self.batch_size)]
        rows = [np.asarray(self.tokens[start : start + self.context_length + 1], dtype=np.int64) for start in starts]
        windows = torch.from_numpy(np.stack(rows))
        tokens, targets = windows[:, :-1].contiguous(), windows[:, 1:].contiguous()
        return Batch(tokens, targets, torch.ones(targets.shape))

    def _start(self, example: int) -> int:
        epoch, index = divmod(example, self.windows)
        key = derive_seed("windows", self.seed, epoch)
        offset = key % self.context_length  # a whole context is left over for it, see `windows`
        return offset + self.context_length * permute(index, self.windows, key)
