"""A smaller decoder out of a larger one: whole layers left out, and the least useful units of its MLPs.

    layer     1 - E cos(x, block(x)): how much it turns the residual stream; small means that little is missed
              (Men et al. 2024, arXiv:2403.03853, eq. 1)
    unit      E |f(W_gate x) · W_up x|, the mean size of what it hands to W_down
              (Muralidharan et al. 2024, arXiv:2407.14679, section 2.2)

What is lost comes back in a short training, best towards the logits of the large one (`training/objectives.py`,
`distillation`). docs/cheaper-models.md has the recipe.

Shapes: B batch, T time, D width, F hidden width, L layers.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from groundup.core.errors import ConfigError
from groundup.models.config import DecoderConfig
from groundup.models.decoder import Decoder
from groundup.models.gated_mlp import GatedMLP
from groundup.models.layers import affine
from groundup.models.mixer_config import GatedMLP as GatedMLPConfig
from groundup.models.mixer_config import SharedAttention


@torch.no_grad()
def layer_importance(model: Decoder, batches: Iterable[Tensor]) -> Tensor:
    """1 - the mean cosine between what goes into a block and what comes out, (L,); batches are token ids (B, T)."""
    turned_L, count = torch.zeros(len(model.blocks)), 0
    for tokens_BT in batches:
        positions_T = torch.arange(tokens_BT.shape[1])
        x_BTD = model.embed(tokens_BT, positions_T)
        for number, block in enumerate(model.blocks):
            y_BTD = block(x_BTD, positions_T, None)
            turned_L[number] += (1 - torch.cosine_similarity(x_BTD.float(), y_BTD.float(), dim=-1)).mean()
            x_BTD = y_BTD
        count += 1
    return turned_L / count


@torch.no_grad()
def unit_importance(model: Decoder, batches: Iterable[Tensor]) -> list[Tensor]:
    """The mean size of each unit of each layer's gated MLP, a tensor (F,) a layer."""
    mlps = gated_mlps(model)
    sizes = [torch.zeros(len(mlp.gate)) for mlp in mlps]
    hooks = [mlp.register_forward_pre_hook(_adding(sizes_F)) for mlp, sizes_F in zip(mlps, sizes, strict=True)]
    try:
        for tokens_BT in batches:
            model(tokens_BT)
    finally:
        for hook in hooks:
            hook.remove()
    return sizes


def _adding(sizes_F: Tensor):  # noqa: ANN202 - a hook of PyTorch's
    def add(mlp: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert isinstance(mlp, GatedMLP)
        gate_BTF = mlp.activation(affine(inputs[0], mlp.gate, mlp.gate_bias))
        sizes_F.add_((gate_BTF * affine(inputs[0], mlp.up, mlp.up_bias)).float().abs().mean(dim=(0, 1)))

    return add


def gated_mlps(model: Decoder) -> list[GatedMLP]:
    """The MLP of each layer; a decoder with other channel mixers cannot lose units."""
    mlps = [block.get_submodule("channel") for block in model.blocks]
    if not all(isinstance(mlp, GatedMLP) for mlp in mlps):
        raise ConfigError("Only decoders whose layers all have a gated MLP can be made narrower; leave the width.")
    return [mlp for mlp in mlps if isinstance(mlp, GatedMLP)]


def without_layers(
    config: DecoderConfig, weights: Mapping[str, Tensor], kept: Sequence[int]
) -> tuple[DecoderConfig, dict[str, Tensor]]:
    """Config and weights with those layers only, in their order."""
    layers = config.all_layers
    kept = sorted(kept)
    if not kept or kept[0] < 0 or kept[-1] >= len(layers) or len(set(kept)) < len(kept):
        raise ConfigError(f"The layers to keep are {kept}; name some of 0 to {len(layers) - 1}, each once.")
    if any(isinstance(layer.sequence, SharedAttention) for layer in layers):
        raise ConfigError("Layers of this decoder share keys over a distance of layers, so none can be left out.")
    new_place = {old: new for new, old in enumerate(kept)}
    smaller: dict[str, Tensor] = {}
    for name, weight in weights.items():
        first, _, rest = name.partition(".")
        if first != "blocks":
            smaller[name] = weight
            continue
        number, _, inner = rest.partition(".")
        if int(number) in new_place:
            smaller[f"blocks.{new_place[int(number)]}.{inner}"] = weight
    chosen = tuple(layers[number] for number in kept)
    chosen = chosen[:1] if len(set(chosen)) == 1 else chosen
    return replace(config, depth=len(kept), layers=chosen, first_layers=()), smaller


def with_fewer_units(
    config: DecoderConfig, weights: Mapping[str, Tensor], importance: Sequence[Tensor], hidden_width: int
) -> tuple[DecoderConfig, dict[str, Tensor]]:
    """Config and weights whose gated MLPs have their `hidden_width` most important units, in their old order."""
    smaller = dict(weights)
    layers = []
    for number, (layer, sizes_F) in enumerate(zip(config.all_layers, importance, strict=True)):
        if not isinstance(layer.channel, GatedMLPConfig) or not 1 <= hidden_width <= len(sizes_F):
            raise ConfigError(
                f"Layer {number} cannot have {hidden_width} units; only a gated MLP can, of at most as many as it has."
            )
        units = sizes_F.topk(hidden_width).indices.sort().values
        prefix = f"blocks.{number}.channel."
        for name in ("gate", "up", "gate_bias", "up_bias"):
            if prefix + name in weights:
                smaller[prefix + name] = weights[prefix + name][units].clone()
        smaller[prefix + "down"] = weights[prefix + "down"][:, units].clone()
        layers.append(replace(layer, channel=replace(layer.channel, hidden_width=hidden_width)))
    chosen = tuple(layers[:1]) if len(set(layers)) == 1 else tuple(layers)
    return replace(config, layers=chosen, first_layers=()), smaller
