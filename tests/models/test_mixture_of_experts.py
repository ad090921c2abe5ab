"""The mixture of experts against a loop over tokens and experts, against transformers, and by its promises: nothing
dropped, nothing looked at but the token itself, losses and a bias that even out the load."""

import math
from typing import Any

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from groundup.accounting.decoder import channel_cost
from groundup.core.errors import ConfigError
from groundup.models import mixer_config
from groundup.models.cache import LayerCache
from groundup.models.config import DecoderConfig, Layer
from groundup.models.mixture_of_experts import (
    MixtureOfExperts,
    balance_loss,
    choice_weights,
    choose_experts,
    choose_tokens,
    router_z_loss,
    scores,
)

WIDTH = 12
ATTENTION = mixer_config.Attention(num_heads=2, num_kv_heads=2)


def mixture(seed: int = 0, **changes: Any) -> MixtureOfExperts:
    """Random weights of a size at which every part of the output matters, and a random bias where there is one."""
    config = mixer_config.MixtureOfExperts(**{"num_experts": 6, "experts_per_token": 2, "hidden_width": 5, **changes})
    module = MixtureOfExperts(config, DecoderConfig(width=WIDTH, layers=(Layer(ATTENTION, config),)))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_(0, parameter.shape[-1] ** -0.5, generator=generator)
        if module.balance_bias is not None:
            module.balance_bias.normal_(0, 0.3, generator=generator)
    return module


def inputs(B: int = 3, T: int = 7, seed: int = 0) -> Tensor:
    return torch.randn(B, T, WIDTH, generator=torch.Generator().manual_seed(seed))


def run(module: MixtureOfExperts, x_BTD: Tensor) -> Tensor:
    return module(x_BTD, torch.arange(x_BTD.shape[1]), None)


def counts(module: MixtureOfExperts) -> list[int]:
    return module.expert_counts_E.tolist()


def chosen_pairs(module: MixtureOfExperts, row_TE: Tensor) -> set[tuple[int, int]]:
    """(token, expert) of one row, from its scores, in the most obvious way."""
    config, (T, E) = module.config, row_TE.shape
    bias = [0.0] * E if module.balance_bias is None else module.balance_bias.tolist()
    pairs = set()
    if config.routing == "experts":
        capacity = math.ceil(T * config.experts_per_token / E)
        for expert in range(E):
            best = sorted(range(T), key=lambda token: -row_TE[token, expert].item())[:capacity]
            pairs |= {(token, expert) for token in best}
        return pairs
    size = E // config.groups
    for token in range(T):
        biased = [row_TE[token, expert].item() + bias[expert] for expert in range(E)]
        worth = [sum(sorted(biased[g * size : (g + 1) * size])[-2:]) for g in range(config.groups)]
        groups = sorted(range(config.groups), key=lambda g: -worth[g])[: config.groups_per_token]
        allowed = [expert for expert in range(E) if expert // size in groups]
        pairs |= {(token, e) for e in sorted(allowed, key=lambda e: -biased[e])[: config.experts_per_token]}
    return pairs


def by_loop(module: MixtureOfExperts, x_BTD: Tensor) -> Tensor:
    """The same output, one token and one expert at a time."""
    config = module.config
    act = {"silu": torch.nn.functional.silu, "gelu": torch.nn.functional.gelu, "relu": torch.relu}[config.activation]
    rows = []
    for x_TD in x_BTD:
        logits_TE = x_TD @ module.router.T
        row_TE = logits_TE.softmax(dim=-1) if config.gate == "softmax" else logits_TE.sigmoid()
        pairs = chosen_pairs(module, row_TE)
        for token, x_D in enumerate(x_TD):
            mine = [expert for expert in range(config.num_experts) if (token, expert) in pairs]
            total = sum(row_TE[token, expert] for expert in mine) if config.normalize else 1
            y_D = torch.zeros(WIDTH)
            for expert in mine:
                hidden_F = act(module.gate[expert] @ x_D) * (module.up[expert] @ x_D)
                y_D = y_D + config.scale * row_TE[token, expert] / total * (module.down[expert] @ hidden_F)
            if config.shared_width:
                y_D = y_D + module.shared_down @ (act(module.shared_gate @ x_D) * (module.shared_up @ x_D))
            rows.append(y_D)
    return torch.stack(rows).view_as(x_BTD)


TOKEN_CHOICE = st.fixed_dictionaries(
    {
        "grouping": st.sampled_from([(1, 1), (2, 1), (3, 2), (3, 3), (6, 4)]),
        "balance_bias_rate": st.sampled_from([0.0, 0.1]),
        "experts_per_token": st.integers(1, 3),
    }
)
EXPERT_CHOICE = st.fixed_dictionaries({"routing": st.just("experts"), "experts_per_token": st.integers(1, 6)})


@settings(max_examples=25)
@given(
    routing=st.one_of(TOKEN_CHOICE, EXPERT_CHOICE),
    gate=st.sampled_from(["softmax", "sigmoid"]),
    normalize=st.booleans(),
    scale=st.sampled_from([1.0, 2.5]),
    shared_width=st.sampled_from([0, 4]),
    activation=st.sampled_from(["silu", "gelu", "relu"]),
    shape=st.sampled_from([(1, 1), (2, 5), (3, 8)]),
    seed=st.integers(0, 999),
)
def test_output_and_gradients_are_those_of_a_loop(
    routing: dict[str, Any], shape: tuple[int, int], seed: int, **changes: Any
) -> None:
    groups, groups_per_token = routing.get("grouping", (1, 1))
    changes |= {name: value for name, value in routing.items() if name != "grouping"}
    assume(changes["experts_per_token"] > 1 or not changes["normalize"] or "routing" in changes)  # refused otherwise
    module = mixture(seed, groups=groups, groups_per_token=groups_per_token, **changes)
    x_BTD = inputs(*shape, seed=seed).requires_grad_()
    ours, theirs = run(module, x_BTD), by_loop(module, x_BTD)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)
    leaves, direction = [x_BTD, *module.parameters()], inputs(*shape, seed=1)
    found, expected = (
        torch.autograd.grad(y, leaves, direction, allow_unused=True, materialize_grads=True) for y in (ours, theirs)
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def agrees(module: MixtureOfExperts, theirs: torch.nn.Module, names: dict[str, str]) -> None:
    """Output and gradients of our module and of transformers' with the same weights."""
    weights = dict(module.named_parameters())
    stacked = {"experts.gate_up_proj": torch.cat((module.gate, module.up), dim=1), "experts.down_proj": module.down}
    given_weights = {**stacked, **{other: weights[name] for name, other in names.items()}}
    if module.balance_bias is not None:
        given_weights["gate.e_score_correction_bias"] = module.balance_bias
    theirs.load_state_dict({name: weight.detach().clone() for name, weight in given_weights.items()}, strict=True)
    ours_x, theirs_x = inputs(2, 20).requires_grad_(), inputs(2, 20).requires_grad_()
    ours_y, theirs_y = run(module, ours_x), theirs(theirs_x)
    torch.testing.assert_close(ours_y, theirs_y, atol=1e-5, rtol=0)
    for y in (ours_y, theirs_y):
        y.backward(inputs(2, 20, seed=1))
    gradients = {name: parameter.grad for name, parameter in theirs.named_parameters()}
    mine = {other: weights[name].grad for name, other in names.items()} | {"experts.down_proj": module.down.grad}
    mine["experts.gate_up_proj"] = torch.cat((module.gate.grad, module.up.grad), dim=1)
    torch.testing.assert_close(ours_x.grad, theirs_x.grad, atol=1e-5, rtol=0)
    assert mine.keys() == gradients.keys()
    for name, gradient in mine.items():
        torch.testing.assert_close(
            gradient, gradients[name], atol=1e-5, rtol=1e-5, msg=lambda m, name=name: f"{name} {m}"
        )


def test_it_is_the_mixtral_block() -> None:
    mixtral = pytest.importorskip("transformers.models.mixtral.modeling_mixtral")
    config = mixtral.MixtralConfig(
        hidden_size=WIDTH, intermediate_size=5, num_local_experts=6, num_experts_per_tok=2, hidden_act="silu"
    )
    config._experts_implementation = "eager"
    module = mixture()
    agrees(module, mixtral.MixtralSparseMoeBlock(config), {"router": "gate.weight"})
    logits_NE = inputs(2, 20).flatten(0, 1) @ module.router.T
    # Theirs sums the shares of the first and of the second choice, so two choices make twice our loss.
    theirs = mixtral.load_balancing_loss_func((logits_NE,), num_experts=6, top_k=2)
    scores_NE = scores(logits_NE, "softmax")
    torch.testing.assert_close(balance_loss(scores_NE, choose_experts(scores_NE, 2), 1.0) * 2, theirs)


@pytest.mark.parametrize("normalize", [True, False])
def test_it_is_the_mixture_of_deepseek_v3(normalize: bool) -> None:
    deepseek = pytest.importorskip("transformers.models.deepseek_v3.modeling_deepseek_v3")
    sizes = {"hidden_size": WIDTH, "moe_intermediate_size": 5, "n_shared_experts": 2, "n_routed_experts": 12}
    choice = {"num_experts_per_tok": 3, "n_group": 4, "topk_group": 2, "norm_topk_prob": normalize}
    config = deepseek.DeepseekV3Config(**sizes, **choice, routed_scaling_factor=2.5)
    config._experts_implementation = "eager"
    grouping = {"groups": 4, "groups_per_token": 2, "normalize": normalize, "scale": 2.5, "balance_bias_rate": 0.001}
    module = mixture(num_experts=12, experts_per_token=3, shared_width=10, gate="sigmoid", **grouping)
    shared = {f"shared_{name}": f"shared_experts.{name}_proj.weight" for name in ("gate", "up", "down")}
    agrees(module, deepseek.DeepseekV3MoE(config), {"router": "gate.weight", **shared})


def test_an_expert_may_get_all_tokens_and_another_none() -> None:
    module = mixture(experts_per_token=1, normalize=False)
    with torch.no_grad():
        module.router.zero_()[4] = 3.0
    x_BTD = inputs().abs().requires_grad_()
    y_BTD = run(module, x_BTD)
    torch.testing.assert_close(y_BTD, by_loop(module, x_BTD), atol=1e-5, rtol=0)
    y_BTD.sum().backward()
    assert counts(module) == [0, 0, 0, 0, 21, 0]
    assert module.down.grad[4].abs().min() > 0
    assert module.down.grad[[0, 1, 2, 3, 5]].abs().max() == 0


@torch.no_grad()
def test_the_bias_chooses_and_nothing_else() -> None:
    scores_E = torch.tensor([0.1, 0.2, 0.3, 0.4])
    chosen_E = choose_experts(scores_E, 2, torch.tensor([1.0, 0.0, 0.0, 0.0]))
    assert chosen_E.tolist() == [True, False, False, True]
    torch.testing.assert_close(choice_weights(scores_E, chosen_E, True, 3.0), torch.tensor([0.6, 0, 0, 2.4]))
    torch.testing.assert_close(choice_weights(scores_E, chosen_E, False, 1.0), torch.tensor([0.1, 0, 0, 0.4]))


def test_groups_are_judged_by_their_best_two() -> None:
    scores_E = torch.tensor([0.9, 0.1, 0.0, 0.6, 0.5, 0.0, 0.3, 0.3, 0.3])
    assert choose_experts(scores_E, 2, groups=3).nonzero().flatten().tolist() == [3, 4]  # not 0, the best of all
    assert choose_experts(scores_E, 3, groups=3, groups_per_token=2).nonzero().flatten().tolist() == [0, 3, 4]
    # A group must not be preferred because what is masked in others is 0 and its own is negative.
    assert choose_experts(scores_E - 1, 3, groups=3).nonzero().flatten().tolist() == [3, 4, 5]


@torch.no_grad()
def test_experts_take_their_best_tokens_of_each_row() -> None:
    scores_BTE = torch.rand(3, 7, 4, generator=torch.Generator().manual_seed(0))
    chosen_BTE = choose_tokens(scores_BTE, 2)
    assert chosen_BTE.sum(dim=1).eq(4).all()  # ceil(7 · 2 / 4)
    for row in range(3):
        for expert in range(4):
            column_T, taken_T = scores_BTE[row, :, expert], chosen_BTE[row, :, expert]
            assert column_T[taken_T].min() > column_T[~taken_T].max()
    assert chosen_BTE.sum(dim=-1).unique().tolist() != [2], "a token passes as many as took it"


@torch.no_grad()
def test_experts_that_choose_look_ahead_within_a_row_only() -> None:
    module, x_BTD = mixture(routing="experts"), inputs(2, 12)
    y_BTD = run(module, x_BTD)
    torch.testing.assert_close(y_BTD[1:], run(module, x_BTD[1:]), atol=1e-6, rtol=0)
    assert not torch.allclose(y_BTD[:, :6], run(module, x_BTD[:, :6]), atol=1e-2)
    with pytest.raises(ConfigError, match="token by token"):
        module(x_BTD, torch.arange(12).expand(2, -1), LayerCache())


@torch.no_grad()
def test_a_token_that_chooses_depends_on_itself_only() -> None:
    """So it is causal, packed documents are apart, a cache changes nothing, and padding disturbs nobody."""
    module = mixture(shared_width=4, groups=3, groups_per_token=2, balance_bias_rate=0.1).eval()
    x_BTD = inputs()
    y_BTD = run(module, x_BTD)
    packed = module(x_BTD, torch.tensor([[0, 1, 2, 0, 1, 0, 1]] * 3), None)
    torch.testing.assert_close(packed, y_BTD, atol=0, rtol=0)
    for split in range(1, 7):
        pieces = zip(x_BTD.split([split, 7 - split], dim=1), torch.arange(7).split([split, 7 - split]), strict=True)
        parts = [module(piece, positions.expand(3, -1), LayerCache()) for piece, positions in pieces]
        torch.testing.assert_close(torch.cat(parts, dim=1), y_BTD, atol=1e-6, rtol=0)
    padded_BTD = torch.cat((x_BTD, torch.full((3, 2, WIDTH), 1e4)), dim=1)
    positions_BT = torch.tensor([[0, 1, 2, 3, 4, 5, 6, -1, -1]] * 3)
    found_BTD = module(padded_BTD, positions_BT, LayerCache())
    torch.testing.assert_close(found_BTD[:, :7], y_BTD, atol=1e-6, rtol=0)
    assert found_BTD.isfinite().all()


def test_uniform_routing_costs_alpha_and_a_collapse_more() -> None:
    E, k, alpha = 8, 2, 0.01
    scores_NE = torch.full((E, E), 1 / E)
    round_robin_NE = torch.stack([torch.eye(E, dtype=torch.bool).roll(shift, 0) for shift in range(k)]).any(dim=0)
    for gate_scale in (1.0, 4.0):  # sigmoid scores need not sum to 1
        assert balance_loss(gate_scale * scores_NE, round_robin_NE, alpha).item() == pytest.approx(alpha)
    certain_NE = torch.zeros(5, E)
    certain_NE[:, 3] = 1
    assert balance_loss(certain_NE, choose_experts(certain_NE, 1), alpha).item() == pytest.approx(alpha * E)


def test_losses_are_their_definitions() -> None:
    switch = pytest.importorskip("transformers.models.switch_transformers.modeling_switch_transformers")
    logits_BTE = 3 * torch.randn(2, 9, 5, generator=torch.Generator().manual_seed(0))
    z_loss = router_z_loss(logits_BTE, 0.1)
    torch.testing.assert_close(z_loss, 0.1 * switch.router_z_loss_func(logits_BTE))
    by_hand = sum(math.log(sum(math.exp(x) for x in row)) ** 2 for row in logits_BTE.flatten(0, 1).tolist()) / 18
    assert z_loss.item() == pytest.approx(0.1 * by_hand, rel=1e-5)
    for gate in ("softmax", "sigmoid"):
        scores_BTE = scores(logits_BTE, gate)
        chosen_BTE = choose_experts(scores_BTE, 2)
        total = 0.0
        for expert in range(5):
            f = sum(bool(chosen_BTE[b, t, expert]) for b in range(2) for t in range(9)) / 36
            P = sum((scores_BTE[b, t, expert] / scores_BTE[b, t].sum()).item() for b in range(2) for t in range(9)) / 18
            total += f * P
        assert balance_loss(scores_BTE, chosen_BTE, 0.3).item() == pytest.approx(0.3 * 5 * total, rel=1e-5)


def test_training_leaves_the_losses_and_the_counts_and_evaluation_does_not() -> None:
    module, x_BTD = mixture(balance_loss=0.02, router_z_loss=0.003), inputs()
    run(module.eval(), x_BTD)
    assert module.auxiliary_loss is None
    assert module.expert_counts_E is None
    run(module.train(), x_BTD)
    logits_BTE = x_BTD @ module.router.T
    scores_BTE = scores(logits_BTE, "softmax")
    chosen_BTE = choose_experts(scores_BTE, 2)
    assert module.auxiliary_loss.shape == ()
    expected = balance_loss(scores_BTE, chosen_BTE, 0.02) + router_z_loss(logits_BTE, 0.003)
    torch.testing.assert_close(module.auxiliary_loss, expected)
    assert counts(module) == chosen_BTE.sum(dim=(0, 1)).tolist()
    module.auxiliary_loss.backward()
    assert module.router.grad.abs().max() > 0
    assert module.gate.grad is None
    without = mixture()
    run(without, x_BTD)
    assert without.auxiliary_loss.item() == 0


def test_the_bias_moves_towards_an_even_load() -> None:
    module = mixture(num_experts=4, experts_per_token=2, balance_bias_rate=0.25)
    module.balance_bias.zero_()
    module.expert_counts_E = torch.tensor([10, 30, 20, 20])
    module.update_balance_bias()
    assert module.balance_bias.tolist() == [0.25, -0.25, 0, 0]
    assert "balance_bias" in module.state_dict()
    assert "balance_bias" not in dict(module.named_parameters())
    mixture().update_balance_bias()  # has no bias, so there is nothing to move


@pytest.mark.parametrize("balance", [{"balance_bias_rate": 0.02}, {"balance_loss": 1.0}], ids=["bias", "loss"])
def test_both_ways_of_balancing_balance(balance: dict[str, float]) -> None:
    """A router that prefers one expert for all tokens learns, from the load alone, to use all."""
    module = mixture(gate="sigmoid" if "balance_bias_rate" in balance else "softmax", **balance)
    with torch.no_grad():
        module.router[1] += 0.5
        if module.balance_bias is not None:
            module.balance_bias.zero_()
    x_BTD = inputs(8, 50) + 1

    run(module, x_BTD)
    assert max(counts(module)) > 2 * 800 / 6  # of 800 choices among 6 experts
    for _ in range(80):
        run(module, x_BTD)
        module.update_balance_bias()
        if module.auxiliary_loss.requires_grad:
            (gradient,) = torch.autograd.grad(module.auxiliary_loss, module.router)
            with torch.no_grad():
                module.router -= 0.1 * gradient
    run(module, x_BTD)
    assert max(counts(module)) < 1.35 * 800 / 6


@pytest.mark.parametrize("routing", ["tokens", "experts"])
def test_bf16_in_bf16_out_with_a_bias_in_fp32(routing: str) -> None:
    rate = 0.001 if routing == "tokens" else 0.0
    module = mixture(routing=routing, shared_width=4, balance_bias_rate=rate, router_z_loss=0.1)
    if module.balance_bias is not None:
        module.balance_bias.fill_(0.6)
    half = module.to(torch.bfloat16)
    x_BTD = inputs().bfloat16().requires_grad_()
    y_BTD = run(half, x_BTD)
    y_BTD.sum().backward()
    assert y_BTD.dtype == torch.bfloat16
    assert y_BTD.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in half.parameters())
    torch.testing.assert_close(y_BTD.float(), run(half.float(), x_BTD.float()), atol=0.05, rtol=0.05)
    if half.balance_bias is not None:
        half.to(torch.bfloat16)
        half.expert_counts_E = torch.arange(6)
        half.update_balance_bias()
        torch.testing.assert_close(half.balance_bias, torch.tensor([0.601] * 3 + [0.599] * 3), atol=1e-7, rtol=0)


@torch.no_grad()
def test_close_scores_are_told_apart_in_bf16() -> None:
    """Logits of 1 and of 1 ± 1/512 are all 1 in bf16."""
    module = mixture(num_experts=2, experts_per_token=1, normalize=False).to(torch.bfloat16)
    module.router.zero_()[:, 0] = 1
    module.router[1, 1] = 1
    x_BTD = torch.zeros(1, 2, WIDTH, dtype=torch.bfloat16)
    x_BTD[..., 0], x_BTD[0, :, 1] = 1, torch.tensor([1 / 512, -1 / 512])
    run(module, x_BTD)
    assert counts(module) == [1, 1]


@torch.no_grad()
def test_scores_that_all_vanish_are_finite() -> None:
    """Sigmoids of very negative logits are 0 in fp32, and so is their sum."""
    module = mixture(gate="sigmoid", balance_loss=1.0)
    module.router.fill_(-1000.0)
    assert run(module, inputs().abs()).eq(0).all()
    assert module.auxiliary_loss.isfinite()


@pytest.mark.parametrize("routing", ["tokens", "experts"])
def test_parameters_and_flops_are_those_of_the_accounting(routing: str) -> None:
    module = mixture(shared_width=4, routing=routing)
    cost = channel_cost(module.config, DecoderConfig(width=WIDTH, layers=(Layer(ATTENTION, module.config),)))
    assert sum(parameter.numel() for parameter in module.parameters()) == cost.parameters
    with FlopCounterMode(display=False) as counter:
        run(module, inputs(2, 12))
    assert counter.get_total_flops() == (2 * cost.matrices + cost.flops) * 24
