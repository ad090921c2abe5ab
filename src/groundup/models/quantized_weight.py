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
        if self.values_OV.dtype == torch.int8:
            return matvec.by_halves(len(self.values_OV), lambda part: self._product_of_bytes(x_NI, part))
        sums_NG = matvec.written_down(ZERO * x_NI.unflatten(-1, (self.scales_OG.shape[-1], -1)).sum(dim=-1))
        return matvec.by_halves(len(self.values_OV), lambda part: self._product_of_pairs(x_NI, sums_NG, part))

    def _product_of_bytes(self, x_NI: Tensor, part: slice) -> Tensor:
        scales_OG = self.scales_OG[part]
        values_OGJ = self.values_OV[part].float().unflatten(-1, (scales_OG.shape[-1], -1))
        x_NGJ = x_NI.unflatten(-1, values_OGJ.shape[1:])
        if scales_OG.shape[-1] == 1:
            return torch.stack([(values_OGJ * x_GJ).sum(dim=(-2, -1)) * scales_OG[:, 0] for x_GJ in x_NGJ])
        return torch.stack([(values_OGJ * x_GJ * scales_OG[..., None]).sum(dim=(-2, -1)) for x_GJ in x_NGJ])

    def _product_of_pairs(self, x_NI: Tensor, sums_NG: Tensor, part: slice) -> Tensor:
        """Of 4 bits, in 32 bits, as a processor cannot shift bytes. 8 Σ x is taken off a group's sum, which is less
        work than 8 off each number."""
        scales_OG = self.scales_OG[part]
        pairs_OGV = self.values_OV[part].int().unflatten(-1, (scales_OG.shape[-1], -1))
        low_OGV, high_OGV = (pairs_OGV & 15).float(), (pairs_OGV >> 4).float()
        rows = []
        for x_I, sums_G in zip(x_NI, sums_NG, strict=True):
            low_GV, high_GV = x_I.unflatten(-1, (scales_OG.shape[-1], -1)).chunk(2, dim=-1)
            scaled_OGV = (low_OGV * low_GV + high_OGV * high_GV) * scales_OG[..., None]
            rows.append(scaled_OGV.sum(dim=(-2, -1)) - (scales_OG * sums_G).sum(dim=-1))
        return torch.stack(rows)

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
    """The weight as a tensor, in the model's format."""
    return weight.restored().to(weight.dtype) if isinstance(weight, QuantizedWeight) else weight


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
