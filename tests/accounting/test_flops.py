"""FLOPs by component against those that PyTorch counts in small models, and against published numbers."""

from dataclasses import replace

import pytest
import torch
from torch.utils.checkpoint import checkpoint, set_checkpoint_early_stop
from torch.utils.flop_counter import FlopCounterMode

from groundup.accounting.flops import (
    Flops,
    active_parameters,
    backward_flops,
    decode_flops,
    forward_flops,
    rule_of_thumb_flops,
    sequence_flops,
    step_flops,
    training_flops,
    training_forward_flops,
)
from groundup.core.errors import ConfigError
from groundup.kernels.attention import attend_reference
from groundup.models.config import DecoderConfig, Layer
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.mixer_config import (
    Attention,
    DeltaRule,
    DenseMLP,
    GatedMLP,
    LatentAttention,
    LinearAttention,
    MixtureOfExperts,
    NoChannel,
    SharedAttention,
    StateSpace,
)
from groundup.models.presets import llama, preset

GPT2_XL_SHAPE = llama(50_257, 1024, 1600, 48, 25, 25, 6400)

ATTENTION = Attention(4, 2, qk_norm="none")
LATENT = LatentAttention(3, 12, 10, 8, 20, query_latent_width=14)
MIXTURE = MixtureOfExperts(6, 2, hidden_width=24, shared_width=16)
CONFIGS = {
    "grouped": [Layer(ATTENTION, GatedMLP(48))],
    "normalised, biased, dense": [Layer(Attention(4, 4, bias=True), DenseMLP(40, bias=True))],
    "wide heads, capped": [Layer(Attention(2, 1, head_width=24, soft_cap=5.0, sinks=True), GatedMLP(33))],
    "latent": [Layer(LATENT, GatedMLP(48))],
    "latent, queries from the token": [Layer(replace(LATENT, query_latent_width=0), DenseMLP(40))],
    "shared keys": [Layer(ATTENTION, GatedMLP(48)), Layer(SharedAttention(), GatedMLP(48))],
    "mixture": [Layer(ATTENTION, MIXTURE), Layer(LATENT, GatedMLP(48))],
}
RECURRENT = {
    "linear": LinearAttention(4),
    "delta": DeltaRule(4, key_width=6, value_width=10),
    "state": StateSpace(head_width=16, state_width=12, groups=2),
}


def config(layers: list[Layer], **changes: object) -> DecoderConfig:
    shape = {"vocab_size": 97, "context_length": 64, "width": 32, "depth": 2, "layers": tuple(layers)}
    return DecoderConfig(**{**shape, **changes})  # type: ignore[arg-type]


def decoder(config: DecoderConfig) -> Decoder:
    model = Decoder(config)
    initialize(model, 0)
    return model


def counted(counter: FlopCounterMode) -> Flops:
    """By the module that computes: products of 3 axes and more (`bmm`) are attention, the others projections. Up to 64
    tokens attention is one block, so that nothing is saved by the causal mask, as the formula has it."""
    counts = counter.get_flop_counts()
    mm, bmm = torch.ops.aten.mm, torch.ops.aten.bmm
    sequences = [each for name, each in counts.items() if name.endswith(".sequence")]
    channels = [each for name, each in counts.items() if name.endswith(".channel")]
    projections, attention = (sum(each.get(kind, 0) for each in sequences) for kind in (mm, bmm))
    feed_forward = sum(sum(each.values()) for each in channels)
    rest = sum(counts["Global"].values()) - projections - attention - feed_forward
    return Flops(0, projections, attention, 0, feed_forward, rest)


@pytest.mark.parametrize("name", RECURRENT)
def test_states_are_what_pytorch_counts(name: str) -> None:
    """At whole chunks: what fills up the last one is not work that any formula should count."""
    shape = config([Layer(RECURRENT[name], NoChannel())], context_length=128)
    tokens_BT = torch.randint(97, (2, 128))
    with FlopCounterMode(display=False) as counter:
        decoder(shape).token_losses(tokens_BT, tokens_BT)
    found = counted(counter)
    expected = forward_flops(shape).times(2 * 128)
    assert (found.projections, found.attention) == (expected.projections, expected.states)
    assert expected.attention == 0
    assert found.total == expected.total


@pytest.mark.parametrize(("name", "written"), [("linear", 2), ("delta", 1.5), ("state", 2)])
def test_decoding_reads_and_writes_a_state(name: str, written: float) -> None:
    """PyTorch counts what reads the state (by the delta rule twice) but not the outer product that is written, which is
    as much as one reading."""
    shape = config([Layer(RECURRENT[name], GatedMLP(48))])
    model = decoder(shape).eval()
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.unembed(model(torch.randint(97, (5, 1)), torch.full((5, 1), 23), model.new_cache(5, 24)))
    found, expected = counted(counter), decode_flops(shape, 24).times(5)
    assert expected.states == written * found.attention
    assert expected.total - expected.states == found.total - found.attention
    assert decode_flops(shape, 10_000) == decode_flops(shape, 1)


@pytest.mark.parametrize("T", [64, 37])
@pytest.mark.parametrize("name", CONFIGS)
def test_each_component_is_what_pytorch_counts(name: str, T: int) -> None:
    shape = config(CONFIGS[name])
    model, tokens_BT = decoder(shape), torch.randint(97, (3, T))
    with FlopCounterMode(display=False) as counter:
        loss = model.token_losses(tokens_BT, tokens_BT).mean()
    assert counted(counter) == forward_flops(shape, T).times(3 * T)
    assert counted(counter) == sequence_flops(shape, T).times(3)
    with FlopCounterMode(display=False) as counter:
        loss.backward()
    assert counter.get_total_flops() == backward_flops(shape, T).total * 3 * T


@pytest.mark.parametrize("changes", [{"parallel": True}, {"placement": "double"}, {"tie_embeddings": True}], ids=str)
def test_a_step_is_what_pytorch_counts(changes: dict[str, object]) -> None:
    shape = config(CONFIGS["grouped"], position_embedding="learned", **changes)
    model, tokens_BT = decoder(shape), torch.randint(97, (5, 64))
    with FlopCounterMode(display=False) as counter:
        model.token_losses(tokens_BT, tokens_BT).mean().backward()
    assert counter.get_total_flops() == step_flops(shape, 5).total
    assert training_flops(shape).total * 5 * 64 == step_flops(shape, 5).total


@pytest.mark.parametrize("name", ["grouped", "latent", "mixture"])
def test_recomputing_layers_costs_their_forward_once_more(name: str) -> None:
    shape = config(CONFIGS[name])
    model, tokens_BT, positions_T = decoder(shape), torch.randint(97, (2, 64)), torch.arange(64)
    # Without early stop: PyTorch would leave out the last product of a block, whose output nothing needs again.
    with FlopCounterMode(display=False) as counter, set_checkpoint_early_stop(False):
        x_BTD = model.embed(tokens_BT, positions_T)
        for block in model.blocks:
            x_BTD = checkpoint(block, x_BTD, positions_T, None, use_reentrant=False)
        model.unembed(model.final_norm(x_BTD)).logsumexp(dim=-1).mean().backward()
    assert counter.get_total_flops() == step_flops(shape, 2, recompute=True).total


def test_prediction_heads_are_what_pytorch_counts() -> None:
    """A head k tokens ahead works on the T - k positions whose target is known."""
    shape, T = config(CONFIGS["latent"], prediction_heads=2), 64
    model, tokens_BT = decoder(shape).train(), torch.randint(97, (3, T))
    with FlopCounterMode(display=False) as counter:
        model.token_losses(tokens_BT, tokens_BT).mean().backward()
    heads = sum((T - k) * training_forward_flops(shape, T - k).prediction // 2 for k in (1, 2))
    assert counter.get_total_flops() == 3 * 3 * (T * forward_flops(shape, T).total + heads)
    assert step_flops(shape, 3).total == 3 * T * training_flops(shape).total
    assert forward_flops(shape).prediction == 0
    assert decode_flops(shape, 1).prediction == 0
    assert training_flops(shape).prediction == 3 * training_forward_flops(shape).prediction > 0


@pytest.mark.parametrize("name", ["grouped", "latent", "shared keys", "mixture"])
def test_decoding_is_what_pytorch_counts(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One token after a cache of 24 that is full with it; the fused kernel's FLOPs would not be counted on a CPU."""
    for module in ("attention", "latent_attention"):
        monkeypatch.setattr(f"groundup.models.{module}.attend", attend_reference)
    shape = config(CONFIGS[name])
    model = decoder(shape).eval()
    cache = model.new_cache(5, 24)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.unembed(model(torch.randint(97, (5, 1)), torch.full((5, 1), 23), cache))
    assert counter.get_total_flops() == 5 * decode_flops(shape, 24).total


def test_a_window_bounds_what_a_layer_looks_at_and_what_shares_its_keys() -> None:
    local = Layer(Attention(4, 2, window=16), GatedMLP(48))
    plain, shared = Layer(Attention(4, 2), GatedMLP(48)), Layer(SharedAttention(), GatedMLP(48))
    one_key = 4 * 4 * 8  # FLOPs of scores and sums: 4 heads of width 8
    assert forward_flops(config([local, plain]), 64).attention == one_key * (16 + 64)
    assert forward_flops(config([local, plain]), 10).attention == one_key * (10 + 10)
    assert forward_flops(config([local, shared]), 64).attention == one_key * (16 + 16)
    assert decode_flops(config([local, plain]), 64).attention == one_key * (16 + 64)


def test_the_shape_of_gpt2_xl() -> None:
    at_1024, at_16384 = (sequence_flops(GPT2_XL_SHAPE, T) for T in (1024, 16_384))
    assert at_1024.total == 4_513_336_524_800
    shares = {name: round(100 * share, 1) for name, share in at_1024.shares().items() if share}
    assert shares == {"projections": 22.3, "attention": 7.1, "feed_forward": 66.9, "unembedding": 3.6}
    assert at_16384.total == pytest.approx(149.5e12, rel=2e-4)
    assert at_16384.shares()["attention"] == pytest.approx(0.55, abs=0.005)


def test_active_parameters_and_the_rule_of_thumb() -> None:
    assert active_parameters(preset("mixtral-8x7b")) == 12_879_925_248  # "12.9B" in the paper
    assert active_parameters(preset("deepseek-v3")) == pytest.approx(37e9, rel=0.02)
    assert rule_of_thumb_flops(preset("llama3-405b"), 15_600_000_000_000) == pytest.approx(3.8e25, rel=2e-3)
    short = training_flops(preset("llama3-405b"), 128).total
    assert short == pytest.approx(rule_of_thumb_flops(preset("llama3-405b"), 1), rel=0.005)


def test_a_context_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="context is 0"):
        forward_flops(GPT2_XL_SHAPE, 0)
