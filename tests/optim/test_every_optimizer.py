"""What holds for each optimizer: masters, state that files can hold, exact resumption, groups, closures."""

import pytest
import torch
from optimizer_kinds import KINDS, optimizer_for, parameters_for, restored, run, saved, set_gradients
from torch import Tensor

from groundup.core.config import decode, encode
from groundup.optim import optimizer_config as kinds
from groundup.optim.build import make
from groundup.optim.config import OptimizerConfig

every = pytest.mark.parametrize("name", KINDS)


@every
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_resumed_training_is_the_unbroken_one_bit_for_bit(name: str, dtype: torch.dtype) -> None:
    kind = KINDS[name]
    parameters = parameters_for(kind, dtype)
    optimizer = optimizer_for(kind, parameters)
    for cut in range(9):
        weights, slots = [parameter.detach().clone() for parameter in parameters], saved(optimizer, parameters)
        again = [torch.nn.Parameter(weight) for weight in weights]
        resumed = optimizer_for(kind, again)
        for parameter, slot in zip(again, slots, strict=True):
            resumed.state[parameter].update(restored(slot))
        run(optimizer, parameters, [cut])
        run(resumed, again, [cut])
        assert all(torch.equal(one, other) for one, other in zip(parameters, again, strict=True))
        for one, other in zip(saved(optimizer, parameters), saved(resumed, again), strict=True):
            assert one.keys() == other.keys()
            assert all(torch.equal(one[key], other[key]) for key in one)


@every
def test_state_is_fp32_and_numbers(name: str) -> None:
    """Contiguous, too: products of a matrix laid out otherwise round otherwise, and a file keeps no layout."""
    parameters = parameters_for(KINDS[name], torch.bfloat16)
    optimizer = optimizer_for(KINDS[name], parameters)
    run(optimizer, parameters, range(7))
    for parameter in parameters:
        state = optimizer.state[parameter]
        assert state["master"].shape == parameter.shape
        for key, value in state.items():
            assert isinstance(value, int) if key == "step" else value.dtype == torch.float32
            assert not isinstance(value, Tensor) or value.is_contiguous()


@every
def test_a_bf16_parameter_is_the_rounded_master_which_is_an_fp32_training(name: str) -> None:
    kind = KINDS[name]
    low = parameters_for(kind, torch.bfloat16)
    exact = [torch.nn.Parameter(parameter.detach().float()) for parameter in low]
    optimizers = optimizer_for(kind, low, lr=1e-4), optimizer_for(kind, exact, lr=1e-4)
    for step in range(30):
        set_gradients(low, step)
        for one, other in zip(low, exact, strict=True):
            assert one.grad is not None
            other.grad = one.grad.float()
        for optimizer in optimizers:
            optimizer.step()
    for one, other in zip(low, exact, strict=True):
        assert torch.equal(optimizers[0].state[one]["master"], other.detach())
        assert torch.equal(one.detach(), other.detach().bfloat16())
        assert not torch.equal(one.detach().float(), other.detach())


@every
def test_a_group_added_later_is_trained_with_its_own_settings(name: str) -> None:
    kind = KINDS[name]
    first, second = parameters_for(kind), parameters_for(kind, seed=1)
    together = optimizer_for(kind, first)
    together.add_param_group({"params": second, "lr": 0.003, "weight_decay": 0.0})
    run(together, first + second, range(6))
    alone = parameters_for(kind, seed=1)
    everyone = parameters_for(kind) + alone
    optimizer = make(kind, [{"params": alone, "weight_decay": 0.0}], 0.003)
    for step in range(6):
        set_gradients(everyone, step)
        optimizer.step()
    for one, other in zip(second, alone, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3 if name == "muon" else 1e-6, rtol=0)


@every
def test_gradients_are_left_as_they_are(name: str) -> None:
    parameters = parameters_for(KINDS[name])
    optimizer = optimizer_for(KINDS[name], parameters)
    for step in range(4):
        set_gradients(parameters, step)
        before = [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]
        optimizer.step()
        assert all(
            parameter.grad is not None and torch.equal(parameter.grad, gradient)
            for parameter, gradient in zip(parameters, before, strict=True)
        )


@every
def test_without_a_gradient_nothing_moves_and_a_closure_is_called(name: str) -> None:
    parameters = parameters_for(KINDS[name])
    before = [parameter.detach().clone() for parameter in parameters]
    optimizer = optimizer_for(KINDS[name], parameters, weight_decay=0.5)
    assert optimizer.step(lambda: 2.5) == 2.5
    assert all(torch.equal(one, other) for one, other in zip(parameters, before, strict=True))
    assert not any(optimizer.state[parameter] for parameter in parameters)


@every
def test_it_finds_the_minimum_of_a_bowl(name: str) -> None:
    kind = KINDS[name]
    parameters = parameters_for(kind)
    optimizer = optimizer_for(kind, parameters, weight_decay=0.0)
    rate = 1.0 if name == "adagrad" else 0.1
    for step in range(200):
        optimizer.param_groups[0]["lr"] = rate * (1 - step / 200)
        for parameter in parameters:
            parameter.grad = parameter.detach() - 1
        optimizer.step()
    assert all((parameter - 1).abs().max() < 0.05 for parameter in parameters)


@every
def test_it_goes_through_json(name: str) -> None:
    config = OptimizerConfig(matrices=KINDS[name], rest=kinds.AdamW() if name == "muon" else KINDS[name])
    assert decode(OptimizerConfig, encode(config)) == config
