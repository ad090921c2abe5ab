"""AdamW is PyTorch's, and its fp32 masters keep what bf16 would lose."""

import pytest
import torch
from torch import Tensor

from groundup.optim.adamw import AdamW

STEPS = 40


def gradients(step: int, parameters: list[Tensor]) -> list[Tensor]:
    """Of sizes from 1e-6 to 1, and now and then exactly zero."""
    generator = torch.Generator().manual_seed(step)
    scale = 10.0 ** -(step % 7)
    return [scale * torch.randn(p.shape, generator=generator) * (step % 5 > 0) for p in parameters]


@pytest.mark.parametrize("betas", [(0.9, 0.95), (0.0, 0.999)])
def test_it_is_pytorchs_over_many_steps(betas: tuple[float, float]) -> None:
    torch.manual_seed(0)
    shapes = [(7, 5), (5,), (3, 4)]
    ours, theirs = ([torch.nn.Parameter(torch.randn(shape)) for shape in shapes] for _ in range(2))
    for one, other in zip(ours, theirs, strict=True):
        other.data.copy_(one.data)

    def groups(parameters: list[torch.nn.Parameter]) -> list[dict]:
        return [{"params": parameters[:1], "weight_decay": 0.1}, {"params": parameters[1:], "lr": 0.03}]

    mine = AdamW(groups(ours), lr=0.01, betas=betas, epsilon=1e-8, weight_decay=0.0)
    peer = torch.optim.AdamW(groups(theirs), lr=0.01, betas=betas, eps=1e-8, weight_decay=0.0)
    for step in range(STEPS):
        for optimizer, parameters in ((mine, ours), (peer, theirs)):
            optimizer.param_groups[0]["lr"] = 0.01 * (1 + step % 3)  # as a schedule does
            for parameter, gradient in zip(parameters, gradients(step, list(parameters)), strict=True):
                parameter.grad = gradient
            optimizer.step()
        for one, other in zip(ours, theirs, strict=True):
            torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_a_master_gathers_updates_that_bf16_would_lose() -> None:
    ours, theirs = (torch.nn.Parameter(torch.ones(16, dtype=torch.bfloat16)) for _ in range(2))
    exact = torch.nn.Parameter(torch.ones(16))
    optimizers = [AdamW([ours], lr=1e-4), AdamW([exact], lr=1e-4)]
    peer = torch.optim.AdamW([theirs], lr=1e-4, betas=(0.9, 0.95), weight_decay=0.0)
    for _ in range(200):
        for parameter in (ours, theirs, exact):
            parameter.grad = torch.full_like(parameter, 0.5)
        for optimizer in (*optimizers, peer):
            optimizer.step()
    assert theirs.tolist() == [1.0] * 16, "without a master nothing has moved"
    assert exact[0].item() == pytest.approx(0.98, abs=1e-4)
    assert torch.equal(optimizers[0].state[ours]["master"], exact.data)
    assert torch.equal(ours.data, exact.data.bfloat16())


def test_moments_are_fp32_and_an_fp32_parameter_needs_no_master() -> None:
    parameters = [torch.nn.Parameter(torch.ones(3, dtype=dtype)) for dtype in (torch.bfloat16, torch.float32)]
    optimizer = AdamW(parameters, lr=0.1)
    for parameter in parameters:
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    for parameter, keys in zip(parameters, [{"master"}, set()], strict=True):
        state = optimizer.state[parameter]
        assert set(state) == {"step", "mean", "mean_square"} | keys
        assert all(value.dtype == torch.float32 for value in state.values() if isinstance(value, Tensor))


def test_a_parameter_without_gradient_stays_and_a_closure_is_called() -> None:
    idle, busy = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(torch.ones(2))
    optimizer = AdamW([idle, busy], lr=0.1, weight_decay=0.5)

    def closure() -> float:
        busy.grad = torch.ones(2)
        return 3.5

    assert optimizer.step(closure) == 3.5
    assert idle.tolist() == [1.0, 1.0]
    assert busy.tolist() == pytest.approx([0.95 - 0.1] * 2)  # decay 1 - 0.1·0.5, then a first step of size lr
