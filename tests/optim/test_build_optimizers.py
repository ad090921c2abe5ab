"""Each parameter has one optimizer, the right one; rules, learning rates, norms and clipping."""

import math
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import nn

from groundup.core.errors import ConfigError
from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.presets import llama
from groundup.optim import optimizer_config as kinds
from groundup.optim.adamw import AdamW
from groundup.optim.build import build_optimizers, clip_gradients, gradient_norms, set_learning_rates
from groundup.optim.config import OptimizerConfig, Rule
from groundup.optim.lion import Lion
from groundup.optim.muon import Muon
from groundup.optim.sgd import Sgd
from groundup.optim.soap import Soap

SHAPES = [{}, {"tie_embeddings": True}, {"qk_norm": False}, {"tie_embeddings": True, "qk_norm": False, "depth": 1}]


def decoder(**changes: Any) -> Decoder:
    shape = {
        "vocab_size": 50,
        "width": 16,
        "depth": 2,
        "num_heads": 2,
        "num_kv_heads": 1,
        "mlp_width": 24,
        "qk_norm": True,
    }
    model = Decoder(llama(**{**shape, **changes}))
    initialize(model, 0)
    return model


def placed(optimizers: list[torch.optim.Optimizer], model: Decoder) -> dict[str, tuple[torch.optim.Optimizer, dict]]:
    """The optimizer and the group of each parameter, by name."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {
        names[id(p)]: (optimizer, group)
        for optimizer in optimizers
        for group in optimizer.param_groups
        for p in group["params"]
    }


ALL_RULES = (
    Rule("blocks.0.channel", optimizer=kinds.Soap()),
    Rule("norm", frozen=True),
    Rule("^embedding$", 0.5, optimizer=kinds.Lion()),
)
CONFIGS = {
    "muon": OptimizerConfig(),
    "adamw": OptimizerConfig(matrices=kinds.AdamW()),
    "lion and sgd": OptimizerConfig(matrices=kinds.Lion(), rest=kinds.Sgd()),
    "rules": OptimizerConfig(rules=ALL_RULES),
}


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_parameter_is_in_exactly_one_group(shape: dict[str, Any], name: str) -> None:
    model = decoder(**shape)
    optimizers = build_optimizers(model, CONFIGS[name])
    members = Counter(id(p) for each in optimizers for group in each.param_groups for p in group["params"])
    assert members == Counter(id(parameter) for parameter in model.parameters())
    assert len({type(optimizer) for optimizer in optimizers}) == len(optimizers)


@pytest.mark.parametrize("kind", ["muon", "adamw"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matrices_decay_and_the_embedding_has_a_rate_of_its_own(shape: dict[str, Any], kind: str) -> None:
    model = decoder(**shape)
    rates: dict[str, Any] = {"learning_rate": 0.01, "matrix_learning_rate": 0.07, "embedding_learning_rate": 0.4}
    adamw = kinds.AdamW(0.8, 0.9)
    matrices = kinds.Muon() if kind == "muon" else adamw
    if kind == "adamw":
        del rates["matrix_learning_rate"]  # then it is that of the rest
    config = OptimizerConfig(matrices=matrices, rest=adamw, weight_decay=0.3, **rates)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    for optimizer in build_optimizers(model, config):
        for group in optimizer.param_groups:
            for parameter in group["params"]:
                matrix = names[id(parameter)].startswith("blocks.") and parameter.ndim == 2
                by_muon = matrix and kind == "muon"
                assert isinstance(optimizer, Muon) == by_muon
                assert group["weight_decay"] == (0.3 if matrix else 0.0)
                table = names[id(parameter)] == "embedding" and not model.config.tie_embeddings
                special = 0.07 if by_muon else 0.4 if table else 0.01
                assert group["lr"] == group["peak_lr"] == special
                assert by_muon or group["betas"] == (0.8, 0.9)


def test_learning_rates_are_fractions_of_the_peak_not_of_the_last() -> None:
    rates: dict[str, Any] = {"learning_rate": 0.01, "matrix_learning_rate": 0.2, "embedding_learning_rate": 0.4}
    optimizers = build_optimizers(decoder(), OptimizerConfig(**rates))
    for fraction in (0.5, 0.0, 1.0, 0.25):
        set_learning_rates(optimizers, fraction)
        found = {group["lr"] for optimizer in optimizers for group in optimizer.param_groups}
        assert found == {peak * fraction for peak in rates.values()}


def test_the_optimizer_has_the_configs_settings() -> None:
    matrices, rest = kinds.Soap(0.7, 0.8, 1e-5, 7, 9), kinds.Sgd(0.6, nesterov=True)
    first, second = build_optimizers(decoder(), OptimizerConfig(matrices, rest=rest, matrix_learning_rate=0.5))
    assert isinstance(first, Soap)
    assert isinstance(second, Sgd)
    expected = {"lr": 0.5, "betas": (0.7, 0.8), "epsilon": 1e-5, "frequency": 7, "largest_side": 9, "weight_decay": 0.1}
    assert {key: first.param_groups[0][key] for key in expected} == expected
    assert all(group["momentum"] == 0.6 and group["nesterov"] for group in second.param_groups)
    for kind in (
        kinds.AdaGrad(0.3),
        kinds.RmsProp(0.5, 0.3, 0.6, True),
        kinds.Adam(0.2, 0.1, 0.3),
        kinds.Lion(0.2, 0.1),
    ):
        group = build_optimizers(decoder(), OptimizerConfig(rest=kind))[1].param_groups[0]
        assert group.get("epsilon", 0.3) == 0.3
        assert group.get("betas", (0.2, 0.1)) == (0.2, 0.1)
        assert (group.get("decay", 0.5), group.get("momentum", 0.6), group.get("centered", True)) == (0.5, 0.6, True)


def test_the_first_matching_rule_changes_a_parameter() -> None:
    rules = (
        Rule(r"^blocks\.0\.channel\.", 0.1, weight_decay=0.7),
        Rule(r"^blocks\.0\.", 0.5, optimizer=kinds.Lion()),
        Rule("unembedding", weight_decay=0.2),
    )
    model = decoder()
    config = OptimizerConfig(rules=rules, learning_rate=0.01, embedding_learning_rate=0.3)
    found = placed(build_optimizers(model, config), model)
    plain = placed(build_optimizers(model, replace(config, rules=())), model)
    for name, (optimizer, group) in found.items():
        matrix = plain[name][1]["name"] == "matrices"
        if name.startswith("blocks.0.channel."):
            assert (type(optimizer), group["lr"]) == (type(plain[name][0]), 0.1 * plain[name][1]["lr"])
            assert group["weight_decay"] == 0.7
        elif name.startswith("blocks.0."):
            assert isinstance(optimizer, Lion)
            assert (group["lr"], group["weight_decay"]) == (0.005, 0.1 if matrix else 0.0)
        elif name == "unembedding":
            assert (type(optimizer), group["lr"], group["weight_decay"]) == (AdamW, 0.01, 0.2)
        else:
            keys = ("name", "lr", "peak_lr", "weight_decay")
            assert [group[key] for key in keys] == [plain[name][1][key] for key in keys]
        assert group["peak_lr"] == group["lr"]


def test_a_frozen_parameter_is_not_trained_and_needs_no_gradient() -> None:
    model = decoder()
    optimizers = build_optimizers(model, OptimizerConfig(rules=(Rule("embedding", frozen=True),)))
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    tokens_BT = torch.arange(12).view(2, 6)
    model.token_losses(tokens_BT, tokens_BT).mean().backward()
    for optimizer in optimizers:
        optimizer.step()
    for name, parameter in model.named_parameters():
        frozen = name in ("embedding", "unembedding")
        assert (parameter.grad is None) == frozen
        assert torch.equal(parameter, before[name]) == frozen


@pytest.mark.parametrize(
    ("rules", "message"),
    [
        (
            (Rule("blocks.0.chanel"),),
            r"The rule 'blocks.0.chanel' matches no parameter; the nearest names are blocks\.0\.chann",
        ),
        ((Rule(r"^unembeding$"),), r"matches no parameter; the nearest names are unembedding, embedding"),
        ((Rule("blocks"), Rule("blocks.0")), "Every parameter that the rule 'blocks.0' matches has an earlier rule"),
        ((Rule("norm", optimizer=kinds.Muon()),), "gives blocks.0.*norm.* to Muon, which takes matrices only"),
        ((Rule("", frozen=True),), "The rules freeze every parameter; leave one to train"),
    ],
)
def test_rules_that_cannot_be_meant_are_refused(rules: tuple[Rule, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build_optimizers(decoder(), OptimizerConfig(rules=rules))


def test_norms_of_groups_are_those_of_their_gradients() -> None:
    model = decoder()
    optimizers = build_optimizers(model, OptimizerConfig(rules=(Rule("blocks.1"), Rule("final", frozen=True))))
    tokens_BT = torch.arange(12).view(2, 6)
    model.token_losses(tokens_BT, tokens_BT).mean().backward()
    norms = gradient_norms(optimizers)
    assert set(norms) == {"matrices", "embedding", "rest", "matrices blocks.1", "rest blocks.1"}
    for name, norm in norms.items():
        members = [group for optimizer in optimizers for group in optimizer.param_groups if group["name"] == name]
        gradients = [p.grad.flatten() for group in members for p in group["params"] if p.grad is not None]
        assert norm == pytest.approx(torch.cat(gradients).norm().item(), rel=1e-5)
    assert math.hypot(*norms.values()) == pytest.approx(clip_gradients(model, 1e9), rel=1e-5)
    for parameter in model.parameters():
        parameter.grad = None
    assert gradient_norms(optimizers) == {}


@pytest.mark.parametrize("max_norm", [1e-3, 0.5, 1e3, float("inf")])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_clipping_is_pytorchs(max_norm: float, scale: float) -> None:
    ours, theirs = (nn.ParameterList([torch.zeros(3, 4), torch.zeros(5), torch.zeros(2)]) for _ in range(2))
    for index in range(2):  # the last has no gradient
        gradient = scale * torch.randn(ours[index].shape, generator=torch.Generator().manual_seed(index))
        ours[index].grad, theirs[index].grad = gradient.clone(), gradient.clone()
    expected = nn.utils.clip_grad_norm_(theirs.parameters(), max_norm).item()
    assert clip_gradients(ours, max_norm) == pytest.approx(expected, rel=1e-6)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad, atol=0, rtol=1e-5)


def test_the_norm_of_bf16_gradients_is_summed_in_fp32() -> None:
    model = nn.ParameterList([torch.zeros(100_000, dtype=torch.bfloat16)])
    model[0].grad = torch.full((100_000,), 0.01, dtype=torch.bfloat16)
    exact = 100_000**0.5 * model[0].grad[0].item()
    assert clip_gradients(model, 1e9) == pytest.approx(exact, rel=5e-4), "bf16 keeps 1/256"
