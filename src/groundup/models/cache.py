"""What a decoder remembers of the tokens that it has seen, so that the next one costs one token's work.

Each sequence mixer has a memory of its own kind: all keys and values, a ring of the last ones, latents, or a state.
Tokens are written at their positions, so rows of different prompt lengths share a batch: they are padded on the right
with positions of -1, which no memory keeps.

Shapes: B batch, T query time, S slots, G key/value heads, K head width.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


class LayerCache:
    """One layer's memory: attributes that are tensors have the batch as their first axis."""

    def keep_rows(self, rows: Tensor) -> None:
        """Drop the other rows."""
        for name, value in vars(self).items():
            if isinstance(value, Tensor):
                setattr(self, name, value[rows])


class SlotCache(LayerCache):
    """Keys and values (B, G, S, K) by position, for attention to all that came before.

    One more slot at the end takes what is padding.
    """

    def __init__(self, keys_BGSK: Tensor, values_BGSK: Tensor) -> None:
        self.keys_BGSK, self.values_BGSK = keys_BGSK, values_BGSK

    def update(self, positions_BT: Tensor, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Write new keys and values; returns all of the layer and their positions (1, S).

        A slot behind a row's newest token has not been written yet, or by a longer row only: no query looks there.
        """
        S = self.keys_BGSK.shape[2] - 1
        rows_B1 = torch.arange(positions_BT.shape[0], device=positions_BT.device)[:, None]
        slots_BT = torch.where(positions_BT < 0, S, positions_BT)
        self.keys_BGSK[rows_B1, :, slots_BT] = k_BGTK.transpose(1, 2)
        self.values_BGSK[rows_B1, :, slots_BT] = v_BGTK.transpose(1, 2)
        return self.keys_BGSK[:, :, :S], self.values_BGSK[:, :, :S], torch.arange(S, device=slots_BT.device)[None]


class RingCache(LayerCache):
    """The last W keys and values of each row, for attention within a window: position p lies in slot p mod W."""

    def __init__(self, keys_BGSK: Tensor, values_BGSK: Tensor) -> None:
        self._keys_BGSK, self._values_BGSK = keys_BGSK, values_BGSK
        B, S = keys_BGSK.shape[0], keys_BGSK.shape[2]
        self._positions_BS = torch.full((B, S), -1, device=keys_BGSK.device)

    def update(self, positions_BT: Tensor, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `SlotCache.update`; what is returned still holds the old keys that the first of the new tokens see."""
        window = self._keys_BGSK.shape[2] - 1
        found = (
            torch.cat((self._keys_BGSK[:, :, :window], k_BGTK), dim=2),
            torch.cat((self._values_BGSK[:, :, :window], v_BGTK), dim=2),
            torch.cat((self._positions_BS[:, :window], positions_BT), dim=1),
        )
        newest_B1 = positions_BT.amax(dim=1, keepdim=True)
        kept_BT = (positions_BT >= 0) & (positions_BT > newest_B1 - window)
        slots_BT = torch.where(kept_BT, positions_BT % window, window)
        rows_B1 = torch.arange(positions_BT.shape[0], device=positions_BT.device)[:, None]
        self._keys_BGSK[rows_B1, :, slots_BT] = k_BGTK.transpose(1, 2)
        self._values_BGSK[rows_B1, :, slots_BT] = v_BGTK.transpose(1, 2)
        self._positions_BS[rows_B1, slots_BT] = positions_BT
        return found


class StateCache(LayerCache):
    """A state of fixed size, and the last inputs of a short convolution where there is one.

    `state` is any (B, ...), fp32; `tail_BWC` the W - 1 newest inputs of the convolution, oldest first.
    """

    def __init__(self, state: Tensor, tail_BWC: Tensor | None = None) -> None:
        self.state, self.tail_BWC = state, tail_BWC


class TokenCache(LayerCache):
    """The ids of the tokens by position (B, S), for embeddings of several tokens; one more slot takes padding, and as
    many more in front as they look back, which hold `nothing`."""

    def __init__(self, batch: int, capacity: int, back: int, nothing: int, device: torch.device) -> None:
        self.back, self.nothing = back, nothing
        self.ids_BS = torch.full((batch, back + capacity + 1), nothing, device=device)

    def update(self, positions_BT: Tensor, tokens_BT: Tensor) -> list[Tensor]:
        """Write new ids; returns those 1, 2, ... places in front of each (B, T)."""
        slots_BT = torch.where(positions_BT < 0, self.ids_BS.shape[1] - 1, positions_BT + self.back)
        self.ids_BS.scatter_(1, slots_BT, tokens_BT)
        return [self.ids_BS.gather(1, slots_BT - distance) for distance in range(1, self.back + 1)]


class KVCache:
    """The memories of all layers, and of the embedding where it needs one."""

    def __init__(self, layers: Sequence[LayerCache], tokens: TokenCache | None = None) -> None:
        self.layers, self.tokens = list(layers), tokens

    def keep_rows(self, rows: Tensor) -> None:
        """Drop the other rows, so that finished sequences cost nothing more."""
        for layer in (*self.layers, *([] if self.tokens is None else [self.tokens])):
            layer.keep_rows(rows)

    def with_layers(self, change: Callable[[LayerCache], LayerCache]) -> "KVCache":
        """The same memory with something else in the place of each part."""
        tokens = None if self.tokens is None else change(self.tokens)
        assert tokens is None or isinstance(tokens, TokenCache)
        return KVCache([change(layer) for layer in self.layers], tokens)


def key_value_cache(
    batch: int, heads: int, capacity: int, window: int | None, widths: tuple[int, int], like: Tensor
) -> SlotCache | RingCache:
    """An empty cache for `capacity` positions, or for a window if that is shorter; `widths` of key and value."""
    slots = capacity if window is None else min(window, capacity)
    keys, values = (
        torch.zeros(batch, heads, slots + 1, width, dtype=like.dtype, device=like.device) for width in widths
    )
    return SlotCache(keys, values) if window is None or window >= capacity else RingCache(keys, values)
