"""The decoder's mathematics against PyTorch's own functions, values and gradients; dropout by its statistics."""

import itertools
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from groundup.models import layers

D, WIDE = 12, 20
THEIRS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "squared_relu": lambda x: F.relu(x).square(),
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "silu": F.silu,
}


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_same(ours: Callable[..., Tensor], theirs: Callable[..., Tensor], *inputs: Tensor) -> None:
    """Values within 1e-6 of theirs and gradients within 1e-6 of theirs, where these are above 1 relative to them."""
    results = []
    for function in (ours, theirs):
        leaves = [x.clone().requires_grad_() for x in inputs]
        y = function(*leaves)
        results.append([y.detach(), *torch.autograd.grad((y * normal(*y.shape, seed=99)).sum(), leaves)])
    for found, expected in zip(*results, strict=True):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, expected, atol=1e-6 * max(1.0, expected.abs().max().item()), rtol=0)


def assert_rounded(found: Tensor, expected: Tensor, ulps: float = 1.0) -> None:
    """bf16 within so many steps of its 8 bits from a value computed in fp32."""
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.float(), expected.float(), atol=1e-30, rtol=ulps * 2**-8)


def test_affine_is_a_linear_layer() -> None:
    x, weight, bias = normal(2, 3, D), normal(5, D, seed=1), normal(5, seed=2)
    assert_same(layers.affine, F.linear, x, weight)
    assert_same(layers.affine, F.linear, x, weight, bias)
    assert layers.affine(x.bfloat16(), weight.bfloat16(), bias.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
def test_rms_norm_is_pytorchs(scale: float) -> None:
    assert_same(
        lambda x, gain: layers.rms_norm(x, gain, 1e-5),
        lambda x, gain: F.rms_norm(x, (D,), gain, 1e-5),
        scale * normal(3, 5, D),
        normal(D, seed=1),
    )


@pytest.mark.parametrize("scale", [1e-4, 1.0, 1e4])
@pytest.mark.parametrize("biased", [False, True])
def test_layer_norm_is_pytorchs(biased: bool, scale: float) -> None:
    bias = [normal(D, seed=2)] if biased else []
    assert_same(
        lambda x, gain, bias=None: layers.layer_norm(x, gain, bias, 1e-5),
        lambda x, gain, bias=None: F.layer_norm(x, (D,), gain, bias, 1e-5),
        scale * normal(3, 5, D),
        normal(D, seed=1),
        *bias,
    )


def test_layer_norm_survives_a_mean_that_dwarfs_the_spread() -> None:
    """The mean of squares minus the square of the mean would lose all digits here."""
    x = 1000 + normal(4, 256)
    found = layers.layer_norm(x, torch.ones(256), None, 1e-5)
    torch.testing.assert_close(found.double(), F.layer_norm(x.double(), (256,), eps=1e-5), atol=1e-3, rtol=0)


def test_epsilon_is_inside_the_root() -> None:
    assert layers.rms_norm(torch.zeros(D), torch.ones(D), 1e-5).tolist() == [0.0] * D
    x = torch.full((D,), 1e-3)
    torch.testing.assert_close(layers.rms_norm(x, torch.ones(D), 3e-6), torch.full((D,), 0.5))  # 1e-3 / √(1e-6 + 3e-6)


def test_norms_of_bf16_are_computed_in_fp32() -> None:
    x, gain, bias = normal(50, 300).bfloat16(), normal(300, seed=1).bfloat16(), normal(300, seed=2).bfloat16()
    expected = F.rms_norm(x.float(), (300,), gain.float(), 1e-5).bfloat16()
    assert torch.equal(layers.rms_norm(x, gain, 1e-5), expected)
    expected = F.layer_norm(x.float(), (300,), gain.float(), bias.float(), 1e-5)
    found = layers.layer_norm(x, gain, bias, 1e-5)
    assert found.dtype == torch.bfloat16
    assert (found == expected.bfloat16()).float().mean() > 0.999  # the rest lies where two bf16 numbers meet


def test_the_table_of_activations_is_complete() -> None:
    assert set(layers.ACTIVATIONS) == set(THEIRS)


@pytest.mark.parametrize("name", THEIRS)
def test_activations_are_pytorchs(name: str) -> None:
    x = torch.cat((torch.linspace(-12, 12, 241), torch.tensor([0.0, -0.0, 1e-8, -1e-8, 60.0, -60.0])))
    assert (x == 0).any()  # where the slope of ReLU is a convention
    assert_same(layers.ACTIVATIONS[name], THEIRS[name], x)


@pytest.mark.parametrize("name", THEIRS)
def test_activations_of_bf16_keep_its_digits(name: str) -> None:
    x = torch.linspace(-4, 4, 801).bfloat16()
    assert_rounded(layers.ACTIVATIONS[name](x), THEIRS[name](x.float()), ulps=2)


@pytest.mark.parametrize("name", THEIRS)
def test_activations_pass_on_what_is_not_a_number(name: str) -> None:
    assert layers.ACTIVATIONS[name](torch.tensor(torch.nan)).isnan()
    assert layers.ACTIVATIONS[name](torch.tensor(torch.inf)) == torch.inf


@pytest.mark.parametrize("name", THEIRS)
def test_gated_is_its_formula(name: str) -> None:
    x, gate, up, down = normal(4, D), normal(WIDE, D, seed=1), normal(WIDE, D, seed=2), normal(D, WIDE, seed=3)
    assert_same(
        lambda *inputs: layers.gated(*inputs, activation=name),
        lambda x, gate, up, down: F.linear(THEIRS[name](F.linear(x, gate)) * F.linear(x, up), down),
        *(tensor / 4 for tensor in (x, gate, up, down)),
    )
    assert layers.gated(*(tensor.bfloat16() for tensor in (x, gate, up, down)), activation=name).dtype == torch.bfloat16


def test_gated_is_swiglu_by_default() -> None:
    x, gate, up, down = normal(4, D), normal(WIDE, D, seed=1), normal(WIDE, D, seed=2), normal(D, WIDE, seed=3)
    assert torch.equal(layers.gated(x, gate, up, down), layers.gated(x, gate, up, down, "silu"))


@pytest.mark.parametrize("cap", [0.5, 30.0])
def test_soft_cap_is_a_scaled_tanh(cap: float) -> None:
    x = 100 * normal(200)
    assert_same(lambda x: layers.soft_cap(x, cap), lambda x: torch.tanh(x * (1 / cap)) / (1 / cap), x)
    assert layers.soft_cap(x, cap).abs().max() <= cap
    small = torch.linspace(-1e-2, 1e-2, 21) * cap
    torch.testing.assert_close(layers.soft_cap(small, cap), small, atol=0, rtol=1e-4)
    assert layers.soft_cap(x.bfloat16(), cap).dtype == torch.bfloat16


def test_no_soft_cap_changes_nothing() -> None:
    x = normal(5)
    assert layers.soft_cap(x, None) is x


@pytest.mark.parametrize("probability", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_dropout_zeroes_its_share_and_scales_the_rest(probability: float, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    n = 200_000
    x = (1 + torch.rand(n)).to(dtype).requires_grad_()
    y = layers.dropout(x, probability, training=True)
    kept = y != 0
    deviation = (probability * (1 - probability) / n) ** 0.5
    assert y.dtype == dtype
    assert abs(1 - kept.float().mean().item() - probability) < 4 * deviation
    torch.testing.assert_close(y[kept], x[kept] / (1 - probability))
    (slope,) = torch.autograd.grad(y.float().sum(), x)
    torch.testing.assert_close(slope, kept.to(dtype) / (1 - probability))


def test_dropout_chooses_each_entry_alone_and_anew() -> None:
    torch.manual_seed(0)
    first, second = (layers.dropout(torch.ones(400, 400), 0.5, training=True) > 0 for _ in range(2))
    for one, other in ((first, second), (first[1:], first[:-1]), (first[:, 1:], first[:, :-1])):
        assert abs((one == other).float().mean().item() - 0.5) < 0.01  # 8 standard deviations
    torch.manual_seed(0)
    assert torch.equal(layers.dropout(torch.ones(400, 400), 0.5, training=True) > 0, first)


@pytest.mark.parametrize(("probability", "training"), [(0.5, False), (0.0, True)])
def test_dropout_is_nothing_outside_training_and_draws_no_numbers(probability: float, training: bool) -> None:
    x, before = normal(5), torch.get_rng_state()
    assert layers.dropout(x, probability, training) is x
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("taps", [1, 2, 4, 9])
def test_causal_convolution_is_a_grouped_convolution_over_the_past(taps: int) -> None:
    def theirs(x_BTC: Tensor, weight_CW: Tensor) -> Tensor:
        C, W = weight_CW.shape
        return F.conv1d(F.pad(x_BTC.mT, (W - 1, 0)), weight_CW[:, None], groups=C).mT

    x_BTC, weight_CW = normal(2, 7, 5), normal(5, taps, seed=1) / taps  # 9 taps are more than there is time
    assert_same(layers.causal_convolution, theirs, x_BTC, weight_CW)
    assert layers.causal_convolution(x_BTC.bfloat16(), weight_CW.bfloat16()).dtype == torch.bfloat16


@given(st.lists(st.lists(st.booleans(), min_size=8, max_size=8), min_size=1, max_size=3), st.integers(1, 6))
def test_causal_convolution_carries_nothing_over_a_documents_start(starts: list[list[bool]], taps: int) -> None:
    """Each document alone gives the same; a row need not begin with a start."""
    starts_BT = torch.tensor(starts)
    x_BTC, weight_CW = normal(len(starts), 8, 3), normal(3, taps, seed=1)
    found = layers.causal_convolution(x_BTC, weight_CW, starts_BT)
    for row, marks in enumerate(starts):
        edges = [0, *(time for time, mark in enumerate(marks) if mark and time > 0), 8]
        for begin, end in itertools.pairwise(edges):
            alone = layers.causal_convolution(x_BTC[row : row + 1, begin:end], weight_CW)
            torch.testing.assert_close(found[row : row + 1, begin:end], alone, atol=1e-6, rtol=0)


def test_gradients_of_a_convolution_stop_at_a_documents_start() -> None:
    x_BTC = normal(1, 6, 3).requires_grad_()
    starts_BT = torch.tensor([[True, False, False, True, False, False]])
    y = layers.causal_convolution(x_BTC, normal(3, 4, seed=1), starts_BT)
    (slope,) = torch.autograd.grad(y[:, 3:].sum(), x_BTC)
    assert not slope[:, :3].any()
    assert slope[:, 3:].all()
