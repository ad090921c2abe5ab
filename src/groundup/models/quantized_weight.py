"""A weight in 8 or 4 bits, in the place of a parameter; activations stay as they are ("weight-only").

    w_oi ≈ s_og q_oi,   q an integer in [-127, 127] or [-8, 7],   g the group of column i

8 bits: q as int8. The scale brings a group's largest number to 127.
4 bits: two q + 8 in a byte, the columns of a group's first half in the low bits. The scale takes the group's largest
number, with its sign, to -8, so that all 16 values are used.

A group is a whole row ("per channel") or some neighbouring columns of it. With `input_scales` t the integers are those
of w_oi t_i, and x_i is divided by t_i (AWQ, Lin et al. 2023, arXiv:2306.00978, section 3.2).

Products of few rows read the integers (`kernels/matvec.py`); the others are those of the restored weight.

Shapes: O out, I in, G groups, J columns of a group, V values as they are stored; `...` any, such as experts.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from groundup.kernels import matvec

LARGEST, ZERO = 127, 8  # of 8 bits; what stands for 0 in 4 bits
PARTS = 4  # of a row of 8 bits: 131 against 160 µs for 2,048 rows of 768, one thread


class QuantizedWeight(nn.Module):
    """Called with x (..., I) it gives x Wᵀ; indexed with row numbers, those rows."""

    values_OV: Tensor
    scales_OG: Tensor
    input_scales_I: Tensor | None

    def __init__(self, values_OV: Tensor, scales_OG: Tensor, input_scales_I: Tensor | None = None) -> None:
        super().__init__()
        self.register_buffer("values_OV", values_OV)
        self.register_buffer("scales_OG", scales_OG)
        self.register_buffer("input_scales_I", input_scales_I)
        self.dtype = torch.float32  # that of the model, in which rows are given

    @property
    def device(self) -> torch.device:
        return self.values_OV.device

    def forward(self, x: Tensor) -> Tensor:
        if matvec.few(x) and self.values_OV.ndim == 2:
            scaled = x if self.input_scales_I is None else x.float() / self.input_scales_I
            return self._product_of_few(matvec.written_down(scaled)).to(x.dtype).view(*x.shape[:-1], -1)
        if self.input_scales_I is not None:
            x = (x / self.input_scales_I).to(x.dtype)
        if self.scales_OG.shape[-1] == 1:  # the scales belong to the outputs, so the integers are multiplied
            return ((x @ integers(self.values_OV).to(x.dtype).mT) * self.scales_OG.mT).to(x.dtype)
        return x @ restore(self.values_OV, self.scales_OG).to(x.dtype).mT

    def _product_of_few(self, x_NI: Tensor) -> Tensor:
        groups = self.scales_OG.shape[-1]
        x_NGJ, stored_OGV = x_NI.unflatten(-1, (groups, -1)), self.values_OV.unflatten(-1, (groups, -1))
        if self.values_OV.dtype == torch.int8:
            parts = PARTS if x_NGJ.shape[-1] % PARTS == 0 else 1
            return matvec.scaled_sums(x_NGJ.chunk(parts, -1), stored_OGV.chunk(parts, -1), self.scales_OG)
        zeros_NG = ZERO * x_NGJ.sum(dim=-1)  # taken off a group's sum instead of each of its numbers
        return matvec.scaled_sums(x_NGJ.chunk(2, -1), [stored_OGV & 15, stored_OGV >> 4], self.scales_OG, zeros_NG)

    def __getitem__(self, rows: Tensor) -> Tensor:
        restored = restore(self.values_OV[rows], self.scales_OG[rows])
        return (restored if self.input_scales_I is None else restored / self.input_scales_I).to(self.dtype)

    def unbind(self) -> list["QuantizedWeight"]:
        """The weights of a stack, such as experts."""
        count = len(self.values_OV)
        scales = [None] * count if self.input_scales_I is None else self.input_scales_I.unbind()
        return [
            QuantizedWeight(*each)
            for each in zip(self.values_OV.unbind(), self.scales_OG.unbind(), scales, strict=True)
        ]

    def restored(self) -> Tensor:
        """The weight (..., O, I) that this stands for, fp32."""
        weight = restore(self.values_OV, self.scales_OG)
        return weight if self.input_scales_I is None else weight / self.input_scales_I[..., None, :]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "QuantizedWeight":
        """Moves with the model, but its scales stay in fp32: in bf16 they would be as coarse as 8 bits."""
        exact = {name: value for name, value in self._buffers.items() if value is not None}
        super()._apply(fn, recurse)
        self.dtype = fn(torch.empty(0, dtype=self.dtype)).dtype
        for name, value in exact.items():
            moved = self._buffers[name]
            assert moved is not None
            self._buffers[name] = value.to(moved.device)
        return self


def dense(weight: Tensor | QuantizedWeight) -> Tensor:
    """The weight as a tensor."""
    return weight.restored() if isinstance(weight, QuantizedWeight) else weight


def quantize(weight_OI: Tensor, bits: int, group: int) -> tuple[Tensor, Tensor]:
    """Each number rounded to the nearest that can be had, as (values, scales); `group` columns share a scale."""
    assert bits in (4, 8), f"{bits} bits are not 8 or 4"
    assert weight_OI.shape[-1] % group == 0, f"{weight_OI.shape[-1]} columns are no multiple of a group of {group}"
    w_OGJ = weight_OI.float().unflatten(-1, (-1, group))
    if bits == 8:
        scales_OG = w_OGJ.abs().amax(dim=-1) / LARGEST
    else:
        largest_OG1 = w_OGJ.abs().argmax(dim=-1, keepdim=True)
        scales_OG = w_OGJ.gather(-1, largest_OG1)[..., 0] / -ZERO
    scales_OG = torch.where(scales_OG == 0, 1.0, scales_OG)
    q_OGJ = (w_OGJ / scales_OG[..., None]).round()
    if bits == 8:
        return q_OGJ.clamp(-LARGEST, LARGEST).to(torch.int8).flatten(-2), scales_OG
    low, high = (q_OGJ.clamp(-ZERO, ZERO - 1) + ZERO).to(torch.uint8).chunk(2, dim=-1)
    return (low | (high << 4)).flatten(-2), scales_OG


def integers(values_OV: Tensor, groups: int = 1) -> Tensor:
    """q (..., O, I) as it is stored in so many groups a row."""
    if values_OV.dtype == torch.int8:
        return values_OV
    stored_OGV = values_OV.unflatten(-1, (groups, -1))
    return torch.cat((stored_OGV & 15, stored_OGV >> 4), dim=-1).flatten(-2).to(torch.int8) - ZERO


def restore(values_OV: Tensor, scales_OG: Tensor) -> Tensor:
    """s q (..., O, I), fp32."""
    groups = scales_OG.shape[-1]
    q_OGJ = integers(values_OV, groups).unflatten(-1, (groups, -1))
    return (q_OGJ * scales_OG[..., None]).flatten(-2)


# --- in models and files ----------------------------------------------------------------------------------------------


def put_quantized(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Give a model the places for the quantised weights of a state, which can be loaded then."""
    for name in [key.removesuffix(".values_OV") for key in state if key.endswith(".values_OV")]:
        values, scales = state[f"{name}.values_OV"], state[f"{name}.scales_OG"]
        replace_weight(model, name, QuantizedWeight(values, scales, state.get(f"{name}.input_scales_I")))


def restored_weights(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """fp32 weights by parameter name: what a quantised state stands for."""
    weights: dict[str, Tensor] = {}
    for key, value in state.items():
        name, _, part = key.rpartition(".")
        if part == "values_OV":
            stored = QuantizedWeight(value, state[f"{name}.scales_OG"], state.get(f"{name}.input_scales_I"))
            weights[name] = stored.restored()
        elif part not in ("scales_OG", "input_scales_I"):
            weights[key] = value.float()
    return weights


def replace_weight(model: nn.Module, name: str, weight: nn.Module | nn.Parameter) -> None:
    """Put something else in the place of a weight."""
    path, _, last = name.rpartition(".")
    owner = model.get_submodule(path)
    delattr(owner, last)
    setattr(owner, last, weight)
