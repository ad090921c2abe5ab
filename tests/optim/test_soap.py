"""SOAP against its paper's algorithms 3 and 4 in plain fp64 lines, and where it must be AdamW."""

import math
from typing import Any

import pytest
import torch
from optimizer_kinds import optimizer_for, parameters_for, run, set_gradients
from torch import Tensor

from groundup.optim import optimizer_config as kinds
from groundup.optim.adamw import AdamW
from groundup.optim.soap import Soap

STEPS = 25


def orthonormal(columns: Tensor) -> Tensor:
    """Gram and Schmidt, column by column."""
    done: list[Tensor] = []
    for column in columns.unbind(1):
        for before in done:
            column = column - (before @ column) * before
        done.append(column / column.norm())
    return torch.stack(done, 1)


def papers_steps(
    weights: Tensor, gradients: list[Tensor], bases: tuple[Tensor, Tensor], kind: kinds.Soap, rate: float, decay: float
) -> Tensor:
    """The first gradient makes L and R, whose eigenvectors are given; the others train."""
    (q_l, q_r), (beta1, beta2) = bases, (kind.beta1, kind.beta2)
    left = (1 - beta2) * gradients[0] @ gradients[0].T
    right = (1 - beta2) * gradients[0].T @ gradients[0]
    m = v = torch.zeros_like(weights)
    for step, g in enumerate(gradients[1:], 1):
        m = beta1 * m + (1 - beta1) * g
        v = beta2 * v + (1 - beta2) * (q_l.T @ g @ q_r) ** 2
        n = (q_l.T @ m @ q_r) / (1 - beta1**step) / (torch.sqrt(v / (1 - beta2**step)) + kind.epsilon)
        weights = weights - rate * decay * weights - rate * q_l @ n @ q_r.T
        left = beta2 * left + (1 - beta2) * g @ g.T
        right = beta2 * right + (1 - beta2) * g.T @ g
        if step % kind.frequency == 0:
            q_l, q_r = orthonormal(left @ q_l), orthonormal(right @ q_r)
    return weights


def first_bases(state: dict[str, Any], shape: torch.Size, gradient: Tensor) -> tuple[Tensor, Tensor]:
    """The bases that the first gradient made: orthonormal, and L and R are diagonal in them."""
    found = []
    for name, size, covariance in zip(
        ("left", "right"), shape[-2:], (gradient @ gradient.mT, gradient.mT @ gradient), strict=True
    ):
        basis = state.get(f"{name}_basis", torch.eye(size, dtype=torch.float64))
        torch.testing.assert_close(basis.mT @ basis, torch.eye(size).double().expand_as(basis), atol=1e-10, rtol=0)
        if f"{name}_basis" in state:
            turned = basis.mT @ covariance @ basis
            torch.testing.assert_close(turned, torch.diag_embed(turned.diagonal(dim1=-2, dim2=-1)), atol=1e-10, rtol=0)
        found.append(basis.clone())
    return found[0], found[1]


@pytest.mark.parametrize(
    ("kind", "decay"),
    [
        (kinds.Soap(frequency=1), 0.0),
        (kinds.Soap(0.9, 0.97, 1e-6, frequency=3), 0.2),
        (kinds.Soap(frequency=4, largest_side=4), 0.1),
    ],
    ids=str,
)
def test_steps_are_the_papers(kind: kinds.Soap, decay: float) -> None:
    starts, parameters = (parameters_for(kind, torch.float64)[:2] for _ in range(2))
    optimizer = optimizer_for(kind, parameters, 0.02, decay)
    gradients: list[list[Tensor]] = [[], []]
    bases = []
    for step in range(STEPS):
        set_gradients(parameters, step)
        for index, parameter in enumerate(parameters):
            assert parameter.grad is not None
            gradients[index].append(parameter.grad.clone())
        optimizer.step()
        if step == 0:
            assert all(torch.equal(one, other) for one, other in zip(starts, parameters, strict=True))
            bases = [first_bases(optimizer.state[p], p.shape, g[0]) for p, g in zip(parameters, gradients, strict=True)]
    for start, parameter, row, basis in zip(starts, parameters, gradients, bases, strict=True):
        sides = [side for side in start.shape if side <= kind.largest_side]
        if len(sides) < 2:  # the long side keeps its own basis
            row_steps = one_sided(start.detach(), row, basis, kind, decay)
        else:
            row_steps = papers_steps(start.detach(), row, basis, kind, 0.02, decay)
        torch.testing.assert_close(parameter.detach(), row_steps, atol=1e-9, rtol=0)


def one_sided(
    start: Tensor, gradients: list[Tensor], bases: tuple[Tensor, Tensor], kind: kinds.Soap, decay: float
) -> Tensor:
    """`papers_steps` with the basis of the long side never turned."""
    q_l, q_r = bases
    if start.shape[0] > start.shape[1]:  # the long side is the left one: transpose, so that it is the right one
        return one_sided(start.T, [g.T for g in gradients], (q_r, q_l), kind, decay).T
    weights, left = start, (1 - kind.beta2) * gradients[0] @ gradients[0].T
    m = v = torch.zeros_like(weights)
    for step, g in enumerate(gradients[1:], 1):
        m = kind.beta1 * m + (1 - kind.beta1) * g
        v = kind.beta2 * v + (1 - kind.beta2) * (q_l.T @ g) ** 2
        n = (q_l.T @ m) / (1 - kind.beta1**step) / (torch.sqrt(v / (1 - kind.beta2**step)) + kind.epsilon)
        weights = weights - 0.02 * decay * weights - 0.02 * q_l @ n
        left = kind.beta2 * left + (1 - kind.beta2) * g @ g.T
        if step % kind.frequency == 0:
            q_l = orthonormal(left @ q_l)
    return weights


def test_with_no_side_short_enough_it_is_adamw_from_the_second_gradient_on() -> None:
    ours, theirs = (parameters_for(kinds.Soap())[:3] for _ in range(2))
    optimizer = optimizer_for(kinds.Soap(largest_side=1), ours, 0.01, 0.1)
    peer = AdamW(theirs, lr=0.01, betas=(0.95, 0.95), weight_decay=0.1)
    run(optimizer, ours, range(20))
    run(peer, theirs, range(1, 20))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)


def test_a_vector_is_adamws_at_once() -> None:
    ours, theirs = (parameters_for(kinds.Soap())[3:] for _ in range(2))
    run(Soap(ours, lr=0.01, weight_decay=0.1), ours, range(20))
    run(AdamW(theirs, lr=0.01, betas=(0.95, 0.95), weight_decay=0.1), theirs, range(20))
    assert torch.equal(ours[0], theirs[0])


def test_a_stack_is_taken_matrix_by_matrix() -> None:
    stack = torch.nn.Parameter(torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)))
    alone = [torch.nn.Parameter(matrix.detach().clone()) for matrix in stack]
    optimizers = [Soap([stack], lr=0.1, frequency=2), *(Soap([matrix], lr=0.1, frequency=2) for matrix in alone)]
    for step in range(8):
        set_gradients([stack], step)
        assert stack.grad is not None
        for matrix, gradient in zip(alone, stack.grad, strict=True):
            matrix.grad = gradient.clone()
        for optimizer in optimizers:
            optimizer.step()
    torch.testing.assert_close(stack.detach(), torch.stack([matrix.detach() for matrix in alone]), atol=1e-5, rtol=0)


def test_in_a_turned_problem_it_is_faster_than_adamw() -> None:
    """A quadratic whose axes lie across the entries: ½ ‖A (W - W*) B‖² with condition numbers of 30."""
    generator = torch.Generator().manual_seed(0)

    def stretched() -> Tensor:
        turn = torch.linalg.qr(torch.randn(8, 8, generator=generator)).Q
        return turn @ torch.diag(torch.logspace(0, math.log10(30), 8)) @ turn.T / 30

    a, b, best = stretched(), stretched(), torch.randn(8, 8, generator=generator)
    left: dict[str, float] = {}
    for name, kind in {"adamw": kinds.AdamW(0.95, 0.95), "soap": kinds.Soap()}.items():
        weights = torch.nn.Parameter(torch.zeros(8, 8))
        optimizer = optimizer_for(kind, [weights], 0.05, 0.0)
        for step in range(300):
            optimizer.param_groups[0]["lr"] = 0.05 * (1 - step / 300)
            optimizer.zero_grad()
            loss = 0.5 * (a @ (weights - best) @ b).square().sum()
            loss.backward()
            optimizer.step()
        left[name] = loss.item()
    assert left["soap"] < 0.1 * left["adamw"]
