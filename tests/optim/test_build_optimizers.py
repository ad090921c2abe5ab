"""Each parameter has one optimizer, the right one; learning rates and clipping."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import nn

from groundup.models.decoder import Decoder
from groundup.models.initialization import initialize
from groundup.models.presets import llama
from groundup.optim.build import build_optimizers, clip_gradients, set_learning_rates
from groundup.optim.config import OptimizerConfig
from groundup.optim.muon import Muon

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


@pytest.mark.parametrize("kind", ["muon", "adamw"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_parameter_is_in_exactly_one_group(shape: dict[str, Any], kind: str) -> None:
    model = decoder(**shape)
    optimizers = build_optimizers(model, OptimizerConfig(matrix_optimizer=kind))
    members = Counter(id(p) for each in optimizers for group in each.param_groups for p in group["params"])
    assert members == Counter(id(parameter) for parameter in model.parameters())


@pytest.mark.parametrize("kind", ["muon", "adamw"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_matrices_decay_and_the_embedding_has_a_rate_of_its_own(shape: dict[str, Any], kind: str) -> None:
    model = decoder(**shape)
    rates: dict[str, Any] = {"learning_rate": 0.01, "matrix_learning_rate": 0.07, "embedding_learning_rate": 0.4}
    config = OptimizerConfig(matrix_optimizer=kind, weight_decay=0.3, beta1=0.8, beta2=0.9, **rates)
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
