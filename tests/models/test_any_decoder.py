"""What holds for every decoder, whatever its config: tried on configs drawn from the whole space."""

from dataclasses import replace
from random import Random

import pytest
import torch
from random_decoders import CONTEXT, V, random_config, random_decoder, random_tokens
from torch import Tensor
from torch.testing import assert_close
from torch.utils.flop_counter import FlopCounterMode

from groundup.accounting.decoder import parameters
from groundup.accounting.flops import training_flops
from groundup.core.config import decode, encode
from groundup.models.config import DecoderConfig, Layer
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.mixer_config import Attention, DeltaRule, GatedMLP, LinearAttention, SequenceMixer, StateSpace
from groundup.models.position_config import Alibi

SEEDS = range(60)
seeds = pytest.mark.parametrize("seed", SEEDS)


def assert_near(found: Tensor, expected: Tensor, scale: Tensor, tolerance: float = 1e-5) -> None:
    """Within a tolerance of the largest value that the decoder gives: without norms values are not of size 1."""
    assert_close(found, expected, atol=tolerance * max(1.0, scale.abs().max().item()), rtol=0)


@seeds
@torch.no_grad()
def test_in_pieces_with_a_cache_is_the_full_forward(seed: int) -> None:
    """Rows of different lengths, the prompt in one piece or several, then a token at a time."""
    decoder, tokens_BT, random = random_decoder(seed), random_tokens(3, CONTEXT, seed), Random(seed)
    lengths = [random.randint(1, CONTEXT - 4) for _ in range(3)]
    cache = decoder.new_cache(3, CONTEXT)
    full = [decoder(tokens_BT[row : row + 1])[0] for row in range(3)]
    longest = max(lengths)
    split = random.randint(0, min(lengths))
    for start, end in ((0, split), (split, longest)):
        if start == end:
            continue
        positions_BT = torch.arange(start, end).expand(3, -1)
        positions_BT = torch.where(positions_BT < torch.tensor(lengths)[:, None], positions_BT, -1)
        found = decoder(torch.where(positions_BT < 0, 0, tokens_BT[:, start:end]), positions_BT, cache)
        assert found.isfinite().all()
        for row, length in enumerate(lengths):
            assert_near(found[row, : length - start], full[row][start:length][: end - start], full[row])
    for step in range(4):
        positions_BT = torch.tensor(lengths)[:, None] + step
        found = decoder(tokens_BT.gather(1, positions_BT), positions_BT, cache)
        for row, length in enumerate(lengths):
            assert_near(found[row, 0], full[row][length + step], full[row])
    cache.keep_rows(torch.tensor([2, 0]))


@seeds
@torch.no_grad()
def test_a_later_token_changes_nothing_before_it(seed: int) -> None:
    decoder, tokens_BT, at = random_decoder(seed), random_tokens(2, CONTEXT, seed), Random(seed).randint(1, CONTEXT - 1)
    changed = tokens_BT.clone()
    changed[:, at:] = (changed[:, at:] + 1) % V
    before, after = decoder(tokens_BT), decoder(changed)
    assert_near(before[:, :at], after[:, :at], before, 1e-6)
    assert (before[:, at:] - after[:, at:]).abs().max() > 1e-3


@seeds
@torch.no_grad()
def test_documents_packed_into_a_row_do_not_see_each_other(seed: int) -> None:
    decoder, tokens_BT, random = random_decoder(seed), random_tokens(2, CONTEXT, seed), Random(seed)
    cuts = [sorted(random.sample(range(1, CONTEXT), 2)), [random.randint(1, CONTEXT - 1)]]
    parts = [list(zip([0, *cut], [*cut, CONTEXT], strict=True)) for cut in cuts]
    positions_BT = torch.stack([torch.cat([torch.arange(end - start) for start, end in row]) for row in parts])
    packed = decoder(tokens_BT, positions_BT)
    for row, row_parts in enumerate(parts):
        for start, end in row_parts:
            alone = decoder(tokens_BT[row : row + 1, start:end])[0]
            assert_near(packed[row, start:end], alone, packed)


@seeds
@torch.no_grad()
def test_a_row_does_not_depend_on_its_batch(seed: int) -> None:
    decoder, tokens_BT = random_decoder(seed), random_tokens(4, CONTEXT, seed)
    together = decoder(tokens_BT)
    for row in range(4):
        assert_near(decoder(tokens_BT[row : row + 1])[0], together[row], together)


@seeds
def test_every_parameter_takes_part(seed: int) -> None:
    decoder, tokens_BT = random_decoder(seed).train(), random_tokens(8, CONTEXT, seed)
    losses_BT = decoder.token_losses(tokens_BT[:, :-1], tokens_BT[:, 1:])
    (losses_BT.mean() + decoder.auxiliary_loss()).backward()
    for name, parameter in decoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().max() > 0, name


@seeds
def test_parameters_are_those_that_accounting_counts(seed: int) -> None:
    config = random_config(seed)
    with torch.device("meta"):
        model = Decoder(config)
    assert parameters(config) == sum(parameter.numel() for parameter in model.parameters())


RECURRENT = ("linear_attention", "delta_rule", "state_space")


def is_counted(config: DecoderConfig) -> bool:
    """Recurrent mixers are counted below; ALiBi goes to a kernel of PyTorch that its counter does not know."""
    sequences = [layer.sequence for layer in config.all_layers]
    alibi = any(isinstance(mixer, Attention) and isinstance(mixer.position, Alibi) for mixer in sequences)
    return not alibi and all(mixer.kind not in RECURRENT for mixer in sequences)


def without_windows(config: DecoderConfig) -> DecoderConfig:
    """The same layers, which look at all tokens."""

    def wide(layer: Layer) -> Layer:
        return (
            replace(layer, sequence=replace(layer.sequence, window=None))
            if hasattr(layer.sequence, "window")
            else layer
        )

    first, layers = (tuple(map(wide, each)) for each in (config.first_layers, config.layers))
    return replace(config, first_layers=first, layers=layers)


ATTENTION_ONLY = [seed for seed in SEEDS if is_counted(random_config(seed))]


@pytest.mark.parametrize("seed", ATTENTION_ONLY)
def test_flops_are_those_that_pytorch_counts(seed: int) -> None:
    """Of a training step without the heads for further tokens, which end before the last position."""
    decoder, tokens_BT = random_decoder(seed), random_tokens(2, CONTEXT, seed)
    with FlopCounterMode(display=False) as counter:
        decoder.token_losses(tokens_BT, tokens_BT).mean().backward()
    config = without_windows(replace(decoder.config, prediction_heads=0))  # so short a text is one block, and masked
    assert counter.get_total_flops() == training_flops(config).total * tokens_BT.numel()


@pytest.mark.parametrize(
    "mixer", [LinearAttention(2), DeltaRule(2), StateSpace(head_width=16, state_width=8, groups=2)]
)
def test_forward_flops_of_recurrent_mixers(mixer: SequenceMixer) -> None:
    """In whole chunks; PyTorch counts a little less backward, where the first state needs no gradient."""
    config = DecoderConfig(V, 128, 32, 2, layers=(Layer(mixer, GatedMLP(24)),))
    decoder = Decoder(config)
    initialize(decoder, 0)
    tokens_BT = random_tokens(2, 128)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        decoder.unembed(decoder(tokens_BT))
    assert 3 * counter.get_total_flops() == training_flops(config).total * tokens_BT.numel()


@seeds
def test_bf16_stays_bf16_and_near(seed: int) -> None:
    decoder, tokens_BT = random_decoder(seed), random_tokens(2, CONTEXT, seed)
    with torch.no_grad():
        exact = decoder(tokens_BT)
        low = decoder.to(torch.bfloat16)(tokens_BT)
    assert low.dtype == torch.bfloat16
    assert (low.float() - exact).abs().median() < 0.05 * exact.square().mean().sqrt()  # rounding may change an expert


@seeds
def test_the_config_survives_json(seed: int) -> None:
    config = random_config(seed)
    assert decode(DecoderConfig, encode(config)) == config
