"""The memory of all sequences that run at the same time: pages of keys and values, and rows of states.

The model is given a cache of the usual kind (`models/cache.py`); before each forward pass it is told which sequences
are computed (`PagedCache.of`). What it holds depends on the kind of memory:

- Keys, values, latents and tokens by position lie in pages: one tensor a layer for each, (slots, G, K), where a block
  is `block_size` neighbouring slots. A token is written to slot table[p // size] · size + p mod size. Reading gathers a
  row's blocks, (B, G, S, K), and keeps them while the same sequences decode, so that a token costs no copy of the past.
- What is not by position (states, rings, the newest patch) has a row of its own for each sequence, taken out before and
  put back after the forward. A beginning of a text cannot be shared there: a row holds its end only.

One more slot at the end takes what is padding. A stacked tensor for all layers would be copied whole on every update.

Shapes: B batch, T query time, N tokens of B rows, S slots of a row, G key/value heads, K head width, M blocks.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from groundup.inference.scheduler import Chunk, Limits
from groundup.models.cache import KVCache, LayerCache, SlotCache, TokenCache
from groundup.models.hierarchical import HierarchicalCache
from groundup.models.language_model import LanguageModel

SPARE_BLOCKS = 4  # what is gathered for decoding has room for so many more tokens


class PagedCache:
    """The memory of a model for as many sequences as may run."""

    def __init__(self, model: LanguageModel, limits: Limits) -> None:
        empty = model.new_cache(1, model.config.context_length)
        parts = [*empty.layers, *([] if empty.tokens is None else [empty.tokens])]
        self._size = limits.block_size
        blocks_of_context = -(-model.config.context_length // self._size)
        most = limits.max_running * blocks_of_context
        block_bytes = sum(map(_bytes_of_position, parts)) * self._size
        fitting = limits.cache_bytes // block_bytes if block_bytes else most
        self.num_blocks = max(min(most, fitting), blocks_of_context) + 1
        self._pages = Pages(self.num_blocks, self._size)
        self._row_pools: list[RowPool] = []
        self._slots: list[PagedSlots | PagedTokens] = []
        of_patches = empty.parts[1] if isinstance(empty, HierarchicalCache) else []

        def pooled(part: LayerCache) -> LayerCache:
            if isinstance(part, SlotCache):
                self._slots.append(PagedSlots(part, self._pages, any(part is other for other in of_patches)))
                return self._slots[-1]
            if isinstance(part, TokenCache):
                self._slots.append(PagedTokens(part, self._pages))
                return self._slots[-1]
            if not vars(part):  # nothing: the keys are those of another layer
                return part
            self._row_pools.append(RowPool(part, limits.max_running))
            return self._row_pools[-1].layer

        self.whole = empty.with_layers(pooled)  # of all sequences

    @property
    def by_position(self) -> bool:
        """Whether all memory is, so that beginnings of texts can be shared."""
        return not self._row_pools

    def clear_row(self, row: int) -> None:
        """Nothing of the sequence that had it before is left."""
        for pool in self._row_pools:
            pool.clear(row)

    def copy_block(self, source: int, target: int) -> None:
        """Everything that a block holds, in all layers."""
        for part in self._slots:
            for name in part.pooled:
                blocks = self._pages.blocks(getattr(part, name))
                blocks[target] = blocks[source]

    @contextmanager
    def of(self, chunks: Sequence[Chunk], positions_BT: Tensor) -> Iterator[KVCache]:
        """The cache of these sequences, for one forward pass of tokens at these positions."""
        self._pages.turn_to(chunks, positions_BT)
        numbers = [chunk.sequence.row for chunk in chunks]
        first = numbers[0]
        assert first is not None
        neighbours = numbers == list(range(first, first + len(numbers)))
        rows = slice(first, first + len(numbers)) if neighbours else torch.tensor(numbers)
        for pool in self._row_pools:
            pool.take(rows)
        yield self.whole
        for pool in self._row_pools:
            pool.put_back(rows)


class Table:
    """The blocks of some rows (B, M), each of `size` slots, in the order of their positions."""

    def __init__(self, blocks_BM: Tensor, size: int, padding: int) -> None:
        self.blocks_BM, self._size, self._padding = blocks_BM, size, padding

    def slots_of(self, positions_BT: Tensor) -> Tensor:
        """The slot of each position of the rows; that of padding for negative ones."""
        real_BT = positions_BT.clamp(min=0)
        blocks_BT = self.blocks_BM.gather(1, real_BT // self._size)
        return torch.where(positions_BT < 0, self._padding, blocks_BT * self._size + real_BT % self._size)


class Pages:
    """Where the rows of the present forward pass lie, for all layers."""

    def __init__(self, num_blocks: int, size: int) -> None:
        self.num_blocks, self._size = num_blocks, size
        self.batch = 0  # changes where a step decodes other sequences than the last one did
        self._expected: list[tuple[int, int]] = []
        self._width = 0

    def turn_to(self, chunks: Sequence[Chunk], positions_BT: Tensor) -> None:
        """Read and write the blocks of these sequences; new tokens are at these positions."""
        size, device = self._size, positions_BT.device
        needed = [-(-(chunk.start + chunk.count) // size) for chunk in chunks]
        tables = [chunk.sequence.table[:blocks] for chunk, blocks in zip(chunks, needed, strict=True)]
        longest = width = max(needed)
        self.decodes = positions_BT.shape[1] == 1
        if self.decodes:
            if longest > self._width or self._expected != [(chunk.sequence.id, chunk.start) for chunk in chunks]:
                self.batch, self._width = self.batch + 1, longest + SPARE_BLOCKS
            self._expected = [(chunk.sequence.id, chunk.start + 1) for chunk in chunks]
            width = self._width
        table_BM = torch.tensor([[*table, *[0] * (width - len(table))] for table in tables], device=device)
        self.table = Table(table_BM, size, self.num_blocks * size)
        self.key_positions_1S = torch.arange(longest * size, device=device)[None]
        self.slots_N = self.table.slots_of(positions_BT).flatten()

    def read(self, pool: Tensor) -> Tensor:
        """The slots of the rows, (B, G, S, K), and where they decode some more for what is to come.

        Contiguous: attention to keys that lie G·K apart takes almost twice as long as to those that lie K apart.
        """
        table_BM = self.table.blocks_BM
        gathered = self.blocks(pool).index_select(0, table_BM.flatten())
        return gathered.view(len(table_BM), -1, *pool.shape[1:]).transpose(1, 2).contiguous()

    def blocks(self, pool: Tensor) -> Tensor:
        """A pool (slots, ...) as its blocks (M, all that one holds), without the slot of padding."""
        return pool[:-1].view(self.num_blocks, -1)

    def new_pool(self, like: Tensor, *shape: int) -> Tensor:
        """Zeros (slots, ...) for all blocks, and one slot for padding."""
        return like.new_zeros(self.num_blocks * self._size + 1, *shape)


class PagedSlots(SlotCache):
    """The keys and values of one layer, in pages. Layers over patches count positions of their own.

    While the same sequences decode, what was gathered is kept and only gets the new tokens.
    """

    pooled = ("keys_NGK", "values_NGK")

    def __init__(self, empty: SlotCache, pages: Pages, of_patches: bool) -> None:
        self._pages, self._of_patches = pages, of_patches
        _, G, _, K = empty.keys_BGSK.shape
        self.keys_NGK = pages.new_pool(empty.keys_BGSK, G, K)
        self.values_NGK = pages.new_pool(empty.values_BGSK, G, empty.values_BGSK.shape[3])
        self._gathered: tuple[Tensor, Tensor] | None = None
        self._batch = 0

    def update(self, positions_BT: Tensor, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        pages = self._pages
        slots_N = pages.table.slots_of(positions_BT).flatten() if self._of_patches else pages.slots_N
        self.keys_NGK.index_copy_(0, slots_N, k_BGTK.transpose(1, 2).flatten(0, 1))
        self.values_NGK.index_copy_(0, slots_N, v_BGTK.transpose(1, 2).flatten(0, 1))
        if pages.decodes and not self._of_patches:
            k_BGSK, v_BGSK = self._decoded(positions_BT, k_BGTK, v_BGTK)
        else:
            k_BGSK, v_BGSK = pages.read(self.keys_NGK), pages.read(self.values_NGK)
        S = pages.key_positions_1S.shape[1]
        return k_BGSK[:, :, :S], v_BGSK[:, :, :S], pages.key_positions_1S

    def _decoded(self, positions_B1: Tensor, k_BG1K: Tensor, v_BG1K: Tensor) -> tuple[Tensor, Tensor]:
        """All of the rows, gathered again only where they are other ones than before."""
        if self._gathered is None or self._batch != self._pages.batch:
            self._gathered, self._batch = None, self._pages.batch  # None: so that there are never two
            self._gathered = self._pages.read(self.keys_NGK), self._pages.read(self.values_NGK)
        else:
            rows_B = torch.arange(len(positions_B1), device=positions_B1.device)
            for kept, new in zip(self._gathered, (k_BG1K, v_BG1K), strict=True):
                kept[rows_B, :, positions_B1[:, 0]] = new[:, :, 0]
        return self._gathered


class PagedTokens(TokenCache):
    """The ids of the tokens, in pages."""

    pooled = ("ids_N",)

    def __init__(self, empty: TokenCache, pages: Pages) -> None:
        self._pages, self.back, self.nothing = pages, empty.back, empty.nothing
        self.ids_N = pages.new_pool(empty.ids_BS)

    def update(self, positions_BT: Tensor, tokens_BT: Tensor) -> list[Tensor]:
        return self.update_at(self._pages.table, positions_BT, tokens_BT)

    def update_at(self, table: Table, positions_BT: Tensor, tokens_BT: Tensor) -> list[Tensor]:
        """`update` of the rows of a table."""
        self.ids_N.index_copy_(0, table.slots_of(positions_BT).flatten(), tokens_BT.flatten())
        return [
            torch.where(positions_BT < distance, self.nothing, self.ids_N[table.slots_of(positions_BT - distance)])
            for distance in range(1, self.back + 1)
        ]


class RowPool:
    """A memory that is not by position, a row for each sequence; `layer` is what the model uses."""

    def __init__(self, empty: LayerCache, rows: int) -> None:
        self._empty = {name: value for name, value in vars(empty).items() if isinstance(value, Tensor)}
        self._rows = {name: value.new_zeros(rows, *value.shape[1:]) for name, value in self._empty.items()}
        self.layer = copy.copy(empty)

    def clear(self, row: int) -> None:
        for name, value in self._empty.items():
            self._rows[name][row] = value[0]

    def take(self, rows: slice | Tensor) -> None:
        for name, value in self._rows.items():
            setattr(self.layer, name, value[rows])

    def put_back(self, rows: slice | Tensor) -> None:
        for name, value in self._rows.items():
            value[rows] = getattr(self.layer, name)


def _bytes_of_position(part: LayerCache) -> int:
    """What one position of one sequence takes, where the memory is by position."""
    if isinstance(part, SlotCache):
        tensors = (part.keys_BGSK, part.values_BGSK)
        return sum(tensor.shape[1] * tensor.shape[3] * tensor.element_size() for tensor in tensors)
    return torch.long.itemsize if isinstance(part, TokenCache) else 0
