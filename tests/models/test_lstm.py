"""The LSTM against PyTorch's; states in caches, documents in rows, and where dropout falls."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from groundup.core.config import decode, encode
from groundup.core.errors import ConfigError
from groundup.models.cache import StateCache
from groundup.models.initialization import initialize
from groundup.models.lstm import Lstm, LstmLayer, lstm
from groundup.models.lstm_config import LstmConfig

V, D = 53, 16


def random_model(seed: int = 0, **changes: Any) -> Lstm:
    """Weights large enough that gates open and close, and biases off their initial values."""
    model = Lstm(LstmConfig(**{"vocab_size": V, "context_length": 40, "width": D, "depth": 2, **changes}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
            else:
                parameter.normal_(0, 1 if name == "embedding" else 0.4, generator=generator)
    return model.eval()


def random_tokens(B: int, T: int, seed: int = 0) -> Tensor:
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(seed))


def peer_of(model: Lstm) -> torch.nn.LSTM:
    """PyTorch's LSTM with the same weights; of its two biases the second is 0."""
    peer = torch.nn.LSTM(D, D, num_layers=len(model.layers), batch_first=True)
    with torch.no_grad():
        for place, layer in enumerate(model.layers):
            assert isinstance(layer, LstmLayer)
            for name, value in (("weight_ih", layer.input), ("weight_hh", layer.recurrent), ("bias_ih", layer.bias)):
                getattr(peer, f"{name}_l{place}").copy_(value.reshape(4 * D, *value.shape[2:]))
            getattr(peer, f"bias_hh_l{place}").zero_()
    return peer


@pytest.mark.parametrize("depth", [1, 3])
def test_outputs_and_gradients_are_those_of_pytorch(depth: int) -> None:
    model, tokens_BT = random_model(depth=depth), random_tokens(3, 20)
    peer, direction_BTD = peer_of(model), torch.randn(3, 20, D)
    found = model(tokens_BT)
    expected, _ = peer(model.embedding[tokens_BT].detach())
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=0)
    assert found.abs().max() > 0.5
    (found * direction_BTD).mean().backward()
    (expected * direction_BTD).mean().backward()
    for place, layer in enumerate(model.layers):
        for ours, theirs in (("input", "weight_ih"), ("recurrent", "weight_hh"), ("bias", "bias_ih")):
            gradient = layer.get_parameter(ours).grad
            assert gradient is not None
            assert gradient.abs().max() > 1e-4
            expected = getattr(peer, f"{theirs}_l{place}").grad.view_as(gradient)
            torch.testing.assert_close(gradient, expected, atol=1e-6, rtol=0)


def test_a_state_goes_on_as_pytorch_does() -> None:
    model, x_BTD = random_model(depth=1), torch.randn(3, 7, D)
    h_1BD, c_1BD = torch.randn(2, 1, 3, D).unbind()
    layer = model.layers[0]
    assert isinstance(layer, LstmLayer)
    state_B2D = torch.stack((h_1BD[0], c_1BD[0]), dim=1)
    y_BTD, state_B2D = lstm(x_BTD, layer.input.flatten(0, 1), layer.recurrent.flatten(0, 1), layer.bias, state_B2D)
    expected_BTD, (h_1BD, c_1BD) = peer_of(model)(x_BTD, (h_1BD, c_1BD))
    torch.testing.assert_close(y_BTD, expected_BTD, atol=1e-6, rtol=0)
    torch.testing.assert_close(state_B2D, torch.stack((h_1BD[0], c_1BD[0]), dim=1), atol=1e-6, rtol=0)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 12), min_size=1, max_size=4), st.integers(0, 12), st.integers(0, 3))
def test_in_pieces_with_a_cache_is_the_full_forward(lengths: list[int], split: int, seed: int) -> None:
    """Rows of different lengths, padded on the right; the prompt in two pieces, then a token at a time."""
    model, rows, longest = random_model(seed), len(lengths), max(lengths)
    tokens_BT, split = random_tokens(rows, longest + 3, seed), min(split, longest)
    full = [model(tokens_BT[row : row + 1])[0] for row in range(rows)]
    with torch.no_grad():
        cache = model.new_cache(rows, longest + 3)
        for start, end in ((0, split), (split, longest)):
            if start == end:
                continue
            positions_BT = torch.arange(start, end).expand(rows, -1)
            positions_BT = torch.where(positions_BT < torch.tensor(lengths)[:, None], positions_BT, -1)
            found = model(torch.where(positions_BT < 0, 0, tokens_BT[:, start:end]), positions_BT, cache)
            assert found.isfinite().all()
            for row, length in enumerate(lengths):
                kept = max(0, min(end, length) - start)
                torch.testing.assert_close(found[row, :kept], full[row][start : start + kept], atol=1e-6, rtol=0)
        for step in range(3):
            positions_B1 = torch.tensor(lengths)[:, None] + step
            found = model(tokens_BT.gather(1, positions_B1), positions_B1, cache)
            for row, length in enumerate(lengths):
                torch.testing.assert_close(found[row, 0], full[row][length + step], atol=1e-6, rtol=0)


@torch.no_grad()
def test_padding_changes_no_state() -> None:
    model, cache = random_model(), random_model().new_cache(2, 9)
    model(random_tokens(2, 4), torch.arange(4).expand(2, -1), cache)
    before = [layer.state.clone() for layer in cache.layers if isinstance(layer, StateCache)]
    model(random_tokens(2, 3, 1), torch.tensor([[-1, -1, -1], [4, -1, -1]]), cache)
    after = [layer.state for layer in cache.layers if isinstance(layer, StateCache)]
    assert len(before) == 2
    for old_B2D, new_B2D in zip(before, after, strict=True):
        assert torch.equal(old_B2D[0], new_B2D[0])
        assert not torch.allclose(old_B2D[1], new_B2D[1])


@torch.no_grad()
def test_a_cache_that_was_used_begins_anew_at_position_0() -> None:
    model, tokens_BT = random_model(), random_tokens(2, 6)
    cache = model.new_cache(2, 6)
    for layer in cache.layers:
        assert isinstance(layer, StateCache)
        layer.state.fill_(50)
    found = model(tokens_BT, torch.arange(6), cache)
    torch.testing.assert_close(found, model(tokens_BT), atol=1e-6, rtol=0)


@torch.no_grad()
def test_rows_that_stay_go_on_as_if_alone() -> None:
    model, tokens_BT = random_model(), random_tokens(4, 10)
    cache = model.new_cache(4, 10)
    model(tokens_BT[:, :9], torch.arange(9).expand(4, -1), cache)
    kept = torch.tensor([3, 1])
    cache.keep_rows(kept)
    last = model(tokens_BT[kept, 9:], torch.full((2, 1), 9), cache)
    torch.testing.assert_close(last[:, 0], model(tokens_BT[kept])[:, -1], atol=1e-6, rtol=0)


@torch.no_grad()
def test_documents_packed_into_a_row_do_not_see_each_other() -> None:
    model, tokens_BT = random_model(), random_tokens(2, 20)
    lengths = [[3, 1, 16], [12, 8]]
    positions_BT = torch.stack([torch.cat([torch.arange(n) for n in row]) for row in lengths])
    packed = model(tokens_BT, positions_BT)
    for row, row_lengths in enumerate(lengths):
        start = 0
        for length in row_lengths:
            alone = model(tokens_BT[row : row + 1, start : start + length])[0]
            torch.testing.assert_close(packed[row, start : start + length], alone, atol=1e-6, rtol=0)
            start += length


@torch.no_grad()
def test_rows_and_later_tokens_do_not_leak() -> None:
    model, tokens_BT = random_model(), random_tokens(5, 20)
    together = model(tokens_BT)
    for row in range(5):
        torch.testing.assert_close(model(tokens_BT[row : row + 1])[0], together[row], atol=1e-6, rtol=0)
    for at in range(1, 20):
        changed = tokens_BT.clone()
        changed[:, at] = (changed[:, at] + 1) % V
        after = model(changed)
        assert torch.equal(together[:, :at], after[:, :at])
        assert not torch.allclose(together[:, at:], after[:, at:], atol=1e-3)


def test_dropout_spares_what_goes_from_one_time_to_the_next() -> None:
    """Without inputs a layer computes from its bias and its own past alone: nothing but the last dropout shows."""
    model, tokens_BT = random_model(depth=1, dropout=0.25), random_tokens(3, 30)
    with torch.no_grad():
        model.layers[0].get_parameter("input").zero_()
    undropped = model(tokens_BT)
    found = model.train()(tokens_BT)
    zero = found == 0
    assert 0.15 < zero.float().mean() < 0.35
    torch.testing.assert_close(found[~zero], undropped[~zero] / 0.75)


def test_dropout_falls_once_before_each_layer_and_once_behind_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[float, bool]] = []

    def recorded(x: Tensor, probability: float, training: bool) -> Tensor:
        calls.append((probability, training))
        return x

    monkeypatch.setattr("groundup.models.lstm.dropout", recorded)
    random_model(depth=3, dropout=0.5).train()(random_tokens(1, 5))
    assert calls == [(0.5, True)] * 4


def test_a_fresh_layer_remembers() -> None:
    expected = torch.zeros(4, D)
    expected[1] = 1  # input, forget, candidate, output
    assert torch.equal(LstmLayer(D).bias, expected.flatten())


def test_fresh_gates_have_the_scale_of_one_matrix_each() -> None:
    model = Lstm(LstmConfig(vocab_size=V, width=64))
    initialize(model, 0)
    for layer in model.layers:
        for name in ("input", "recurrent"):
            assert abs(layer.get_parameter(name).std().item() * math.sqrt(64) - 1) < 0.05
        assert layer.get_parameter("bias").sum() == 64


def test_a_tied_embedding_is_scaled_up() -> None:
    tied, tokens_BT = random_model(tie_embeddings=True), random_tokens(2, 9)
    untied = random_model()
    untied.load_state_dict({**tied.state_dict(), "unembedding": tied.embedding})
    assert not torch.allclose(tied(tokens_BT), untied(tokens_BT), atol=1e-2)
    with torch.no_grad():
        untied.embedding.mul_(math.sqrt(D))
    torch.testing.assert_close(tied(tokens_BT), untied(tokens_BT), atol=1e-6, rtol=0)


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_losses_are_those_of_the_logits(tie_embeddings: bool) -> None:
    model, tokens_BT = random_model(tie_embeddings=tie_embeddings), random_tokens(3, 9)
    targets_BT, counted_BT = random_tokens(3, 9, seed=1), random_tokens(3, 9, seed=2) % 3 == 0
    logits_BTV = model.unembed(model(tokens_BT))
    expected = torch.nn.functional.cross_entropy(logits_BTV.mT, targets_BT, reduction="none")
    torch.testing.assert_close(model.token_losses(tokens_BT, targets_BT), expected, atol=1e-5, rtol=0)
    some = model.losses_where(tokens_BT, targets_BT, counted_BT)
    torch.testing.assert_close(some, expected.where(counted_BT, torch.tensor(0.0)), atol=1e-5, rtol=0)
    assert (model.output_weight is model.embedding) == tie_embeddings


def test_every_parameter_takes_part() -> None:
    model, tokens_BT = random_model(), random_tokens(8, 20)
    model.token_losses(tokens_BT[:, :-1], tokens_BT[:, 1:]).mean().backward()
    idle = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert idle == []


@torch.no_grad()
def test_bf16_stays_bf16_and_near_with_a_cell_in_fp32() -> None:
    model, tokens_BT = random_model(), random_tokens(2, 20)
    exact = model(tokens_BT)
    low, cache = model.to(torch.bfloat16), model.to(torch.bfloat16).new_cache(2, 20)
    assert low(tokens_BT).dtype == torch.bfloat16
    assert low.unembed(low(tokens_BT)).dtype == torch.float32
    torch.testing.assert_close(low(tokens_BT).float(), exact, atol=0.1, rtol=0)
    pieces = [low(tokens_BT[:, t : t + 1], torch.full((2, 1), t), cache) for t in range(20)]
    torch.testing.assert_close(torch.cat(pieces, dim=1), low(tokens_BT), atol=0.02, rtol=0)
    assert {layer.state.dtype for layer in cache.layers if isinstance(layer, StateCache)} == {torch.float32}


@pytest.mark.parametrize("tie_embeddings", [False, True])
def test_parameters_and_flops_are_those_of_the_formula(tie_embeddings: bool) -> None:
    model, tokens_BT, layers = random_model(depth=3, tie_embeddings=tie_embeddings), random_tokens(2, 20), 3
    tables = V * D * (1 if tie_embeddings else 2)
    assert sum(p.numel() for p in model.parameters()) == layers * (8 * D * D + 4 * D) + tables
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        model.token_losses(tokens_BT, tokens_BT)
    assert counter.get_total_flops() == 2 * (layers * 8 * D * D + V * D) * tokens_BT.numel()


def test_a_text_that_needs_memory_is_learnt() -> None:
    """In "abcadcabcadc…" what follows an a depends on what followed the last one."""
    tokens_1T = torch.tensor([[0, 1, 2, 0, 3, 2] * 8])
    torch.manual_seed(0)
    model = Lstm(LstmConfig(vocab_size=4, width=16, depth=2))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith("bias"):
                parameter.normal_(0, 0.3)
    optimizer, losses = torch.optim.Adam(model.parameters(), lr=0.03), []
    for _ in range(60):
        optimizer.zero_grad()
        loss = model.token_losses(tokens_1T[:, :-1], tokens_1T[:, 1:])[:, 6:].mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.1 * math.log(2) / 3  # who knows one letter only pays ln 2 for every third


@pytest.mark.parametrize("wrong", [{"width": 0}, {"depth": 0}, {"vocab_size": 0}, {"dropout": 1.0}])
def test_impossible_configs_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        LstmConfig(**wrong)


def test_the_config_survives_json() -> None:
    config = LstmConfig(width=24, tie_embeddings=True, dropout=0.1)
    assert decode(LstmConfig, encode(config)) == config
