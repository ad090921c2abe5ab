"""Every way to compute: it learns as fp32 does, resumes to the bit, and computes what it says."""

from pathlib import Path

import pytest
import torch
from random_texts import SHAPES, batch_of
from tiny_training import STEPS, everything, fresh, optimizer_config, run, source, tokenizer_folder
from torch import Tensor

from groundup.checkpoint.store import latest_checkpoint
from groundup.kernels import float8
from groundup.models.building import build_model
from groundup.models.config import DecoderConfig, Layer
from groundup.models.initialization import initialize
from groundup.models.mixer_config import Attention, GatedMLP, LatentAttention, LinearAttention, StateSpace
from groundup.models.model_config import ModelConfig
from groundup.optim.build import is_matrix
from groundup.optim.optimizer_config import AdamW
from groundup.training.compiling import compile_for_training
from groundup.training.gradients import backward
from groundup.training.loop import train
from groundup.training.objectives import next_token
from groundup.training.precision import PRECISIONS, precision_of
from groundup.training.state import TrainState

LOW = [name for name in PRECISIONS if name != "float32"]
every = pytest.mark.parametrize("name", PRECISIONS)
MIXERS: dict[str, ModelConfig] = {
    name: DecoderConfig(31, 12, 32, 2, layers=(Layer(mixer, GatedMLP(48)),))
    for name, mixer in {
        "latent": LatentAttention(2, latent_width=16),
        "linear": LinearAttention(2),
        "state space": StateSpace(head_width=16, state_width=16),
        "soft cap": Attention(2, 1, soft_cap=20.0),
    }.items()
} | SHAPES


def loss_and_gradients(precision: str, config: ModelConfig, parts: int = 1, recompute: int = 0) -> tuple[float, Tensor]:
    """Loss and all gradients in a row, in fp32, of a model of random weights."""
    model = build_model(config).train()
    initialize(model, 0)
    model.to(PRECISIONS[precision].weights)
    model.recompute = recompute
    loss, _ = backward(model, batch_of(8), next_token, parts, PRECISIONS[precision])
    return loss, torch.cat([each.grad.float().flatten() for each in model.parameters() if each.grad is not None])


def distance(one: Tensor, other: Tensor) -> float:
    return ((one - other).norm() / other.norm()).item()


@pytest.mark.parametrize("name", LOW)
def test_the_loss_falls_as_in_fp32(name: str) -> None:
    """60 steps from 3.1 nats down to 0.2; fp8's rounding costs some hundredths on the way."""
    config = optimizer_config(learning_rate=0.01)
    exact, found = (run(fresh(config, precision_of(PRECISIONS[each])), config, 60, 60) for each in ("float32", name))
    assert found[0].loss == pytest.approx(exact[0].loss, abs=5e-3)
    for first, last in ((10, 20), (50, 60)):
        one, other = (sum(tick.loss for tick in ticks[first:last]) / 10 for ticks in (found, exact))
        assert one == pytest.approx(other, abs=0.03 if name == "float8" else 0.01)
    assert sum(tick.loss for tick in found[50:]) / 10 < 0.3
    assert found[-1].loss != exact[-1].loss, "it is another way to compute"


@every
@pytest.mark.parametrize("matrix", ["muon", "adamw"])
def test_a_resume_is_exact(name: str, matrix: str, tmp_path: Path) -> None:
    config = optimizer_config(**({"matrices": AdamW()} if matrix == "adamw" else {}))
    unbroken, state, found = fresh(config, PRECISIONS[name]), fresh(config, PRECISIONS[name]), []
    expected = [(tick.loss, tick.gradient_norm) for tick in run(unbroken, config, STEPS)]
    for cut in (0, 3, 5, STEPS):
        found += [(tick.loss, tick.gradient_norm) for tick in run(state, config, cut)]
        state.save(tmp_path / "checkpoints", tokenizer_folder(tmp_path / "words"), {})
        checkpoint = latest_checkpoint(tmp_path / "checkpoints")
        assert checkpoint is not None
        assert ("loss_scaler" in checkpoint.state) == (name == "float16")
        state = TrainState.resumed(checkpoint, config, PRECISIONS[name])
    assert found == expected
    assert everything(state) == everything(unbroken)


@pytest.mark.parametrize("name", LOW)
@pytest.mark.parametrize("shape", MIXERS)
def test_gradients_of_every_model_are_near_those_of_fp32(name: str, shape: str) -> None:
    loss, exact = loss_and_gradients("float32", MIXERS[shape])
    low_loss, found = loss_and_gradients(name, MIXERS[shape])
    assert low_loss == pytest.approx(loss, abs=0.05 if name == "float8" else 0.01)
    assert distance(found, exact) < {"float16": 0.01, "float8": 0.3}.get(name, 0.06)
    assert distance(found, exact) > 1e-6


@pytest.mark.parametrize("shape", MIXERS)
def test_autocast_is_no_coarser_than_bf16(shape: str) -> None:
    """Weights and sums are not rounded; what must be fp32 (states, routers, capped scores) must not be either."""
    _, exact = loss_and_gradients("float32", MIXERS[shape])
    (_, autocast), (_, bf16) = (loss_and_gradients(name, MIXERS[shape]) for name in ("autocast", "bfloat16"))
    assert distance(autocast, exact) < 1.1 * distance(bf16, exact)


@every
def test_parts_and_recomputed_layers_change_no_format(name: str) -> None:
    loss, whole = loss_and_gradients(name, SHAPES["attention"])
    same_loss, recomputed = loss_and_gradients(name, SHAPES["attention"], recompute=1)
    assert same_loss == loss
    assert torch.equal(recomputed, whole)
    near_loss, parts = loss_and_gradients(name, SHAPES["attention"], parts=4)
    assert near_loss == pytest.approx(loss, abs=1e-5 if name == "float32" else 1e-2)
    assert distance(parts, whole) < {"float32": 1e-5, "float16": 0.01, "float8": 0.2}.get(name, 0.03)


@pytest.mark.parametrize("shape", MIXERS)
def test_float8_rounds_the_products_of_all_matrices_and_of_nothing_else(
    shape: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A router, which must be fp32, is the one exception."""
    seen: set[int] = set()
    plain = float8.float8_product

    def noted(x: Tensor, weight: Tensor) -> Tensor:
        seen.add(weight.untyped_storage().data_ptr())
        return plain(x, weight)

    monkeypatch.setattr(float8, "float8_product", noted)
    model = build_model(MIXERS[shape]).train()
    initialize(model, 0)
    model.to(torch.bfloat16)
    backward(model, batch_of(8), next_token, 1, PRECISIONS["float8"])
    named = dict(model.named_parameters())
    expected = {name for name, each in named.items() if is_matrix(name, each) and not name.endswith("router")}
    assert {name for name, each in named.items() if each.untyped_storage().data_ptr() in seen} == expected


def test_autocast_is_over_when_the_optimizer_steps() -> None:
    config, state = optimizer_config(), fresh(optimizer_config(), PRECISIONS["autocast"])
    on = []
    for optimizer in state.optimizers:
        optimizer.register_step_pre_hook(lambda *_: on.append(torch.is_autocast_enabled("cpu")))
    list(train(state, source(), next_token, config, 2))
    assert on == [False] * len(state.optimizers) * 2
    assert all(parameter.dtype == torch.float32 for parameter in state.model.parameters())


def test_a_format_alone_stands_for_weights_and_products() -> None:
    assert precision_of(torch.bfloat16) == PRECISIONS["bfloat16"] == precision_of(PRECISIONS["bfloat16"])
    assert {name: each.products for name, each in PRECISIONS.items()} == {
        "float32": torch.float32, "bfloat16": torch.bfloat16, "autocast": torch.bfloat16, "float16": torch.float16,
        "float8": torch.bfloat16,
    }  # fmt: skip
    assert fresh(optimizer_config(), torch.bfloat16).precision.name == "bfloat16"
    assert fresh(optimizer_config(), PRECISIONS["float8"]).model.embedding.dtype == torch.bfloat16


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns about its own ways
@pytest.mark.parametrize("name", ["autocast", "float16", "float8"])
def test_compiled_it_is_the_same_up_to_rounding(name: str) -> None:
    config = optimizer_config(matrices=AdamW())
    eager, compiled = fresh(config, PRECISIONS[name]), fresh(config, PRECISIONS[name])
    if not compile_for_training(compiled.model, compiled.optimizers):
        pytest.skip("there is no C++ compiler; scripts/install-system-packages.sh installs one")
    for one, other in zip(run(compiled, config, 3), run(eager, config, 3), strict=True):
        assert one.loss == pytest.approx(other.loss, abs=2e-2)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=5e-2)
    for parameter in compiled.model.parameters():
        assert parameter.dtype == PRECISIONS[name].weights
