"""Windows of a token stream in a shuffled order that depends only on the seed; they run across documents."""

from collections.abc import Sequence

import numpy as np
import torch

from groundup.batches.batch import Batch, Batches, Seen
from groundup.batches.permutation import permute
from groundup.batches.token_stream import TokenStream
from groundup.core.errors import InputError
from groundup.core.seeds import derive_seed


class Windows:
    """Disjoint windows of T+1 tokens; each epoch has its own permutation and its own offset of the window grid."""

    def __init__(self, stream: TokenStream, context_length: int, seed: int) -> None:
        self.stream = stream
        self.context_length = context_length
        self.seed = seed
        self.windows = (len(stream) - context_length) // context_length
        if self.windows < 1:
            raise InputError(
                f"{stream.place} has {len(stream)} tokens, fewer than two contexts of {context_length}; "
                "give more text or a smaller context_length."
            )

    def rows(self, numbers: Sequence[int]) -> Batch:
        """Tokens and targets (B, T), all weights 1."""
        T = self.context_length
        windows = np.empty((len(numbers), T + 1), dtype=np.int64)
        for row, number in enumerate(numbers):
            start = self._start(number)
            windows[row] = self.stream[start : start + T + 1]
        windows_BT = torch.from_numpy(windows)
        tokens_BT, targets_BT = windows_BT[:, :-1].contiguous(), windows_BT[:, 1:].contiguous()
        return Batch(tokens_BT, targets_BT, torch.ones(targets_BT.shape))

    def seen(self, examples: int) -> tuple[Seen, ...]:
        """An epoch reads all tokens but fewer than two windows at the ends, other ones each time."""
        return (Seen("", examples * self.context_length, self.windows * self.context_length),)

    def _start(self, number: int) -> int:
        epoch, index = divmod(number, self.windows)
        key = derive_seed("windows", self.seed, epoch)
        offset = key % self.context_length  # a whole context is left over for it, see `windows`
        return offset + self.context_length * permute(index, self.windows, key)


class WindowSource(Batches):
    """Batches of the windows of one stream or array."""

    def __init__(self, tokens: TokenStream | np.ndarray, batch_size: int, context_length: int, seed: int) -> None:
        stream = TokenStream([tokens]) if isinstance(tokens, np.ndarray) else tokens
        super().__init__(Windows(stream, context_length, seed), batch_size)
