"""The key/value cache: what a decoder remembers of the tokens that it has seen.

One pair of tensors a layer (a single stacked tensor would be copied whole at each update). A row's tokens are written
at their positions, so rows of different prompt lengths share a batch without left padding: a query at position p sees
exactly the slots 0..p of its row, and whatever lies behind p has not been written yet or will be overwritten.

Shapes: B batch, T query time, S slots, G key/value heads, K head width.
"""

import torch
from torch import Tensor

from groundup.models.config import DecoderConfig


class LayerCache:
    """Keys and values of one layer, (B, G, S, K) each."""

    def __init__(self, keys_BGSK: Tensor, values_BGSK: Tensor) -> None:
        self.keys_BGSK = keys_BGSK
        self.values_BGSK = values_BGSK

    def update(self, positions_BT: Tensor, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor]:
        """Write the new keys and values at their positions; returns all keys and values of the layer."""
        rows_B1 = torch.arange(positions_BT.shape[0], device=positions_BT.device)[:, None]
        self.keys_BGSK[rows_B1, :, positions_BT] = k_BGTK.transpose(1, 2)
        self.values_BGSK[rows_B1, :, positions_BT] = v_BGTK.transpose(1, 2)
        return self.keys_BGSK, self.values_BGSK

    def visible(self, positions_BT: Tensor) -> Tensor:
        """Which slots each query may see: mask (B, T, S)."""
        slots_S = torch.arange(self.keys_BGSK.shape[2], device=positions_BT.device)
        return slots_S <= positions_BT[..., None]


class KVCache:
    """The layers' caches for a batch of `batch` rows and `capacity` positions."""

    def __init__(
        self, config: DecoderConfig, batch: int, capacity: int, dtype: torch.dtype, device: torch.device | str = "cpu"
    ) -> None:
        shape = (batch, config.num_kv_heads, capacity, config.head_width)
        self.layers = [
            LayerCache(torch.zeros(shape, dtype=dtype, device=device), torch.zeros(shape, dtype=dtype, device=device))
            for _ in range(config.depth)
        ]

    def keep_rows(self, rows: Tensor) -> None:
        """Drop the other rows, so that finished sequences cost nothing more."""
        for layer in self.layers:
            layer.keys_BGSK, layer.values_BGSK = layer.keys_BGSK[rows], layer.values_BGSK[rows]
