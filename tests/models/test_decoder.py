"""The decoder: the cache changes nothing, rows and later tokens do not leak, and the parts do what they say."""

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_decoders import SHAPES, tiny_config, tiny_decoder, tiny_tokens
from torch import Tensor

from groundup.models.decoder import Decoder

shapes = pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES.keys())


@shapes
@torch.no_grad()
def test_a_token_at_a_time_with_the_cache_is_the_full_forward(shape: dict[str, Any]) -> None:
    decoder, tokens_BT = tiny_decoder(**shape), tiny_tokens(3, 25)
    cache = decoder.new_cache(3, 25)
    steps = [decoder(tokens_BT[:, t : t + 1], torch.full((3, 1), t), cache) for t in range(25)]
    torch.testing.assert_close(torch.cat(steps, dim=1), decoder(tokens_BT), atol=1e-5, rtol=0)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(1, 5), st.integers(0, 3))
def test_prompts_of_different_lengths_share_a_cache(lengths: list[int], new: int, seed: int) -> None:
    decoder = tiny_decoder(seed)
    rows, longest = len(lengths), max(lengths)
    sequences = tiny_tokens(rows, longest + new, seed)
    prompts = sequences[:, :longest].clone()
    for row, length in enumerate(lengths):
        prompts[row, length:] = 0  # padding on the right
    with torch.no_grad():
        cache = decoder.new_cache(rows, longest + new)
        prefill = decoder(prompts, torch.arange(longest).expand(rows, -1), cache)
        for row, length in enumerate(lengths):
            alone = decoder(sequences[row : row + 1, :length])
            torch.testing.assert_close(prefill[row, :length], alone[0], atol=1e-5, rtol=0)
        for step in range(new):
            positions = torch.tensor(lengths)[:, None] + step
            hidden = decoder(sequences.gather(1, positions), positions, cache)
            for row, length in enumerate(lengths):
                alone = decoder(sequences[row : row + 1, : length + step + 1])
                torch.testing.assert_close(hidden[row, 0], alone[0, -1], atol=1e-5, rtol=0)


@torch.no_grad()
def test_a_prompt_in_pieces_is_the_full_forward() -> None:
    decoder, tokens_BT = tiny_decoder(), tiny_tokens(2, 20)
    cache = decoder.new_cache(2, 20)
    pieces = []
    for start, end in [(0, 7), (7, 8), (8, 20)]:
        pieces.append(decoder(tokens_BT[:, start:end], torch.arange(start, end).expand(2, -1), cache))
    torch.testing.assert_close(torch.cat(pieces, dim=1), decoder(tokens_BT), atol=1e-5, rtol=0)


@shapes
def test_a_row_does_not_depend_on_its_batch(shape: dict[str, Any]) -> None:
    decoder, tokens_BT = tiny_decoder(**shape), tiny_tokens(5, 30)
    together = decoder(tokens_BT)
    for row in range(5):
        torch.testing.assert_close(decoder(tokens_BT[row : row + 1])[0], together[row], atol=1e-5, rtol=0)


@shapes
def test_a_later_token_changes_nothing_before_it(shape: dict[str, Any]) -> None:
    decoder, tokens_BT = tiny_decoder(**shape), tiny_tokens(2, 30)
    changed = tokens_BT.clone()
    changed[:, 17:] = (changed[:, 17:] + 1) % decoder.config.vocab_size
    before, after = decoder(tokens_BT), decoder(changed)
    assert torch.equal(before[:, :17], after[:, :17])
    assert not torch.allclose(before[:, 17:], after[:, 17:])


def test_no_gradient_flows_from_an_output_to_later_tokens() -> None:
    decoder = tiny_decoder()
    tokens_BT = torch.arange(20)[None]  # each token once, so that a row of the embedding is a position
    decoder(tokens_BT)[0, 11].square().sum().backward()
    gradient = decoder.embedding.grad
    assert gradient is not None
    assert gradient[12:].abs().max() == 0
    assert (gradient[:12].abs().sum(dim=1) > 0).all()


def test_only_distances_between_positions_matter() -> None:
    decoder, tokens_BT = tiny_decoder(), tiny_tokens(2, 20)
    shifted = decoder(tokens_BT, torch.arange(20)[None] + 13)
    torch.testing.assert_close(shifted, decoder(tokens_BT), atol=1e-5, rtol=0)
    stretched = decoder(tokens_BT, torch.arange(20)[None] * 2)
    assert not torch.allclose(stretched, decoder(tokens_BT), atol=1e-2)


@shapes
def test_losses_are_those_of_the_logits(shape: dict[str, Any]) -> None:
    decoder, tokens_BT, targets_BT = tiny_decoder(**shape), tiny_tokens(2, 9), tiny_tokens(2, 9, seed=1)
    logits_BTV = decoder.unembed(decoder(tokens_BT))
    expected = -torch.log_softmax(logits_BTV, dim=-1).gather(-1, targets_BT[..., None])[..., 0]
    torch.testing.assert_close(decoder.token_losses(tokens_BT, targets_BT), expected, atol=1e-5, rtol=0)


def test_a_tied_decoder_has_one_table() -> None:
    tied = tiny_decoder(tie_embeddings=True)
    names = dict(tied.named_parameters())
    assert tied.output_weight is tied.embedding
    assert "unembedding" not in names
    hidden_BTD = torch.randn(1, 3, tied.config.width)
    torch.testing.assert_close(tied.unembed(hidden_BTD), hidden_BTD @ tied.embedding.T)
    untied = tiny_decoder()
    assert untied.output_weight is untied.unembedding
    assert set(dict(untied.named_parameters())) == set(names) | {"unembedding"}


def test_logits_and_losses_of_bf16_are_fp32_and_near() -> None:
    decoder, tokens_BT = tiny_decoder(), tiny_tokens(2, 20)
    exact = decoder.token_losses(tokens_BT, tokens_BT).detach()
    low = decoder.to(torch.bfloat16)
    assert low(tokens_BT).dtype == torch.bfloat16
    assert low.unembed(low(tokens_BT)).dtype == torch.float32
    losses = low.token_losses(tokens_BT, tokens_BT)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, exact, atol=0.15, rtol=0)


def test_every_parameter_takes_part() -> None:
    decoder, tokens_BT = tiny_decoder(), tiny_tokens(2, 20)
    decoder.token_losses(tokens_BT[:, :-1], tokens_BT[:, 1:]).mean().backward()
    idle = [name for name, parameter in decoder.named_parameters() if not _moved(parameter.grad)]
    assert idle == []


def _moved(gradient: Tensor | None) -> bool:
    return gradient is not None and gradient.abs().max().item() > 0


def test_the_names_of_the_weights_are_a_format() -> None:
    """Checkpoints hold weights under these names; a new name is a new format."""
    names = [name for name, _ in Decoder(tiny_config(depth=1)).named_parameters()]
    attention = ["query", "key", "value", "output", "query_gain", "key_gain"]
    assert names == [
        "embedding",
        "unembedding",
        *(f"blocks.0.sequence.{name}" for name in attention),
        *(f"blocks.0.channel.{name}" for name in ("gate", "up", "down")),
        "blocks.0.sequence_norm.gain",
        "blocks.0.channel_norm.gain",
        "final_norm.gain",
    ]
