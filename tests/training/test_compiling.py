"""Compilation: said once where it cannot be, and the same numbers where it can."""

import logging

import pytest
import torch
from tiny_training import MODEL, fresh, optimizer_config, run

from groundup.kernels import dispatch
from groundup.kernels.cross_entropy import linear_cross_entropy
from groundup.models.decoder import Decoder
from groundup.optim.optimizer_config import AdamW
from groundup.training.compiling import compile_for_training


@pytest.fixture(autouse=True)
def nothing_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "_chosen", {})


@pytest.mark.parametrize("named", [None, "no-such-compiler"])
def test_without_a_compiler_it_stays_eager_and_says_so_once(
    named: str | None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    if named:
        monkeypatch.setenv("CXX", named)
    model = Decoder(MODEL)
    with caplog.at_level(logging.WARNING, logger="groundup"):
        assert not compile_for_training(model)
        assert not compile_for_training(model)
    assert [record.message for record in caplog.records] == [
        "training.step runs eager: there is no C++ compiler (g++ or clang++), and with one it is faster."
    ]
    assert model.cross_entropy is linear_cross_entropy
    assert dispatch.chosen() == {"training.step": "eager"}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # PyTorch's compiler warns about its own ways
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_compiled_training_is_eager_training_up_to_rounding(dtype: torch.dtype) -> None:
    config = optimizer_config(matrices=AdamW())
    eager, compiled = fresh(config, dtype), fresh(config, dtype)
    if not compile_for_training(compiled.model):
        pytest.skip("there is no C++ compiler; scripts/install-system-packages.sh installs one")
    found, expected = run(compiled, config, 3), run(eager, config, 3)
    assert dispatch.chosen()["training.step"] == "compiled"
    tolerance = 1e-5 if dtype == torch.float32 else 2e-2
    for one, other in zip(found, expected, strict=True):
        assert one.loss == pytest.approx(other.loss, abs=tolerance)
        assert one.gradient_norm == pytest.approx(other.gradient_norm, rel=10 * tolerance)
