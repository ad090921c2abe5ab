"""The decoder's mathematics against PyTorch's functions and the papers' formulas."""

import pytest
import torch
import torch.nn.functional as F

from groundup.models.layers import affine, rms_norm, rope_angles, rotate, swiglu

D, F_WIDTH, K = 12, 20, 8


def test_affine_is_a_linear_layer_without_bias() -> None:
    x, weight = torch.randn(2, 3, D), torch.randn(5, D)
    torch.testing.assert_close(affine(x, weight), F.linear(x, weight))


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_rms_norm_is_pytorchs(scale: float) -> None:
    x, gain = scale * torch.randn(3, 5, D), torch.randn(D)
    torch.testing.assert_close(rms_norm(x, gain, 1e-5), F.rms_norm(x, (D,), gain, 1e-5), atol=1e-5, rtol=1e-5)


def test_epsilon_is_inside_the_root() -> None:
    assert rms_norm(torch.zeros(D), torch.ones(D), 1e-5).tolist() == [0.0] * D
    x = torch.full((D,), 1e-3)
    torch.testing.assert_close(rms_norm(x, torch.ones(D), 3e-6), torch.full((D,), 0.5))  # 1e-3 / sqrt(1e-6 + 3e-6)


def test_a_norm_of_bf16_is_computed_in_fp32() -> None:
    x, gain = torch.randn(50, 300).bfloat16(), torch.randn(300).bfloat16()
    found = rms_norm(x, gain, 1e-5)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, F.rms_norm(x.float(), (300,), gain.float(), 1e-5).bfloat16())


def test_swiglu_is_its_formula() -> None:
    x, gate, up, down = torch.randn(4, D), torch.randn(F_WIDTH, D), torch.randn(F_WIDTH, D), torch.randn(D, F_WIDTH)
    expected = F.linear(F.silu(F.linear(x, gate)) * F.linear(x, up), down)
    torch.testing.assert_close(swiglu(x, gate, up, down), expected, atol=1e-5, rtol=1e-5)


def test_rotation_is_multiplication_by_a_unit_complex_number() -> None:
    x_BHTK = torch.randn(2, 3, 6, K)
    positions_BT = torch.tensor([[0, 1, 2, 3, 4, 5], [7, 0, 100, 3, 2, 255]])
    frequencies = torch.tensor([10_000.0 ** (-2 * i / K) for i in range(K // 2)], dtype=torch.float64)
    turns_BTk = torch.exp(1j * positions_BT[..., None] * frequencies)
    z_BHTk = torch.complex(*x_BHTK.double().chunk(2, dim=-1)) * turns_BTk[:, None]
    found = rotate(x_BHTK, *rope_angles(positions_BT, K, 10_000.0))
    torch.testing.assert_close(found.double(), torch.cat((z_BHTk.real, z_BHTk.imag), dim=-1), atol=1e-4, rtol=0)


def test_scores_depend_on_the_distance_only() -> None:
    q, k = torch.randn(1, 1, 1, K), torch.randn(1, 1, 1, K)

    def score(query_position: int, key_position: int) -> float:
        at = [rope_angles(torch.tensor([[position]]), K, 100.0) for position in (query_position, key_position)]
        return (rotate(q, *at[0]) * rotate(k, *at[1])).sum().item()

    assert score(9, 4) == pytest.approx(score(105, 100), abs=1e-4)
    assert score(9, 4) != pytest.approx(score(9, 5), abs=1e-3)


def test_position_0_and_the_norm_are_kept() -> None:
    x = torch.randn(1, 2, 5, K)
    turned = rotate(x, *rope_angles(torch.arange(5)[None], K, 10_000.0))
    assert torch.equal(turned[:, :, 0], x[:, :, 0])
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    assert rotate(x.bfloat16(), *rope_angles(torch.arange(5)[None], K, 10_000.0)).dtype == torch.bfloat16
