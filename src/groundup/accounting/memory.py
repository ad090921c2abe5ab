"""Bytes of a decoder: in training its weights, gradients, optimizer state, activations and logits; in inference its
weights and what it remembers of each token. No torch.

    weights, gradients   parameters · size of the number format
    optimizer            fp32 moments (`MOMENTS`; Muon 1 for the matrices of layers, else AdamW's), and fp32 masters
                         of parameters in another format (Micikevicius et al. 2018, arXiv:1710.03740, section 3.1)
    activations          what the backward pass reads: the input of every matrix product, norm and non-linear function,
                         each tensor once (Korthikanti et al. 2022, arXiv:2205.05198, section 4.1)
    checkpointing        only the inputs of blocks of layers, and all of one block, computed again (Chen et al. 2016,
                         arXiv:1604.06174)
    logits               those of a chunk of rows and their gradient, which the loss computes at once, with the gradient
                         of all hidden states and an fp32 one of the unembedding; with prediction heads all logits in
                         fp32, and as much for their gradient

Activations are those of fused elementwise kernels. PyTorch without a compiler keeps more: casts, and what is inside
norms and activation functions. Recurrent mixers are counted as kernels that keep their inputs and a state a chunk.
A cache is counted to the byte as `models/cache.py` lays it out, with its slot for padding.

B rows, T context, D width, H heads, G key/value heads, K key width, V value width, F hidden width.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from groundup.accounting.decoder import CHUNK, heads_cost, layers_cost, num_mixers, num_norms, parameters
from groundup.core.config import nearest
from groundup.core.errors import ConfigError
from groundup.models import mixer_config
from groundup.models.config import DecoderConfig, Layer

SIZES = {"float32": 4, "tf32": 4, "bfloat16": 2, "float16": 2, "float8": 1, "int8": 1}
MOMENTS = {"adamw": 2, "adam": 2, "lion": 1, "adagrad": 1, "rmsprop": 1, "momentum": 1, "sgd": 0}  # for each number
OPTIMIZERS = ("muon", *MOMENTS)
SINGLE, POSITION = SIZES["float32"], 8
LOSS_CHUNK = 512  # rows


@dataclass(frozen=True)
class TrainingMemory:
    """Bytes when the backward pass begins, all processors together."""

    weights: int
    gradients: int
    masters: int
    moments: int
    activations: int
    logits: int

    @property
    def total(self) -> int:
        return sum(vars(self).values())


def training_memory(
    config: DecoderConfig,
    sequences: int,
    context: int,
    dtype: str = "bfloat16",
    optimizer: str = "adamw",
    fused_attention: bool = True,
    checkpoint: int = 0,
) -> TrainingMemory:
    """Of a step on so many sequences; `checkpoint` as in `activation_bytes`."""
    return TrainingMemory(
        weights=weight_bytes(config, dtype),
        gradients=weight_bytes(config, dtype),
        masters=master_bytes(config, dtype),
        moments=moment_bytes(config, optimizer),
        activations=activation_bytes(config, sequences, context, dtype, fused_attention, checkpoint),
        logits=logit_bytes(config, sequences * context, dtype),
    )


def size_of(dtype: str) -> int:
    """Bytes of one number."""
    if dtype not in SIZES:
        raise ConfigError(f"There is no number format {dtype!r}; {nearest(dtype, SIZES)}")
    return SIZES[dtype]


def weight_bytes(config: DecoderConfig, dtype: str) -> int:
    """Of all parameters; gradients take the same."""
    return parameters(config) * size_of(dtype)


def master_bytes(config: DecoderConfig, dtype: str) -> int:
    """fp32 copies that the optimizer updates, where the weights themselves are of less precision."""
    return 0 if size_of(dtype) == SINGLE else parameters(config) * SINGLE


def moment_bytes(config: DecoderConfig, optimizer: str) -> int:
    """What the optimizer remembers of past gradients, fp32."""
    if optimizer not in OPTIMIZERS:
        raise ConfigError(f"There is no optimizer {optimizer!r}; {nearest(optimizer, OPTIMIZERS)}")
    count = parameters(config)
    if optimizer == "muon":  # AdamW for all but the matrices of layers
        layers = layers_cost(config) + heads_cost(config)
        return SINGLE * (2 * count - layers.matrices - layers.idle)
    return SINGLE * count * MOMENTS[optimizer]


def logit_bytes(config: DecoderConfig, tokens: int, dtype: str) -> int:
    """Of the loss. It passes the rows in chunks (`kernels/cross_entropy.py`), but with heads that predict further
    tokens it keeps the fp32 logits of all rows, and of each head, with their gradients."""
    V, D = config.vocab_size, config.width
    if config.prediction_heads:
        return 2 * SINGLE * (1 + config.prediction_heads) * V * tokens
    return size_of(dtype) * (2 * min(tokens, LOSS_CHUNK) * V + tokens * D) + SINGLE * V * D


# --- activations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Kept:
    """Numbers kept for the backward pass: `values` in the compute format, `exact` in fp32, `flags` of one byte."""

    values: int = 0
    exact: int = 0
    flags: int = 0

    def __add__(self, other: "Kept") -> "Kept":
        return Kept(self.values + other.values, self.exact + other.exact, self.flags + other.flags)

    def bytes(self, dtype: str) -> int:
        return self.values * size_of(dtype) + self.exact * SINGLE + self.flags


def activation_bytes(
    config: DecoderConfig,
    sequences: int,
    context: int,
    dtype: str = "bfloat16",
    fused_attention: bool = True,
    checkpoint: int = 0,
) -> int:
    """Of all layers, the final norm and prediction heads, without logits. `checkpoint` n keeps the input of every n-th
    layer only and computes n layers again at a time; 0 keeps all. Without `fused_attention` the scores stay."""
    if checkpoint < 0:
        raise ConfigError(f"checkpoint is {checkpoint}; it must be 0 (keep everything) or a number of layers.")
    layers = [layer_activations(config, place, context, fused_attention).bytes(dtype) for place in range(config.depth)]
    stream = context * config.width * size_of(dtype)
    around = _around_layers(config, context)
    for _ in range(config.prediction_heads):
        around += _prediction_head(config, context, fused_attention)
    return sequences * (_kept_by_blocks(layers, stream, checkpoint) + around.bytes(dtype))


def best_checkpoint(config: DecoderConfig, context: int, dtype: str = "bfloat16", fused_attention: bool = True) -> int:
    """How many layers to compute again at a time so that activations are fewest. More leave fewer inputs, of `width`
    numbers a token, but a layer keeps some twenty times as many: 1 or 2, unless there are very many layers."""
    layers = [layer_activations(config, place, context, fused_attention).bytes(dtype) for place in range(config.depth)]
    stream = context * config.width * size_of(dtype)
    return min(range(1, config.depth + 1), key=lambda checkpoint: _kept_by_blocks(layers, stream, checkpoint))


def _kept_by_blocks(layers: Sequence[int], stream: int, checkpoint: int) -> int:
    """Bytes of layers that keep so many each, where the residual stream has `stream`."""
    if not checkpoint:
        return sum(layers)
    blocks = [sum(layers[start : start + checkpoint]) for start in range(0, len(layers), checkpoint)]
    return len(blocks) * stream + max(blocks) - stream  # a block's input is among what it keeps


def layer_activations(config: DecoderConfig, place: int, context: int, fused_attention: bool = True) -> Kept:
    """What one layer keeps of one sequence: its norms, and both mixers."""
    layer = config.all_layers[place]
    return (
        _stream(config, layer, context)
        + _sequence_mixer(config, place, context, fused_attention)
        + _channel_mixer(layer.channel, config.width, context)
    )


def _norms(config: DecoderConfig, count: int, context: int) -> Kept:
    """Their inputs, with 1/√mean square of each token, and the mean of layer norm."""
    statistics = {"none": 0, "rms": 1, "layer": 2}[config.norm.kind]
    return Kept(count * config.width * context, count * statistics * context) if statistics else Kept()


def _stream(config: DecoderConfig, layer: Layer, context: int) -> Kept:
    """Inputs of norms and of mixers, and the masks of dropout."""
    mixers = num_mixers(layer)
    inputs = 1 if config.parallel else mixers  # parallel mixers have the same
    masks = mixers * config.width * context if config.dropout else 0
    return Kept(inputs * config.width * context, flags=masks) + _norms(config, num_norms(config, layer), context)


def _around_layers(config: DecoderConfig, context: int) -> Kept:
    """The mask of the embedding's dropout, the final norm, the input of the unembedding."""
    width = config.width * context
    return Kept(width, flags=width if config.dropout else 0) + _norms(config, int(config.placement != "post"), context)


def _prediction_head(config: DecoderConfig, context: int, fused: bool) -> Kept:
    """Two norms, the matrix that joins them, a layer like the last, a norm and the unembedding's input."""
    inputs = Kept((2 + 1) * config.width * context) + _norms(config, 2 + 1, context)
    return inputs + layer_activations(config, config.depth - 1, context, fused)


def _sequence_mixer(config: DecoderConfig, place: int, T: int, fused: bool) -> Kept:
    mixer, D = config.all_layers[place].sequence, config.width
    match mixer:
        case mixer_config.Attention():
            return _attention(mixer, D, T, fused, own_keys=True)
        case mixer_config.SharedAttention():
            return _attention(config.source_of_keys(place), D, T, fused, own_keys=False)
        case mixer_config.LatentAttention():
            H, latents = mixer.num_heads, mixer.latent_width + mixer.query_latent_width
            heads = 2 * (mixer.head_width + mixer.rotary_width) + 2 * mixer.value_width  # q, k, v, output
            norms = 1 + (mixer.query_latent_width > 0)
            return Kept(T * (2 * latents + H * heads), T * norms) + _scores(H, T, fused)
        case mixer_config.LinearAttention():
            H, K = mixer.num_heads, mixer.width_of_head(D)
            states = math.ceil(T / CHUNK) * H * K * (K + 1)
            return Kept(T * 3 * H * K, T * H * (3 * K + K + 1) + states)
        case mixer_config.DeltaRule():
            H, (K, V) = mixer.num_heads, mixer.widths(D)
            convolved, states = H * (2 * K + V), math.ceil(T / CHUNK) * H * K * V
            gates = H * (4 if mixer.gated else 2)  # before and after their functions
            inside = convolved + 2 * H * K + gates + H * CHUNK + H * V + H
            return Kept(T * (2 * convolved + 2 * H * V), T * inside + states)
        case mixer_config.StateSpace():
            H, K, V = mixer.num_heads(D), mixer.state_width, mixer.head_width
            convolved, states = H * V + 2 * mixer.groups * K, math.ceil(T / mixer.chunk) * H * K * V
            inside = convolved + 3 * H + H * V + mixer.groups
            return Kept(T * (2 * convolved + 3 * H * V), T * inside + states)


def _attention(mixer: mixer_config.Attention, D: int, T: int, fused: bool, own_keys: bool) -> Kept:
    """Queries, keys and values as they enter the scores, before their norm too, and the output."""
    H, G, K = mixer.num_heads, mixer.num_kv_heads if own_keys else 0, mixer.width_of_head(D)
    kept = Kept(T * (2 * H * K + 2 * G * K)) + _scores(H, T, fused, capped=mixer.soft_cap is not None)
    if mixer.qk_norm == "none":
        return kept
    statistics = H + G if mixer.qk_norm == "head" else 1 + own_keys
    return kept + Kept(T * (H + G) * K, T * statistics)


def _scores(H: int, T: int, fused: bool, capped: bool = False) -> Kept:
    """A fused kernel keeps a logsumexp for each query (Dao 2023, arXiv:2307.08691, section 3.1.1); otherwise the whole
    matrix of weights stays, a window notwithstanding, and that of capped scores."""
    return Kept(exact=H * T) if fused else Kept(H * T * T * (2 if capped else 1))


def _channel_mixer(mixer: mixer_config.ChannelMixer, D: int, T: int) -> Kept:
    """Inputs of the activation function, of the product and of the last matrix."""
    match mixer:
        case mixer_config.DenseMLP():
            return Kept(T * 2 * mixer.hidden(D))
        case mixer_config.GatedMLP():
            return Kept(T * 4 * mixer.hidden(D))
        case mixer_config.MixtureOfExperts():  # each expert has a copy of its tokens; outputs are weighted in fp32
            chosen, F = mixer.experts_per_token, mixer.hidden(D)
            routing = 2 * mixer.num_experts + chosen  # logits, scores, weights
            return Kept(T * (chosen * (2 * D + 4 * F) + 4 * mixer.shared_width), T * routing)
        case mixer_config.NoChannel():
            return Kept()


# --- cache -----------------------------------------------------------------------------------------------------------


def cache_bytes(config: DecoderConfig, rows: int, capacity: int, dtype: str = "bfloat16") -> int:
    """What all layers remember for so many rows of at most `capacity` tokens."""
    return sum(layer_cache_bytes(layer.sequence, config.width, rows, capacity, dtype) for layer in config.all_layers)


def layer_cache_bytes(
    mixer: mixer_config.SequenceMixer, width: int, rows: int, capacity: int, dtype: str = "bfloat16"
) -> int:
    """Of one layer: keys and values of all tokens or of a window, latents, or a state (fp32) of fixed size."""
    size = size_of(dtype)
    match mixer:
        case mixer_config.Attention():
            a_slot = 2 * mixer.num_kv_heads * mixer.width_of_head(width) * size
            if mixer.window is None or mixer.window >= capacity:
                return rows * (capacity + 1) * a_slot
            return rows * (mixer.window + 1) * (a_slot + POSITION)  # a ring must know which token is where
        case mixer_config.SharedAttention():
            return 0
        case mixer_config.LatentAttention():
            return rows * (capacity + 1) * (mixer.latent_width + mixer.rotary_width) * size
        case mixer_config.LinearAttention():
            K = mixer.width_of_head(width)
            return rows * mixer.num_heads * K * (K + 1) * SINGLE
        case mixer_config.DeltaRule():
            H, (K, V) = mixer.num_heads, mixer.widths(width)
            tail = (mixer.convolution - 1) * H * (2 * K + V)
            return rows * (H * K * V * SINGLE + tail * size)
        case mixer_config.StateSpace():
            H, K, V = mixer.num_heads(width), mixer.state_width, mixer.head_width
            tail = (mixer.convolution - 1) * (H * V + 2 * mixer.groups * K)
            return rows * (H * K * V * SINGLE + tail * size)
