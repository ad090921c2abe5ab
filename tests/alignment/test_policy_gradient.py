"""The mathematics of GRPO against numbers worked out by hand and autograd of the naive formulas."""

import math
import statistics

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.alignment.policy_gradient import MAX_LOG_RATIO, aggregate, clipped_losses, group_advantages, kl_k3

LOSSES = torch.tensor([[0.5] * 4, [-1.0, 7.0, 7.0, 7.0]])  # the sevens are masked
MASK = torch.tensor([[1.0] * 4, [1.0, 0.0, 0.0, 0.0]])


def test_one_success_in_eight_by_the_unbiased_deviation():
    rewards = torch.tensor([[1.0, *[0.0] * 7]])
    advantages = group_advantages(rewards)[0]
    assert advantages[0].item() == pytest.approx(2.474, abs=1e-3)  # 2.645 with the biased one
    assert advantages[1:].tolist() == pytest.approx([-0.125 / statistics.stdev(rewards[0].tolist())] * 7, abs=1e-4)
    assert group_advantages(rewards, normalize=False)[0].tolist() == [0.875, *[-0.125] * 7]


@given(st.lists(st.lists(st.sampled_from([0.0, 0.25, 1.0, 3.5]), min_size=5, max_size=5), min_size=1, max_size=4))
def test_advantages_are_standard_scores_within_each_group(rewards):
    found = group_advantages(torch.tensor(rewards))
    for row, group in zip(found.tolist(), rewards, strict=True):
        deviation = statistics.stdev(group)
        expected = [(r - statistics.fmean(group)) / deviation if deviation else 0.0 for r in group]
        assert row == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1 / 3, 1e6 + 0.1])
@pytest.mark.parametrize("size", [2, 7, 8])
def test_a_group_of_equal_rewards_gets_zeros(value, size):
    for normalize in (True, False):
        assert not group_advantages(torch.full((3, size), value), normalize).any()


def test_aggregations_by_hand():
    assert aggregate(LOSSES, MASK, "grpo", 8).item() == pytest.approx((0.5 - 1) / 2)
    assert aggregate(LOSSES, MASK, "dapo", 8).item() == pytest.approx((4 * 0.5 - 1) / 5)
    assert aggregate(LOSSES, MASK, "dr_grpo", 8).item() == pytest.approx((4 * 0.5 - 1) / 16)


@pytest.mark.parametrize("how", ["grpo", "dapo", "dr_grpo"])
def test_rows_without_tokens_count_as_zero_not_as_nan(how):
    mask = torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    losses = torch.ones(2, 2)
    assert aggregate(losses, mask, how, 2).item() == {"grpo": 0.5, "dapo": 1.0, "dr_grpo": 0.5}[how]
    assert aggregate(losses, torch.zeros(2, 2), how, 2).item() == 0.0


def test_an_unknown_aggregation_is_a_fault_of_ours():
    with pytest.raises(AssertionError, match="no aggregation 'mean'"):
        aggregate(LOSSES, MASK, "mean", 8)


def naive(logprob, old, advantage, low, high):
    ratio = math.exp(logprob - old)
    return -min(ratio * advantage, min(max(ratio, 1 - low), 1 + high) * advantage)


@pytest.mark.parametrize(("low", "high"), [(0.2, 0.2), (0.2, 0.28), (0.1, 0.5)])
def test_losses_and_gradients_are_those_of_the_formula(low, high):
    generator = torch.Generator().manual_seed(0)
    old = -torch.rand(6, 9, generator=generator, dtype=torch.float64) * 3
    new = (old + torch.randn(6, 9, generator=generator, dtype=torch.float64) * 0.4).requires_grad_()
    advantages = torch.tensor([1.5, -0.7, 2.4, -2.4, 0.0, 0.3], dtype=torch.float64)
    losses, ratios = clipped_losses(new, old, advantages, low, high)
    losses.sum().backward()
    clipped = 0
    for row in range(6):
        for at in range(9):
            n, o, a = new[row, at].item(), old[row, at].item(), advantages[row].item()
            assert losses[row, at].item() == pytest.approx(naive(n, o, a, low, high))
            assert ratios[row, at].item() == pytest.approx(math.exp(n - o))
            slope = (naive(n + 1e-6, o, a, low, high) - naive(n - 1e-6, o, a, low, high)) / 2e-6
            assert new.grad[row, at].item() == pytest.approx(slope, abs=1e-5)
            clipped += a != 0 and slope == 0
    assert clipped > 5


def test_on_policy_the_gradient_is_that_of_reinforce():
    """At ratio 1 nothing is clipped, and the loss's gradient is -A · ∇log π."""
    logits = torch.randn(3, 4, 10, generator=torch.Generator().manual_seed(1), dtype=torch.float64, requires_grad=True)
    taken = torch.randint(10, (3, 4, 1), generator=torch.Generator().manual_seed(2))
    advantages = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)

    def logprobs():
        return torch.log_softmax(logits, dim=-1).gather(-1, taken)[..., 0]

    losses, ratios = clipped_losses(logprobs(), logprobs().detach(), advantages, 0.2, 0.2)
    assert torch.equal(ratios, torch.ones_like(ratios))
    (found,) = torch.autograd.grad(losses.sum(), logits)
    (expected,) = torch.autograd.grad(-(advantages[:, None] * logprobs()).sum(), logits)
    assert torch.allclose(found, expected, atol=1e-12)


def test_a_huge_log_ratio_stays_finite():
    losses, ratios = clipped_losses(
        torch.tensor([[0.0, -500.0]]), torch.tensor([[-500.0, 0.0]]), torch.tensor([-1.0]), 0.2, 0.2
    )
    assert torch.isfinite(losses).all()
    assert ratios[0].tolist() == pytest.approx([math.exp(MAX_LOG_RATIO), math.exp(-MAX_LOG_RATIO)])
    assert torch.isfinite(kl_k3(torch.tensor([-500.0, 0.0]), torch.tensor([0.0, -500.0]))).all()


@given(st.floats(-15, 0), st.floats(-15, 0))
def test_k3_is_never_negative_and_zero_where_the_two_agree(logprob, reference):
    value = kl_k3(torch.tensor([logprob]).double(), torch.tensor([reference]).double()).item()
    assert value >= 0
    assert kl_k3(torch.tensor([logprob]), torch.tensor([logprob])).item() == 0


def test_k3_is_unbiased_and_its_gradient_is_that_of_the_reverse_direction():
    """Σ π k3 = KL(π‖ref); as a loss on samples of π = ref its mean gradient is that of KL(ref‖π), which is 0 there."""
    generator = torch.Generator().manual_seed(3)
    logits, other = (torch.randn(12, generator=generator, dtype=torch.float64) for _ in range(2))
    logits.requires_grad_()
    policy, reference = torch.log_softmax(logits, -1), torch.log_softmax(other, -1)
    expected = (policy.exp() * (policy - reference)).sum()
    assert (policy.exp() * kl_k3(policy, reference)).sum().item() == pytest.approx(expected.item())
    (found,) = torch.autograd.grad((policy.exp().detach() * kl_k3(policy, reference)).sum(), logits)
    (expected,) = torch.autograd.grad((reference.exp() * (reference - torch.log_softmax(logits, -1))).sum(), logits)
    assert torch.allclose(found, expected, atol=1e-12)
