"""Bytes by arithmetic against tensors that are there: weights, gradients, optimizer state, caches, and what autograd
keeps of a layer that is written with PyTorch's own fused operations."""

from collections.abc import Callable, Iterable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from groundup.accounting.decoder import parameters
from groundup.accounting.memory import (
    LOSS_CHUNK,
    activation_bytes,
    best_checkpoint,
    cache_bytes,
    layer_activations,
    layer_cache_bytes,
    logit_bytes,
    master_bytes,
    moment_bytes,
    training_memory,
    weight_bytes,
)
from groundup.core.errors import ConfigError
from groundup.kernels.cross_entropy import CHUNK
from groundup.models import mixer_config as mixers
from groundup.models.config import DecoderConfig, Layer, Norm
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.mixers import sequence_mixer
from groundup.models.presets import llama, preset
from groundup.optim.build import build_optimizers
from groundup.optim.config import OptimizerConfig
from groundup.optim.optimizer_config import AdaGrad, Adam, AdamW, Lion, Muon, RmsProp, Sgd

GATED, ATTENTION = mixers.GatedMLP(48), mixers.Attention(4, 2)
MIXTURE = mixers.MixtureOfExperts(4, 2, hidden_width=24, shared_width=16)


def config(*layers: Layer, **changes: object) -> DecoderConfig:
    shape = {"vocab_size": 97, "context_length": 64, "width": 32, "depth": 2, "layers": layers}
    return DecoderConfig(**{**shape, **changes})  # type: ignore[arg-type]


def size(tensors: Iterable[object]) -> int:
    return sum(each.nbytes for each in tensors if isinstance(each, Tensor))


OPTIMIZER_KINDS = {
    "muon": (Muon(), AdamW()),
    "adamw": (AdamW(), AdamW()),
    "adam": (Adam(), Adam()),
    "lion": (Lion(), Lion()),
    "adagrad": (AdaGrad(), AdaGrad()),
    "rmsprop": (RmsProp(), RmsProp()),
    "momentum": (Sgd(momentum=0.9), Sgd(momentum=0.9)),
    "sgd": (Sgd(momentum=0.0), Sgd(momentum=0.0)),
}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("optimizer", OPTIMIZER_KINDS)
@pytest.mark.parametrize("channel", [GATED, MIXTURE], ids=["gated", "mixture"])
def test_training_state_is_that_of_the_tensors(channel: mixers.ChannelMixer, optimizer: str, dtype: str) -> None:
    heads = 1 if channel == MIXTURE else 0
    shape = config(Layer(ATTENTION, channel), tie_embeddings=channel == GATED, prediction_heads=heads)
    model = Decoder(shape).train()
    initialize(model, 0)
    model.to(getattr(torch, dtype))
    tokens_BT = torch.randint(97, (4, 64))
    model.token_losses(tokens_BT, tokens_BT).mean().backward()
    matrices, rest = OPTIMIZER_KINDS[optimizer]
    optimizers = build_optimizers(model, OptimizerConfig(matrices=matrices, rest=rest))
    for each in optimizers:
        each.step()
    states = [state for each in optimizers for state in each.state.values()]
    memory = training_memory(shape, 4, 64, dtype, optimizer)
    assert memory.weights == weight_bytes(shape, dtype) == size(model.parameters())
    assert memory.gradients == size(parameter.grad for parameter in model.parameters())
    assert memory.masters == size(state.get("master") for state in states)
    assert memory.masters + memory.moments == size(value for state in states for value in state.values())
    assert memory.total == sum(vars(memory).values())


def test_masters_by_dtype() -> None:
    shape = config(Layer(ATTENTION, GATED))
    assert master_bytes(shape, "float32") == master_bytes(shape, "tf32") == 0
    assert master_bytes(shape, "float8") == 4 * parameters(shape)


CACHED: dict[str, mixers.SequenceMixer] = {
    "all": ATTENTION,
    "one key head, wide": mixers.Attention(4, 1, head_width=10),
    "window": mixers.Attention(4, 2, window=9),
    "shared": mixers.SharedAttention(),
    "latent": mixers.LatentAttention(3, 12, 10, 8, 20),
    "linear": mixers.LinearAttention(4),
    "delta": mixers.DeltaRule(4, key_width=6, value_width=10, convolution=3),
    "state": mixers.StateSpace(head_width=16, state_width=12, groups=2),
}


@pytest.mark.parametrize("name", CACHED)
@given(rows=st.integers(1, 4), capacity=st.integers(1, 30), dtype=st.sampled_from(["float32", "bfloat16"]))
def test_a_cache_has_as_many_bytes_as_its_tensors(name: str, rows: int, capacity: int, dtype: str) -> None:
    shape = config(Layer(ATTENTION), Layer(CACHED[name]))
    source = sequence_mixer(ATTENTION, shape, [])
    module = sequence_mixer(CACHED[name], shape, [source]).to(getattr(torch, dtype))
    cache = module.new_cache(rows, capacity)  # type: ignore[operator]
    assert layer_cache_bytes(CACHED[name], 32, rows, capacity, dtype) == size(vars(cache).values())


def test_the_cache_of_a_decoder_is_that_of_its_layers() -> None:
    layers = (Layer(CACHED["window"], GATED), Layer(ATTENTION, GATED), Layer(CACHED["shared"], GATED))
    shape = config(*layers, depth=4)
    there = Decoder(shape).new_cache(3, 25)
    assert cache_bytes(shape, 3, 25, "float32") == sum(size(vars(layer).values()) for layer in there.layers)


def test_known_caches() -> None:
    """Llama 3 8B keeps 131,072 bytes a token in bf16, DeepSeek-V3 (512 + 64) numbers a layer (arXiv:2405.04434)."""
    assert cache_bytes(preset("llama3-8b"), 1, 8192) == 8193 * 131_072
    assert cache_bytes(preset("deepseek-v3"), 1, 8192) == 8193 * 61 * 576 * 2


# --- activations -----------------------------------------------------------------------------------------------------


class FusedRmsNorm(torch.autograd.Function):
    """One kernel, which keeps its input and 1/√mean square; only what it keeps matters here."""

    @staticmethod
    def forward(context, x, gain):  # type: ignore[override]
        scale = torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + 1e-5)
        context.save_for_backward(x, gain, scale)
        return x * scale * gain


def kept_by_autograd(run: Callable[[], Tensor], weights: Iterable[Tensor]) -> int:
    """Bytes of all tensors that the backward pass will read, each storage once, without weights and masks."""
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.dtype != torch.bool:
            kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = run()
    assert result.requires_grad
    own = {weight.untyped_storage().data_ptr() for weight in weights}
    return sum(tensor.untyped_storage().nbytes() for place, tensor in kept.items() if place not in own)


class PlainLayer:
    """A decoder layer in PyTorch's operations, the most obvious way."""

    def __init__(self, shape: DecoderConfig, dtype: torch.dtype, fused: bool) -> None:
        self.shape, self.fused, self.dtype = shape, fused, dtype
        self.weights: list[Tensor] = []

    def weight(self, *shape: int) -> Tensor:
        self.weights.append(torch.ones(shape, dtype=self.dtype, requires_grad=True))
        return self.weights[-1]

    def norm(self, x: Tensor) -> Tensor:
        width = x.shape[-1]
        if self.shape.norm.kind == "layer":
            return F.layer_norm(x, (width,), self.weight(width), self.weight(width))
        return FusedRmsNorm.apply(x, self.weight(width)) if self.shape.norm.kind == "rms" else x  # type: ignore

    def affine(self, x: Tensor, out: int) -> Tensor:
        return F.linear(x, self.weight(out, x.shape[-1]))

    def attend(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        q, k, v = (x.transpose(1, 2) for x in (q, k, v))
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=q.shape[1] != k.shape[1])
        else:
            hidden = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).triu(1)
            y = torch.softmax((q @ k.mT).masked_fill(hidden, -1e9), dim=-1) @ v
        return y.transpose(1, 2).flatten(2)

    def sequence(self, x: Tensor) -> Tensor:
        mixer = self.shape.layers[0].sequence
        if isinstance(mixer, mixers.LatentAttention):
            H, K, R = mixer.num_heads, mixer.head_width, mixer.rotary_width
            latent_queries = FusedRmsNorm.apply(
                self.affine(x, mixer.query_latent_width), self.weight(mixer.query_latent_width)
            )
            latent = FusedRmsNorm.apply(self.affine(x, mixer.latent_width), self.weight(mixer.latent_width))
            q = self.affine(latent_queries, H * (K + R)).unflatten(-1, (H, -1))  # type: ignore
            k = self.affine(latent, H * K).unflatten(-1, (H, -1))  # type: ignore
            k = torch.cat((k, self.affine(x, R)[:, :, None].expand(-1, -1, H, -1)), dim=-1)
            v = self.affine(latent, H * mixer.value_width).unflatten(-1, (H, -1))  # type: ignore
            return self.affine(self.attend(q, k, v), x.shape[-1])
        assert isinstance(mixer, mixers.Attention)
        H, G, K = mixer.num_heads, mixer.num_kv_heads, mixer.width_of_head(x.shape[-1])
        q, k, v = (self.affine(x, heads * K).unflatten(-1, (heads, K)) for heads in (H, G, G))
        if mixer.qk_norm == "head":
            q, k = (FusedRmsNorm.apply(each, self.weight(K)) for each in (q, k))  # type: ignore
        return self.affine(self.attend(q, k, v), x.shape[-1])

    def channel(self, x: Tensor) -> Tensor:
        mixer = self.shape.layers[0].channel
        assert isinstance(mixer, (mixers.DenseMLP, mixers.GatedMLP))
        hidden = mixer.hidden(x.shape[-1])
        if isinstance(mixer, mixers.DenseMLP):
            return self.affine(F.gelu(self.affine(x, hidden)), x.shape[-1])
        return self.affine(F.silu(self.affine(x, hidden)) * self.affine(x, hidden), x.shape[-1])

    def __call__(self, x: Tensor) -> Tensor:
        if self.shape.parallel:
            normed = self.norm(x)
            return x + self.sequence(normed) + self.channel(normed)
        for mix in (self.sequence, self.channel):
            match self.shape.placement:
                case "pre":
                    x = x + mix(self.norm(x))
                case "post":
                    x = self.norm(x + mix(x))
                case "double":
                    x = x + self.norm(mix(self.norm(x)))
                case "reordered":
                    x = x + self.norm(mix(x))
        return x


LAYER_NORM, PLAIN_DENSE = Norm("layer", bias=True), mixers.DenseMLP(80)
HEADS, NORMED = mixers.Attention(4, 4, qk_norm="none"), mixers.Attention(4, 2, qk_norm="head")
LATENT = mixers.LatentAttention(3, 10, 18, 8, 20, query_latent_width=14)
KEPT = {
    "GPT-2": config(Layer(HEADS, PLAIN_DENSE), norm=LAYER_NORM),
    "Llama": config(Layer(mixers.Attention(4, 2, qk_norm="none"), GATED)),
    "Qwen3": config(Layer(NORMED, GATED)),
    "no norm": config(Layer(HEADS, GATED), norm=Norm("none")),
    "OLMo 2": config(Layer(HEADS, GATED), placement="reordered"),
    "Gemma 2": config(Layer(NORMED, GATED), placement="double"),
    "first transformer": config(Layer(HEADS, PLAIN_DENSE), norm=LAYER_NORM, placement="post"),
    "GPT-J": config(Layer(HEADS, PLAIN_DENSE), norm=LAYER_NORM, parallel=True),
    "DeepSeek": config(Layer(LATENT, GATED)),
}


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("name", KEPT)
def test_a_layer_keeps_what_autograd_keeps(name: str, fused: bool) -> None:
    shape, T, B = KEPT[name], 24, 3
    grouped = isinstance(shape.layers[0].sequence, mixers.Attention) and shape.layers[0].sequence.num_kv_heads != 4
    if not fused and grouped:  # written out, PyTorch repeats the keys of a group
        shape = replace(shape, layers=(Layer(replace(shape.layers[0].sequence, num_kv_heads=4), GATED),))  # type: ignore
    layer, x_BTD = PlainLayer(shape, torch.float32, fused), torch.randn(B, T, 32, requires_grad=True) * 1
    measured = kept_by_autograd(lambda: layer(x_BTD), layer.weights)
    assert B * layer_activations(shape, 0, T, fused).bytes("float32") == measured


def test_scores_in_bf16_are_half_as_large_and_statistics_are_not() -> None:
    shape, T = KEPT["Llama"], 24
    single, half = (layer_activations(shape, 0, T).bytes(dtype) for dtype in ("float32", "bfloat16"))
    exact = 4 * T * (4 + 2)  # logsumexp of 4 heads, 2 norms
    assert single - exact == 2 * (half - exact)
    written = layer_activations(shape, 0, T, fused_attention=False).bytes("bfloat16")
    assert written - half == 2 * 4 * T * T - 4 * 4 * T


def test_gpt3s_layer_as_published() -> None:
    """34 s b h + 5 a s² b bytes in fp16 with dropout (Korthikanti et al. 2022, arXiv:2205.05198, eq. 1), of which ours
    leave out what their dropout inside attention keeps (3 a s² b), and add the statistics of norms."""
    h, a, s = 96, 8, 40
    shape = config(
        Layer(mixers.Attention(a, a, qk_norm="none"), mixers.DenseMLP(4 * h)),
        width=h,
        norm=LAYER_NORM,
        dropout=0.1,
    )
    statistics = 2 * 2 * 4 * s
    assert (
        layer_activations(shape, 0, s, fused_attention=False).bytes("float16") == 34 * s * h + 2 * a * s**2 + statistics
    )


def test_recomputing_keeps_the_inputs_of_blocks_and_one_block() -> None:
    shape = config(Layer(ATTENTION, GATED), Layer(ATTENTION, PLAIN_DENSE), depth=7)
    T, stream = 64, 64 * 32 * 2
    layers = [layer_activations(shape, place, T).bytes("bfloat16") for place in range(7)]
    around = activation_bytes(shape, 1, T) - sum(layers)
    assert activation_bytes(shape, 3, T, checkpoint=1) == 3 * (6 * stream + max(layers) + around)
    assert activation_bytes(shape, 1, T, checkpoint=3) == 2 * stream + max(sum(layers[:3]), sum(layers[3:6])) + around
    assert activation_bytes(shape, 1, T, checkpoint=7) == activation_bytes(shape, 1, T)
    assert activation_bytes(shape, 1, T, checkpoint=9) == activation_bytes(shape, 1, T)


def test_the_best_blocks_are_those_that_keep_least() -> None:
    deep = llama(97, 64, 32, 120, 4, 4, 48)
    costs = {block: activation_bytes(deep, 1, 64, checkpoint=block) for block in range(1, 121)}
    assert best_checkpoint(deep, 64) == min(costs, key=lambda block: costs[block])
    assert 1 < best_checkpoint(deep, 64) < 11


def test_experts_keep_their_own_tokens() -> None:
    two, four = (config(Layer(ATTENTION, mixers.MixtureOfExperts(8, chosen, hidden_width=24))) for chosen in (2, 4))
    more = layer_activations(four, 0, 10).values - layer_activations(two, 0, 10).values
    assert more == 10 * 2 * (2 * 32 + 4 * 24)


@pytest.mark.parametrize(
    "mixer", [CACHED["linear"], CACHED["delta"], CACHED["state"]], ids=["linear", "delta", "state"]
)
def test_what_recurrent_mixers_keep_grows_with_the_context_only_linearly(mixer: mixers.SequenceMixer) -> None:
    shape = config(Layer(mixer, GATED), context_length=4096)
    at = {T: layer_activations(shape, 0, T).bytes("bfloat16") for T in (1024, 2048, 4096)}
    assert at[2048] == 2 * at[1024]
    assert at[4096] == 2 * at[2048]


def test_logits_and_their_gradient() -> None:
    assert logit_bytes(config(Layer(), prediction_heads=1), 10, "bfloat16") == 2 * 2 * 4 * 97 * 10
    shape, table = config(Layer()), 97 * config(Layer()).width
    assert logit_bytes(shape, 10, "float32") == 2 * 4 * 97 * 10 + 4 * shape.width * 10 + 4 * table
    assert logit_bytes(shape, 10 * CHUNK, "bfloat16") == 2 * 2 * 97 * CHUNK + 2 * shape.width * 10 * CHUNK + 4 * table
    assert LOSS_CHUNK == CHUNK


def test_the_shape_of_gpt2_xl() -> None:
    shape = llama(50_257, 1024, 1600, 48, 25, 25, 6400)
    assert parameters(shape) == 2_127_057_600
    assert weight_bytes(shape, "float32") == 8_508_230_400


def test_unknown_names_are_refused_with_the_nearest() -> None:
    shape = config(Layer())
    with pytest.raises(ConfigError, match="did you mean 'bfloat16'"):
        weight_bytes(shape, "bfloat61")
    with pytest.raises(ConfigError, match="did you mean 'adagrad'"):
        moment_bytes(shape, "adagrat")
    with pytest.raises(ConfigError, match="checkpoint is -1"):
        activation_bytes(shape, 1, 10, checkpoint=-1)
