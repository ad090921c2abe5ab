"""A batch in parts, layers computed twice: the same gradients, with less kept in memory."""

import pytest
import torch
from random_texts import SHAPES, batch_of
from torch import Tensor

from groundup.batches.batch import Batch
from groundup.models.building import build_model
from groundup.models.initialization import initialize
from groundup.models.language_model import LanguageModel
from groundup.models.model_config import ModelConfig
from groundup.training.gradients import backward, split
from groundup.training.objectives import next_token


def model_of(config: ModelConfig, dtype: torch.dtype = torch.float32) -> LanguageModel:
    model = build_model(config).train()
    initialize(model, 0)
    return model.to(dtype)


def gradients(model: LanguageModel, batch: Batch, parts: int = 1) -> tuple[float, dict[str, Tensor]]:
    loss, metrics = backward(model, batch, lambda *given: (next_token(*given)[0], {"ones": 1.0}), parts)
    assert metrics == {"ones": pytest.approx(1.0)}
    found = {name: parameter.grad.clone() for name, parameter in model.named_parameters() if parameter.grad is not None}
    model.zero_grad()
    return loss, found


def uneven() -> Batch:
    """Rows whose targets count differently, one of them not at all."""
    batch = batch_of(8)
    weights_BT = torch.rand(8, 12, generator=torch.Generator().manual_seed(2))
    weights_BT[3] = 0
    return batch._replace(weights_BT=weights_BT)


@pytest.mark.parametrize("parts", [2, 4, 8])
@pytest.mark.parametrize("name", SHAPES)
def test_eight_rows_once_or_in_parts(name: str, parts: int) -> None:
    model, batch = model_of(SHAPES[name]), uneven()
    loss, whole = gradients(model, batch)
    same_loss, in_parts = gradients(model, batch, parts)
    assert same_loss == pytest.approx(loss, rel=1e-6)
    assert in_parts.keys() == whole.keys()
    for each, gradient in whole.items():
        torch.testing.assert_close(in_parts[each], gradient, atol=1e-6, rtol=1e-5)


def test_in_bf16_a_sum_over_parts_is_rounded_once() -> None:
    """As near to fp32's gradient as the whole batch's bf16 gradient is, up to a little."""
    config, batch = SHAPES["attention"], batch_of(16)
    exact = gradients(model_of(config), batch)[1]
    model = model_of(config, torch.bfloat16)
    whole, in_parts = gradients(model, batch)[1], gradients(model, batch, 16)[1]
    assert all(gradient.dtype == torch.bfloat16 for gradient in in_parts.values())

    def distance(found: dict[str, Tensor]) -> float:
        return sum((found[name].float() - exact[name]).norm().item() for name in exact)

    assert distance(in_parts) < 1.3 * distance(whole)


def test_parts_are_the_rows_in_order() -> None:
    batch = batch_of(6)
    parts = split(batch, 3)
    assert [len(part.tokens_BT) for part in parts] == [2, 2, 2]
    assert torch.equal(torch.cat([part.targets_BT for part in parts]), batch.targets_BT)


def kept_bytes(model: LanguageModel, batch: Batch) -> int:
    """What autograd keeps for the backward pass, each storage once, parameters aside."""
    parameters = {parameter.untyped_storage().data_ptr() for parameter in model.parameters()}
    storages: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in parameters:
            storages[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        model.token_losses(batch.tokens_BT, batch.targets_BT)
    return sum(storages.values())


@pytest.mark.parametrize("few", [1, 2, 9])
@pytest.mark.parametrize("name", [name for name in SHAPES if name != "lstm"])
def test_layers_computed_twice_have_the_same_gradients(name: str, few: int) -> None:
    model, batch = model_of(SHAPES[name]), batch_of(4)
    loss, expected = gradients(model, batch)
    model.recompute = few
    same_loss, found = gradients(model, batch)
    assert same_loss == loss
    assert found.keys() == expected.keys()
    for each, gradient in expected.items():
        assert torch.equal(found[each], gradient), each


def test_less_is_kept_where_layers_are_computed_twice() -> None:
    model, batch = model_of(SHAPES["attention"]), batch_of(4)
    everything = kept_bytes(model, batch)
    model.recompute = 1
    assert kept_bytes(model, batch) < 0.7 * everything
