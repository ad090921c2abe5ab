"""One token for each of B sequences, as one compiled function: embedding to logits.

What a step costs a small model on a CPU is not arithmetic but some hundred calls from Python, and what it costs a large
one is reading the weights. So the whole model is compiled into one function of fixed shapes:

    (tokens_B, positions_B, table_BM) → logits_BV, their largest    and the new keys and values written into the pages

Rows are padded to a power of two, the batch's bucket, with positions of -1, and tables to the longest, whose length is
a variable of the compiled function, so that longer texts compile nothing anew. Products of few rows are
multiply-and-sum (`kernels/matvec.py`) in the buckets where a measurement found them faster; others take packed weights
(`kernels/packed_product.py`).

Each bucket is a compiled function of its own, without the guards by which PyTorch finds out whether a compiled function
still fits: it always does, as model and pages stay the same and only the number of blocks varies.

Compiling takes from ten seconds to a minute for each bucket (then it is on disk), and a token gains milliseconds. So it
pays after some thousand tokens: a server compiles, one short text does not.

Only memory by position can be compiled so: pages of keys, values, latents or the tokens themselves, which n-gram
embeddings look back at. A decoder with states, rings or experts (whose shapes depend on the tokens) runs without.

Shapes: B batch, M blocks of the longest row, N slots of the pages, S slots of a row, G key/value heads, K head width, V
vocabulary.
"""

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from groundup.inference.forward_pass import alone
from groundup.inference.paged_cache import PagedSlots, PagedTokens, Table
from groundup.inference.sampling import Best, best_of
from groundup.kernels.compiler import can_compile
from groundup.kernels.dispatch import record, warn_once
from groundup.kernels.matvec import multiply_and_sum
from groundup.kernels.packed_product import PackedWeights, can_pack, packed_products
from groundup.models.cache import KVCache, LayerCache, SlotCache, TokenCache
from groundup.models.decoder import Decoder
from groundup.models.language_model import LanguageModel
from groundup.models.mixture_of_experts import MixtureOfExperts

LEAST_BLOCKS = 2  # a size of 1 would be a constant of the compiled function
ALWAYS_FEW, NEVER_FEW = 1, 8  # rows: between them it is measured; at 8, a packed product was three times as fast
TIMED_STEPS = 3
OPTIONS: dict[str, Any] = {
    "cpp.enable_floating_point_contract_flag": "fast",  # multiply and add in one instruction
    # Half a millisecond a token: whether it is still the same model, and whether each weight has still its shape.
    "guard_filter_fn": torch.compiler.skip_all_guards_unsafe,
    "size_asserts": False,
}


def decode_step(model: LanguageModel, memory: KVCache, block_size: int, vocab_size: int) -> "DecodeStep | None":
    """The compiled step of a model with this memory in pages; None, said once, where it has no fixed shapes or there is
    no compiler."""
    reason = ""
    if not isinstance(model, Decoder):
        reason = "only decoders have a step of fixed shapes"
    elif any(isinstance(part, MixtureOfExperts) for part in model.modules()):
        reason = "which experts work depends on the token"
    elif not all(isinstance(layer, PagedSlots) or not vars(layer) for layer in memory.layers):
        reason = "states and windows are not by position"
    elif not can_compile(pages_of(memory).keys_NGK.device):
        reason = "there is no C++ compiler (g++ or clang++)"
    if reason:
        warn_once("inference.step", "eager", reason)
        return None
    record("inference.step", "compiled")
    record("attention.one_query", "multiply_and_sum")
    return DecodeStep(model, memory, block_size, vocab_size)


class DecodeStep:
    """The step of a model, compiled for each bucket of rows when it first comes."""

    def __init__(self, model: LanguageModel, memory: KVCache, block_size: int, vocab_size: int) -> None:
        self._most_rows: dict[int, int] = {}  # by bucket
        self._compiled: dict[tuple[int, int], Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Best]]] = {}
        self._packed = PackedWeights() if can_pack(pages_of(memory).keys_NGK.device) else None

        def step(tokens_B: Tensor, positions_B: Tensor, table_BM: Tensor) -> tuple[Tensor, Best]:
            seen = seen_in_step(memory, positions_B[:, None], table_BM, block_size)
            hidden_BTD = model(tokens_B[:, None], positions_B[:, None], seen)
            logits_BV = model.unembed(hidden_BTD)[:, 0, :vocab_size]
            return logits_BV, best_of(logits_BV)

        self._step = step

    def __call__(
        self, tokens: Sequence[int], positions: Sequence[int], tables: Sequence[Sequence[int]]
    ) -> tuple[Tensor, Best]:
        """Logits (B, V) of what follows each token, and the likeliest."""
        B, M = power_of_two(len(tokens)), max(LEAST_BLOCKS, *map(len, tables))
        rest = B - len(tokens)
        tokens_B = torch.tensor([*tokens, *[0] * rest])
        positions_B = torch.tensor([*positions, *[-1] * rest])
        table_BM = torch.tensor([[*table, *[0] * (M - len(table))] for table in (*tables, *[[]] * rest)])
        inputs = (tokens_B, positions_B, table_BM)
        with alone():
            if B not in self._most_rows:
                self._most_rows[B] = self._measured(B, *inputs)
            logits_BV, best = self._run(B, self._most_rows[B], *inputs)
        return logits_BV[: len(tokens)], Best(*(each[: len(tokens)] for each in best))

    def _run(self, B: int, most: int, *inputs: Tensor) -> tuple[Tensor, Best]:
        """One step in which so many rows are few."""
        with multiply_and_sum(most), packed_products(self._packed):
            if (B, most) not in self._compiled:
                self._compiled[B, most] = torch.compile(  # pyright: ignore[reportCallIssue] - its types lack the first
                    self._step, isolate_recompiles=True, options=OPTIONS
                )
                torch._dynamo.mark_dynamic(inputs[-1], 1)
            return self._compiled[B, most](*inputs)

    def _measured(self, B: int, *inputs: Tensor) -> int:
        """How many rows are few in a bucket: all, or none where a matrix product is faster. The step is compiled and
        run some times, which writes the same keys and values again."""
        seconds: dict[int, float] = {}
        for most in (B,) if B <= ALWAYS_FEW else (0,) if B >= NEVER_FEW else (0, B):
            self._run(B, most, *inputs)  # compiles, and packs
            for _ in range(TIMED_STEPS):
                began = time.perf_counter()
                self._run(B, most, *inputs)
                seconds[most] = min(time.perf_counter() - began, seconds.get(most, math.inf))
        few = min(seconds, key=lambda most: seconds[most])
        matrix_product = "gemm" if self._packed is None else "packed_gemm"
        record(f"inference.products_of_{B}_rows", "multiply_and_sum" if few else matrix_product)
        return few


def seen_in_step(memory: KVCache, positions_B1: Tensor, table_BM: Tensor, block_size: int) -> KVCache:
    """What a model sees of its memory in one step."""
    table = Table(table_BM, block_size, len(pages_of(memory).keys_NGK) - 1)
    new_B = table.slots_of(positions_B1)[:, 0]
    order_S = torch.arange(block_size, device=table_BM.device)
    slots_BS = (table_BM[:, :, None] * block_size + order_S).flatten(1)
    order_1S = torch.arange(slots_BS.shape[1], device=table_BM.device)[None]

    def seen(part: LayerCache) -> LayerCache:
        if isinstance(part, PagedSlots):
            return SlotsOfStep(part, new_B, slots_BS, order_1S)
        return TokensOfStep(part, table) if isinstance(part, PagedTokens) else part

    return memory.with_layers(seen)


def pages_of(memory: KVCache) -> PagedSlots:
    """The first layer's that has some; all have as many slots."""
    return next(layer for layer in memory.layers if isinstance(layer, PagedSlots))


class SlotsOfStep(SlotCache):
    """One layer's pages, as the compiled step reads and writes them: reading is an index, which the compiler computes
    where the keys are used, so that nothing is copied."""

    def __init__(self, pages: PagedSlots, new_B: Tensor, slots_BS: Tensor, order_1S: Tensor) -> None:
        self.keys_NGK, self.values_NGK = pages.keys_NGK, pages.values_NGK
        self.new_B, self.slots_BS, self.order_1S = new_B, slots_BS, order_1S

    def update(self, positions_BT: Tensor, k_BGTK: Tensor, v_BGTK: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        self.keys_NGK.index_copy_(0, self.new_B, k_BGTK[:, :, 0])
        self.values_NGK.index_copy_(0, self.new_B, v_BGTK[:, :, 0])
        keys_BSGK, values_BSGK = self.keys_NGK[self.slots_BS], self.values_NGK[self.slots_BS]
        return keys_BSGK.transpose(1, 2), values_BSGK.transpose(1, 2), self.order_1S


class TokensOfStep(TokenCache):
    """The ids of the tokens in their pages, by the table of the step."""

    def __init__(self, pages: PagedTokens, table: Table) -> None:
        self._pages, self._table = pages, table

    def update(self, positions_BT: Tensor, tokens_BT: Tensor) -> list[Tensor]:
        return self._pages.update_at(self._table, positions_BT, tokens_BT)


def power_of_two(count: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << (count - 1).bit_length()
