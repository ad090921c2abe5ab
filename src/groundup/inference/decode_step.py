"""One token for each of B sequences, as one compiled function: embedding to logits.

What a step costs a small model on a CPU is not arithmetic but some hundred calls from Python, and what it costs a large
one is reading the weights. So the whole model is compiled into one function of fixed shapes:

    (tokens_B, positions_B, table_BM) → logits_BV      and the new keys and values written into the pages

Rows are padded to a power of two, the batch's bucket, with positions of -1; tables to a power of two of blocks, whose
number is a variable of the compiled function, so that longer texts compile nothing anew. Products of few rows are
multiply-and-sum (`kernels/matvec.py`) in the buckets where a measurement found them faster.

Compiling takes from ten seconds to a minute for each bucket (then it is on disk), and a token gains milliseconds. So it
pays after some thousand tokens: a server compiles, one short text does not.

Only memory by position can be compiled so: pages of keys, values or latents. A decoder with states, rings or experts
(whose shapes depend on the tokens) runs without.

Shapes: B batch, M blocks of the longest row, N slots of the pages, S slots of a row, G key/value heads, K head width, V
vocabulary.
"""

import time
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from groundup.inference.paged_cache import PagedSlots
from groundup.kernels.compiler import can_compile
from groundup.kernels.dispatch import record, warn_once
from groundup.kernels.matvec import multiply_and_sum
from groundup.models.cache import KVCache, LayerCache, SlotCache
from groundup.models.decoder import Decoder
from groundup.models.language_model import LanguageModel
from groundup.models.mixture_of_experts import MixtureOfExperts

LEAST_BLOCKS = 8
ALWAYS_FEW, NEVER_FEW = 1, 16  # rows: between them it is measured; at 16, GEMM was three times as fast
TIMED_STEPS = 3
VARIANTS = 256  # of the compiled step, in all models of a process; PyTorch's own limit of 8 would end in eager steps
OPTIONS: dict[str, Any] = {"cpp.enable_floating_point_contract_flag": "fast"}  # multiply and add in one instruction


def decode_step(model: LanguageModel, layers: Sequence[LayerCache], block_size: int) -> "DecodeStep | None":
    """The compiled step of a model whose keys and values lie in the pages of these layers; None, said once, where it
    has no fixed shapes or there is no compiler."""
    reason = ""
    if not isinstance(model, Decoder) or model.ngrams is not None:
        reason = "only decoders without n-gram embeddings have a step of fixed shapes"
    elif any(isinstance(part, MixtureOfExperts) for part in model.modules()):
        reason = "which experts work depends on the token"
    elif not all(isinstance(layer, PagedSlots) or not vars(layer) for layer in layers):
        reason = "states and windows are not by position"
    elif not can_compile(pages_of(layers).keys_NGK.device):
        reason = "there is no C++ compiler (g++ or clang++)"
    if reason:
        warn_once("inference.step", "eager", reason)
        return None
    record("inference.step", "compiled")
    record("attention.one_query", "multiply_and_sum")
    return DecodeStep(model, layers, block_size)


class DecodeStep:
    """The step of a model, compiled for each bucket of rows when it first comes."""

    def __init__(self, model: LanguageModel, layers: Sequence[LayerCache], block_size: int) -> None:
        self._most_rows: dict[int, int] = {}  # by bucket

        def step(tokens_B: Tensor, positions_B: Tensor, table_BM: Tensor) -> Tensor:
            views = step_views(layers, positions_B, table_BM, block_size)
            return model.unembed(model(tokens_B[:, None], positions_B[:, None], KVCache(views)))[:, 0]

        self._step = torch.compile(step, options=OPTIONS)

    def __call__(self, tokens: Sequence[int], positions: Sequence[int], tables: Sequence[Sequence[int]]) -> Tensor:
        """Logits (B, V) of what follows each token."""
        B = power_of_two(len(tokens))
        M = max(LEAST_BLOCKS, power_of_two(max(map(len, tables))))
        rest = B - len(tokens)
        tokens_B = torch.tensor([*tokens, *[0] * rest])
        positions_B = torch.tensor([*positions, *[-1] * rest])
        table_BM = torch.tensor([[*table, *[0] * (M - len(table))] for table in (*tables, *[[]] * rest)])
        for tensor in (tokens_B, positions_B):
            torch._dynamo.mark_static(tensor)
        torch._dynamo.mark_static(table_BM, 0)
        torch._dynamo.maybe_mark_dynamic(table_BM, 1)
        if B not in self._most_rows:
            with torch._dynamo.config.patch(recompile_limit=VARIANTS):
                self._most_rows[B] = self._measured(B, tokens_B, positions_B, table_BM)
        with multiply_and_sum(self._most_rows[B]):
            return self._step(tokens_B, positions_B, table_BM)[: len(tokens)]

    def _measured(self, B: int, *inputs: Tensor) -> int:
        """How many rows are few in a bucket: all, or none where GEMM is faster. The step is compiled and run some
        times, which writes the same keys and values again."""
        seconds = {}
        for most in (B,) if B <= ALWAYS_FEW else (0,) if B >= NEVER_FEW else (0, B):
            with multiply_and_sum(most):
                self._step(*inputs)  # compiles
                began = time.perf_counter()
                for _ in range(TIMED_STEPS):
                    self._step(*inputs)
                seconds[most] = time.perf_counter() - began
        few = min(seconds, key=lambda most: seconds[most])
        record(f"inference.products_of_{B}_rows", "multiply_and_sum" if few else "gemm")
        return few


def step_views(
    layers: Sequence[LayerCache], positions_B: Tensor, table_BM: Tensor, block_size: int
) -> list[LayerCache]:
    """What the layers see of their pages in one step."""
    pages = pages_of(layers)
    M, device = table_BM.shape[1], table_BM.device
    real_B = positions_B.clamp(min=0)
    blocks_B = table_BM.gather(1, (real_B // block_size)[:, None])[:, 0]
    new_B = torch.where(positions_B < 0, pages.keys_NGK.shape[0] - 1, blocks_B * block_size + real_B % block_size)
    slots_BS = (table_BM[:, :, None] * block_size + torch.arange(block_size, device=device)).flatten(1)
    order_1S = torch.arange(M * block_size, device=device)[None]
    return [
        SlotsOfStep(layer, new_B, slots_BS, order_1S) if isinstance(layer, PagedSlots) else layer for layer in layers
    ]


def pages_of(layers: Sequence[LayerCache]) -> PagedSlots:
    """The first layer's that has some; all have as many slots."""
    return next(layer for layer in layers if isinstance(layer, PagedSlots))


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


def power_of_two(count: int) -> int:
    """The smallest power of two that is not less."""
    return 1 << (count - 1).bit_length()
