"""The measured matrix-product rate is 2n³ over the shortest time."""

import pytest
import torch

from groundup.kernels import peak


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_the_shortest_repeat_counts(dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 4.0, 10.0, 12.0, 20.0, 25.0])  # three repeats of 4, 2 and 5 seconds
    monkeypatch.setattr(peak.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(peak, "SIZE", 8)
    monkeypatch.setattr(peak, "REPEATS", 3)
    assert peak.measured_matmul_flops(dtype) == 2 * 8**3 / 2.0
    assert next(clock, None) is None


@pytest.mark.parametrize(("bf16", "expected"), [(119.0, torch.float32), (121.0, torch.bfloat16)])
def test_bf16_must_be_clearly_faster_to_be_chosen(
    bf16: float, expected: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates = {torch.bfloat16: bf16, torch.float32: 100.0}
    monkeypatch.setattr(peak, "measured_matmul_flops", lambda dtype, size=None: rates[dtype])
    assert peak.fastest_dtype() == expected
