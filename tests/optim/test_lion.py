"""Lion against its paper's four lines in fp64."""

import pytest
import torch
from optimizer_kinds import optimizer_for, parameters_for, run, set_gradients

from groundup.optim import optimizer_config as kinds


@pytest.mark.parametrize(("beta1", "beta2", "weight_decay"), [(0.9, 0.99, 0.0), (0.95, 0.98, 0.3)])
def test_steps_are_the_papers(beta1: float, beta2: float, weight_decay: float) -> None:
    kind = kinds.Lion(beta1, beta2)
    parameters, expected = (parameters_for(kind, torch.float64) for _ in range(2))
    run(optimizer_for(kind, parameters, 0.01, weight_decay), parameters, range(50))
    for index, weights in enumerate(expected):
        theta, m = weights.detach(), torch.zeros_like(weights)
        for step in range(50):
            set_gradients(expected, step)
            g = expected[index].grad
            assert g is not None
            c = beta1 * m + (1 - beta1) * g
            theta = theta - 0.01 * (torch.sign(c) + weight_decay * theta)
            m = beta2 * m + (1 - beta2) * g
        torch.testing.assert_close(parameters[index].detach(), theta, atol=1e-12, rtol=0)


def test_an_entry_without_gradient_does_not_move() -> None:
    parameter = torch.nn.Parameter(torch.ones(2))
    optimizer = optimizer_for(kinds.Lion(), [parameter], weight_decay=0.0)
    parameter.grad = torch.tensor([0.0, 1e-9])
    optimizer.step()
    assert parameter.tolist() == pytest.approx([1.0, 0.99])
