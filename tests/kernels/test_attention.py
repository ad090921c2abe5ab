"""Attention: every implementation and combination of options against plain loops, or against the formula that the loops
have confirmed; values and gradients."""

import itertools
import math
from typing import Any

import pytest
import torch
from torch import Tensor

from groundup.kernels.attention import MIN_BLOCK, attend, attend_causal_blocked, attend_reference, repeat_heads
from groundup.kernels.dispatch import chosen

K = 16
HEADS = [(4, 4), (4, 2), (4, 1)]
# One position, around one block, several whole blocks, and blocks of which the last is cut.
LENGTHS = [1, MIN_BLOCK - 1, MIN_BLOCK, MIN_BLOCK + 1, 4 * MIN_BLOCK, 4 * MIN_BLOCK + 1, 5 * MIN_BLOCK - 3]
TOLERANCE = {torch.float32: 1e-5, torch.bfloat16: 3e-2}
VISIBLE = ["causal", "window", "documents", "documents and window", "mask", "mask for all rows"]
# Each option absent or present; a bias of one row is for all rows.
COMBINATIONS = [
    (visible, {"scale": scale, "bias_rows": bias_rows, "soft_cap": soft_cap, "sinks": sinks})
    for visible, scale, bias_rows, soft_cap, sinks in itertools.product(
        VISIBLE, [None, 0.9], [0, 1, 2], [None, 0.8], [False, True]
    )
]


def query_key_value(
    T: int, S: int, heads: tuple[int, int], dtype: torch.dtype = torch.float32, value_width: int = K
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(T + S)
    shapes = [(2, heads[0], T, K), (2, heads[1], S, K), (2, heads[1], S, value_width)]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def combination(visible: str, options: dict[str, Any], dtype: torch.dtype) -> tuple[list[Tensor], dict[str, Any]]:
    """Tensors [q, k, v, and a bias and sinks where the options say so] and what else `attend` takes."""
    T, S = (4, 6) if "mask" in visible else (5, 5)
    inputs = query_key_value(T, S, (4, 2), dtype, value_width=3)
    generator = torch.Generator().manual_seed(3)
    rest: dict[str, Any] = {"scale": options["scale"], "soft_cap": options["soft_cap"]}
    if "window" in visible:
        rest["window"] = 3 if visible == "window" else 2
    if "documents" in visible:
        rest["documents_BT"] = torch.tensor([[0, 0, 0, 1, 1], [4, 5, 5, 5, 6]])
    if "mask" in visible:
        rest["mask_BTS"] = torch.rand(1 if "all" in visible else 2, T, S, generator=generator) < 0.5
        rest["mask_BTS"][-1, 2] = False  # sees nothing
        rest["window"] = 1  # says nothing beside a mask
    if options["bias_rows"]:
        inputs.append(torch.randn(options["bias_rows"], 4, T, S, generator=generator).requires_grad_())
    if options["sinks"]:
        inputs.append(torch.randn(4, generator=generator).requires_grad_())
    return inputs, rest


def with_options(attention, options: dict[str, Any]):
    """The function of tensors alone that `output_and_gradients` wants."""

    def call(q_BHTK: Tensor, k_BGSK: Tensor, v_BGSV: Tensor, *more: Tensor, **rest: Any) -> Tensor:
        bias_BHTS = more[0] if options["bias_rows"] else None
        return attention(
            q_BHTK, k_BGSK, v_BGSV, bias_BHTS=bias_BHTS, sink_H=more[-1] if options["sinks"] else None, **rest
        )

    return call


def attend_by_loops(
    q_BHTK: Tensor,
    k_BGSK: Tensor,
    v_BGSV: Tensor,
    mask_BTS: Tensor | None = None,
    *,
    window: int | None = None,
    documents_BT: Tensor | None = None,
    scale: float | None = None,
    bias_BHTS: Tensor | None = None,
    soft_cap: float | None = None,
    sink_H: Tensor | None = None,
) -> Tensor:
    """One query and one key after the other, in the inputs' precision."""
    B, H, T, width = q_BHTK.shape
    outputs = torch.zeros(B, H, T, v_BGSV.shape[3], dtype=q_BHTK.dtype)
    for b, h, t in itertools.product(range(B), range(H), range(T)):
        g = h // (H // k_BGSK.shape[1])
        total = torch.zeros((), dtype=q_BHTK.dtype) if sink_H is None else sink_H[h].exp()
        found = torch.zeros_like(v_BGSV[b, g, 0])
        for s in range(k_BGSK.shape[2]):
            if mask_BTS is not None:
                visible = mask_BTS[b if mask_BTS.shape[0] > 1 else 0, t, s]
            else:
                visible = s <= t and (window is None or s > t - window)
                visible = visible and (documents_BT is None or bool(documents_BT[b, s] == documents_BT[b, t]))
            if not visible:
                continue
            score = (q_BHTK[b, h, t] * k_BGSK[b, g, s]).sum() * (width**-0.5 if scale is None else scale)
            if soft_cap is not None:
                score = soft_cap * (score / soft_cap).tanh()
            if bias_BHTS is not None:
                score = score + bias_BHTS[b if bias_BHTS.shape[0] > 1 else 0, h, t, s]
            total, found = total + score.exp(), found + score.exp() * v_BGSV[b, g, s]
        if total > 0:
            outputs[b, h, t] = found / total
    return outputs


def output_and_gradients(attention, inputs: list[Tensor], *rest: Tensor, **options: Any) -> list[Tensor]:
    output = attention(*inputs, *rest, **options)
    weights = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).to(output.dtype)
    return [output.detach(), *torch.autograd.grad((output * weights).sum(), inputs)]


def assert_close(found: list[Tensor], expected: list[Tensor], tolerance: float) -> None:
    for one, other in zip(found, expected, strict=True):
        assert one.dtype == other.dtype
        scale = max(1.0, other.abs().max().item())
        torch.testing.assert_close(one, other, atol=tolerance * scale, rtol=0)


@pytest.mark.parametrize(("visible", "options"), COMBINATIONS, ids=str)
def test_every_combination_is_what_loops_compute(visible: str, options: dict[str, Any]) -> None:
    """Values 3 wide under keys 16 wide, two query heads a key head, a query that sees nothing, all in one."""
    inputs, rest = combination(visible, options, torch.float32)
    exact = [x.detach().double().requires_grad_() for x in inputs]
    expected = [x.float() for x in output_and_gradients(with_options(attend_by_loops, options), exact, **rest)]
    for attention in (attend, attend_reference):
        found = output_and_gradients(with_options(attention, options), inputs, **rest)
        assert_close(found, expected, TOLERANCE[torch.float32])
    with torch.no_grad():  # another implementation
        assert_close([with_options(attend, options)(*inputs, **rest)], expected[:1], TOLERANCE[torch.float32])


@pytest.mark.parametrize(("visible", "options"), COMBINATIONS, ids=str)
def test_every_combination_in_bf16_stays_near_the_formula(visible: str, options: dict[str, Any]) -> None:
    inputs, rest = combination(visible, options, torch.bfloat16)
    exact = [x.detach().float().requires_grad_() for x in inputs]
    expected = output_and_gradients(with_options(attend_reference, options), exact, **rest)
    found = output_and_gradients(with_options(attend, options), inputs, **rest)
    assert [x.dtype for x in found] == [torch.bfloat16, *(x.dtype for x in inputs)]
    assert_close([x.float() for x in found], expected, TOLERANCE[torch.bfloat16])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("window", [1, 2, MIN_BLOCK - 1, MIN_BLOCK, MIN_BLOCK + 1, 1000])
@pytest.mark.parametrize("T", [MIN_BLOCK + 1, 5 * MIN_BLOCK - 3])
def test_blocked_within_a_window_is_the_formula(T: int, window: int, dtype: torch.dtype) -> None:
    inputs = query_key_value(T, T, (4, 2), dtype, value_width=5)
    found = output_and_gradients(attend_causal_blocked, inputs, window=window, scale=0.4)
    expected = output_and_gradients(attend_reference, inputs, window=window, scale=0.4)
    assert_close(found, expected, TOLERANCE[dtype])


@pytest.mark.parametrize("window", [None, 70])
@pytest.mark.parametrize("T", [MIN_BLOCK + 1, 5 * MIN_BLOCK - 3])
def test_blocked_within_documents_is_the_formula(T: int, window: int | None) -> None:
    """One document a row, documents shorter than a block and longer than two, and ends at a block's end."""
    inputs = query_key_value(T, T, (4, 2), value_width=5)
    order_T = torch.arange(T)
    documents_BT = torch.stack((torch.zeros(T, dtype=torch.long), order_T // 7 * (order_T < 64) + order_T // 160 * 99))
    given = {"window": window, "documents_BT": documents_BT}
    found = output_and_gradients(attend_causal_blocked, inputs, **given)
    assert_close(found, output_and_gradients(attend_reference, inputs, **given), TOLERANCE[torch.float32])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize("T", LENGTHS)
def test_blocked_is_the_formula(T: int, heads: tuple[int, int], dtype: torch.dtype) -> None:
    inputs = query_key_value(T, T, heads, dtype)
    found = output_and_gradients(attend_causal_blocked, inputs)
    assert_close(found, output_and_gradients(attend_reference, inputs), TOLERANCE[dtype])


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("heads", HEADS)
@pytest.mark.parametrize(("T", "S"), [(1, 40), (17, 40), (40, 40)])
def test_masked_is_the_formula(T: int, S: int, heads: tuple[int, int], dtype: torch.dtype) -> None:
    inputs = query_key_value(T, S, heads, dtype)
    mask_BTS = torch.rand(2, T, S, generator=torch.Generator().manual_seed(2)) < 0.3
    mask_BTS[..., 0] = True  # each query sees something
    found = output_and_gradients(attend, inputs, mask_BTS)
    assert_close(found, output_and_gradients(attend_reference, inputs, mask_BTS), TOLERANCE[dtype])
    assert chosen()["attention.masked"] == "torch_sdpa"


@pytest.mark.parametrize("heads", HEADS)
def test_without_gradients_it_is_the_formula_too(heads: tuple[int, int]) -> None:
    inputs = query_key_value(70, 70, heads)
    with torch.no_grad():
        assert_close([attend(*inputs)], [attend_reference(*inputs)], TOLERANCE[torch.float32])
    assert chosen()["attention.causal"] == "torch_sdpa"


def test_training_on_a_cpu_uses_the_blocks_and_says_so() -> None:
    inputs = query_key_value(70, 70, (2, 2))
    assert torch.equal(attend(*inputs), attend_causal_blocked(*inputs))
    assert chosen()["attention.causal"] == "blocked"


@pytest.mark.parametrize("options", [{"soft_cap": 2.0}, {"sink_H": torch.zeros(2)}], ids=str)
def test_what_changes_the_softmax_goes_to_the_formula_and_says_so(options: dict[str, Any]) -> None:
    inputs = query_key_value(7, 7, (2, 2))
    assert torch.equal(attend(*inputs, **options), attend_reference(*inputs, **options))
    assert chosen()["attention.scores"] == "reference"


def test_other_keys_than_the_queries_own_need_a_mask() -> None:
    with pytest.raises(AssertionError, match="needs a mask"):
        attend(*query_key_value(3, 4, (2, 2)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("options", [{}, {"soft_cap": 2.0}, {"bias_BHTS": torch.zeros(1, 4, 5, 9)}], ids=str)
def test_a_query_that_sees_nothing_finds_0_and_spoils_no_gradient(options: dict[str, Any], dtype: torch.dtype) -> None:
    """Values as wide as keys here, for which PyTorch has another kernel."""
    inputs = query_key_value(5, 9, (4, 2), dtype)
    mask_BTS = torch.ones(2, 5, 9, dtype=torch.bool)
    mask_BTS[:, 3] = False
    output, *gradients = output_and_gradients(attend, inputs, mask_BTS, **options)
    assert not output[:, :, 3].any()
    assert not gradients[0][:, :, 3].any()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_sinks_take_their_share() -> None:
    """A sink as high as all scores together halves what is found; one that is very low changes nothing."""
    q_BHTK, k_BGSK, v_BGSV = query_key_value(1, 1, (2, 2))
    score_H = (q_BHTK * k_BGSK).sum(dim=-1)[0, :, 0] / math.sqrt(K)
    halved = attend(q_BHTK[:1], k_BGSK[:1], v_BGSV[:1], sink_H=score_H)
    torch.testing.assert_close(halved, v_BGSV[:1] / 2)
    inputs = query_key_value(7, 7, (2, 2))
    torch.testing.assert_close(attend(*inputs, sink_H=torch.full((2,), -1e4)), attend_reference(*inputs))


@pytest.mark.parametrize("attention", [attend, attend_reference, attend_causal_blocked])
def test_keys_and_values_before_the_window_have_no_influence(attention) -> None:
    q_BHTK, k_BGSK, v_BGSK = (x.detach().clone() for x in query_key_value(150, 150, (2, 2)))
    before = attention(q_BHTK, k_BGSK, v_BGSK, window=70)
    k_BGSK[:, :, :30], v_BGSK[:, :, :30] = 1e3, -1e3
    after = attention(q_BHTK, k_BGSK, v_BGSK, window=70)
    assert torch.equal(after[:, :, 99:], before[:, :, 99:])  # 99 sees 30 to 99
    assert not torch.equal(after[:, :, 98:99], before[:, :, 98:99])


@pytest.mark.parametrize("attention", [attend_reference, attend_causal_blocked])
def test_later_keys_and_values_have_no_influence(attention) -> None:
    q_BHTK, k_BGSK, v_BGSK = (x.detach().clone() for x in query_key_value(100, 100, (2, 2)))
    before = attention(q_BHTK, k_BGSK, v_BGSK)
    k_BGSK[:, :, 70:], v_BGSK[:, :, 70:] = 1e3, -1e3
    after = attention(q_BHTK, k_BGSK, v_BGSK)
    assert torch.equal(after[:, :, :70], before[:, :, :70])
    assert not torch.equal(after[:, :, 70:], before[:, :, 70:])


def test_large_scores_overflow_nothing() -> None:
    inputs = [x.detach() * 1e3 for x in query_key_value(80, 80, (2, 1))]
    assert_close([attend_causal_blocked(*inputs)], [attend_reference(*inputs)], 1e-5)
    assert attend_causal_blocked(*inputs).isfinite().all()


def test_neighbouring_query_heads_share_a_key_head() -> None:
    x_BGSK = torch.randn(2, 3, 5, K)
    repeated = repeat_heads(x_BGSK, 6)
    for head in range(6):
        assert torch.equal(repeated[:, head], x_BGSK[:, head // 2])
