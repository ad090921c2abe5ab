"""Muon: Newton-Schulz against the singular value decomposition, momentum against the formula of its docstring."""

from typing import Any

import pytest
import torch
from torch import Tensor

from groundup.optim import muon
from groundup.optim.muon import Muon, orthogonalize


def polar(matrices: Tensor) -> Tensor:
    """U Vᵀ, exactly."""
    u, _, vh = torch.linalg.svd(matrices.double(), full_matrices=False)
    return u @ vh


@pytest.mark.parametrize("shape", [(16, 48), (48, 16), (64, 64), (1, 9), (3, 16, 40), (2, 3, 40, 16)])
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_newton_schulz_is_nearly_orthogonal_along_the_same_singular_vectors(
    shape: tuple[int, ...], scale: float
) -> None:
    generator = torch.Generator().manual_seed(0)
    u, _, vh = torch.linalg.svd(torch.randn(shape, generator=generator), full_matrices=False)
    values = 0.05 + torch.rand(u.shape[-1], generator=generator)  # a condition number of about 20
    found = orthogonalize(scale * (u * values) @ vh)
    assert found.dtype == torch.bfloat16
    assert found.shape == shape
    singular = torch.linalg.svdvals(found.float())
    assert singular.min() > 0.6
    assert singular.max() < 1.3
    turned = u.mT @ found.float() @ vh.mT  # diagonal where the singular vectors are the same
    torch.testing.assert_close(turned, torch.diag_embed(turned.diagonal(dim1=-2, dim2=-1)), atol=0.04, rtol=0)
    assert (turned.diagonal(dim1=-2, dim2=-1) > 0.6).all()


@pytest.mark.parametrize("shape", [(8, 12), (12, 8), (2, 5, 5)])
def test_newton_schulz_is_its_polynomial(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """σ ← 3.4445 σ - 4.7750 σ³ + 2.0315 σ⁵ five times; in fp64, because small σ blow up bf16's roundings."""
    monkeypatch.setattr(Tensor, "bfloat16", lambda self: self)
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(0)).double()
    sizes = matrices.square().sum((-2, -1), keepdim=True).sqrt() + 1e-7
    u, values, vh = torch.linalg.svd(matrices / sizes, full_matrices=False)
    for _ in range(5):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    torch.testing.assert_close(orthogonalize(matrices), (u * values.unsqueeze(-2)) @ vh, atol=1e-10, rtol=0)


def test_more_iterations_reach_smaller_singular_values() -> None:
    matrix = torch.diag(torch.tensor([1.0, 1e-4]))
    smallest = [torch.linalg.svdvals(orthogonalize(matrix, count).float()).min().item() for count in (1, 5, 10)]
    assert smallest[0] < 1e-3 < smallest[1] < 0.6 < smallest[2]


def test_a_zero_gradient_stays_zero() -> None:
    assert orthogonalize(torch.zeros(4, 6)).abs().max() == 0


def reference_steps(start: Tensor, gradients: list[Tensor], settings: dict[str, Any]) -> Tensor:
    """The module's formula in fp64 with the exact decomposition."""
    weight, momentum = start.double(), torch.zeros_like(start, dtype=torch.float64)
    rows, columns = start.shape
    for gradient in gradients:
        momentum = settings["momentum"] * momentum + gradient.double()
        nesterov = gradient.double() + settings["momentum"] * momentum
        weight = weight - settings["lr"] * settings["weight_decay"] * weight
        weight = weight - settings["lr"] * max(1.0, rows / columns) ** 0.5 * polar(nesterov)
    return weight


@pytest.mark.parametrize("settings", [{"momentum": 0.95, "weight_decay": 0.0}, {"momentum": 0.8, "weight_decay": 0.3}])
def test_steps_follow_the_formula(settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(muon, "orthogonalize", lambda matrices, iterations: polar(matrices))
    torch.manual_seed(0)
    starts = [torch.randn(6, 4), torch.randn(4, 6), torch.randn(6, 4), torch.randn(5, 5)]
    parameters = [torch.nn.Parameter(start.clone()) for start in starts]
    optimizer = Muon(parameters, lr=0.05, **settings)
    gradients = [[torch.randn(start.shape) for start in starts] for _ in range(8)]
    for row in gradients:
        for parameter, gradient in zip(parameters, row, strict=True):
            parameter.grad = gradient.clone()
        optimizer.step()
    for index, (start, parameter) in enumerate(zip(starts, parameters, strict=True)):
        expected = reference_steps(start, [row[index] for row in gradients], {"lr": 0.05, **settings})
        torch.testing.assert_close(parameter.double(), expected, atol=2e-5, rtol=0)


def test_parameters_of_one_shape_are_updated_as_if_each_were_alone() -> None:
    torch.manual_seed(0)
    together = [torch.nn.Parameter(torch.randn(8, 12)) for _ in range(3)]
    alone = [torch.nn.Parameter(parameter.detach().clone()) for parameter in together]
    optimizers = [Muon(together, lr=0.1), *(Muon([parameter], lr=0.1) for parameter in alone)]
    for _ in range(3):
        for one, other in zip(together, alone, strict=True):
            one.grad = torch.randn(8, 12)
            other.grad = one.grad.clone()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(together, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=0)


def test_a_master_gathers_updates_that_bf16_would_lose() -> None:
    parameter = torch.nn.Parameter(torch.full((4, 4), 4.0, dtype=torch.bfloat16))
    exact = torch.nn.Parameter(torch.full((4, 4), 4.0))
    gradient = torch.eye(4)
    optimizers = [Muon([parameter], lr=1e-3), Muon([exact], lr=1e-3)]
    for _ in range(60):
        parameter.grad, exact.grad = gradient.bfloat16(), gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    assert torch.equal(optimizers[0].state[parameter]["master"], exact.data)
    assert torch.equal(parameter.data, exact.data.bfloat16())
    assert parameter.diagonal().max() < 4.0, "a single update of 1e-3 rounds away beside 4"


def test_it_takes_matrices_only_and_skips_those_without_gradient() -> None:
    with pytest.raises(AssertionError, match="Muon takes matrices"):
        Muon([torch.nn.Parameter(torch.ones(3))], lr=0.1)
    idle = torch.nn.Parameter(torch.ones(2, 2))
    assert Muon([idle], lr=0.1, weight_decay=0.5).step(lambda: 2.0) == 2.0
    assert idle.tolist() == [[1.0, 1.0], [1.0, 1.0]]
