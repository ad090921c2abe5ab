"""Drawing against the definition: a chi-square test of the frequencies, and brute force for the filters."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from groundup.core.errors import ConfigError
from groundup.inference.requests import Request, Sampling
from groundup.inference.sampling import Best, filter_probabilities, sample, uniform

DRAWS = 100_000


def by_hand(logits, settings):
    """The filtered distribution, token by token in fp64."""
    peak = max(logits)
    weights = [math.exp((logit - peak) / settings.temperature) for logit in logits]
    shares = [weight / sum(weights) for weight in weights]
    order = sorted(range(len(shares)), key=lambda token: (-shares[token], token))
    if settings.top_k:
        order = order[: settings.top_k]
    kept, mass, total = [], 0.0, sum(shares[token] for token in order)
    for token in order:
        if settings.top_p < 1 and mass >= settings.top_p:
            break
        kept.append(token)
        mass += shares[token] / total
    norm = sum(shares[token] for token in kept)
    return [shares[token] / norm if token in kept else 0.0 for token in range(len(shares))]


@pytest.mark.parametrize(
    "settings",
    [
        Sampling(temperature=1.0),
        Sampling(temperature=0.6),
        Sampling(temperature=2.0, top_k=7),
        Sampling(temperature=1.0, top_p=0.8),
        Sampling(temperature=1.3, top_k=12, top_p=0.7),
    ],
)
def test_frequencies_are_those_of_the_filtered_softmax(settings):
    logits = torch.randn(30, generator=torch.Generator().manual_seed(1)) * 1.5
    expected = torch.tensor(by_hand(logits.tolist(), settings), dtype=torch.float64) * DRAWS
    counts = torch.zeros(30, dtype=torch.float64)
    rows = 10_000
    for first in range(0, DRAWS, rows):
        uniforms = [uniform(7, position) for position in range(first, first + rows)]
        ids, _ = sample(logits.expand(rows, 30), [settings] * rows, uniforms)
        counts += torch.bincount(ids, minlength=30)
    possible = expected > 0
    assert counts[~possible].sum() == 0
    chi_square = ((counts - expected)[possible] ** 2 / expected[possible]).sum().item()
    freedom = int(possible.sum()) - 1
    # Wilson and Hilferty 1931: (χ²/f)^(1/3) is nearly normal. The seed is fixed, so this cannot fail now and then.
    normal = ((chi_square / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    assert abs(normal) < 4


@given(st.data())
def test_filters_against_brute_force(data):
    size = data.draw(st.integers(2, 12))
    # Multiples of 1/4 make ties, which must be kept in the order of their ids.
    logits = data.draw(st.lists(st.integers(-12, 12).map(lambda n: n / 4), min_size=size, max_size=size))
    top_k, top_p = data.draw(st.integers(0, size + 2)), data.draw(st.sampled_from([0.05, 0.31, 0.5, 0.77, 0.95, 1.0]))
    settings = Sampling(temperature=1.0, top_k=top_k, top_p=top_p)
    probabilities = torch.softmax(torch.tensor([logits], dtype=torch.float64), dim=-1)
    others = Sampling(temperature=1.0)
    filtered = filter_probabilities(probabilities.expand(3, size), [others, settings, others])
    assert torch.equal(filtered[[0, 2]], probabilities.expand(2, size))
    expected = torch.tensor(by_hand(logits, settings), dtype=torch.float64)
    kept = filtered[1]
    # A sum that meets p up to rounding may fall on either side.
    shares = probabilities[0].sort(descending=True, stable=True).values[: top_k or size]
    if ((shares / shares.sum()).cumsum(0) - top_p).abs().min() > 1e-9:
        assert torch.allclose(kept / kept.sum(), expected, atol=1e-12)


@given(st.integers(0, 2**63 - 1), st.integers(0, 10**6))
def test_uniform_numbers_are_below_one(seed, position):
    assert 0 <= uniform(seed, position) < 1


def test_the_largest_uniform_never_draws_a_token_of_probability_zero():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(500, 40, generator=generator)
    logits[:, -5:] = -1e9  # an index at the end is what a sum that falls short would give
    for top_p in (1.0, 0.9):
        ids, logprobs = sample(logits, [Sampling(temperature=1.0, top_p=top_p)] * 500, [1 - 2**-53] * 500)
        assert ids.max() < 35
        assert torch.isfinite(logprobs).all()


def test_the_smallest_uniform_draws_the_first_possible_token():
    logits = torch.tensor([[-1e9, 0.0, 0.0]])
    assert sample(logits, [Sampling(temperature=1.0)], [0.0])[0].item() == 1


@pytest.mark.parametrize("temperature", [1e-45, 1e-30, 1e-9, 1e-3])
def test_a_tiny_temperature_is_greedy(temperature):
    logits = torch.tensor([[1.0, 30.0, -8.0, 29.0]])
    ids, logprobs = sample(logits, [Sampling(temperature=temperature)], [0.999])
    assert ids.tolist() == [1]
    assert logprobs.item() == pytest.approx(0.0, abs=1e-6)


def test_rows_of_a_batch_keep_their_own_settings():
    logits = torch.tensor([[0.0, 3.0, 1.0]]).expand(3, 3)
    settings = [Sampling(temperature=0.0), Sampling(temperature=1.0, top_k=1), Sampling(temperature=50.0)]
    ids, logprobs = sample(logits, settings, [0.0, 0.0, 0.0])
    assert ids.tolist() == [1, 1, 0]
    expected = torch.log_softmax(torch.tensor([0.0, 3.0, 1.0]), dim=-1)
    assert logprobs[:2].tolist() == pytest.approx([expected[1].item()] * 2)  # before the filter, at temperature 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"max_tokens": 0}, "max_tokens is 0"),
        ({"temperature": -0.1}, "temperature is -0.1"),
        ({"temperature": float("nan")}, "temperature is nan"),
        ({"top_k": -1}, "top_k is -1"),
        ({"top_p": 0.0}, "top_p is 0.0"),
        ({"top_p": 1.01}, "top_p is 1.01"),
    ],
)
def test_settings_that_cannot_work(wrong, words):
    with pytest.raises(ConfigError, match=words):
        Sampling(**wrong)


def test_an_empty_stop_string_is_refused():
    with pytest.raises(ConfigError, match="stop string is empty"):
        Request((1,), stop_strings=("a", ""))


def test_greedy_and_drawn_rows_of_a_batch_are_as_alone():
    logits = torch.randn(4, 30, generator=torch.Generator().manual_seed(5)) * 3
    settings = [
        Sampling(temperature=0),
        Sampling(top_k=5),
        Sampling(temperature=0),
        Sampling(temperature=0.5, top_p=0.9),
    ]
    uniforms = [0.1, 0.4, 0.7, 0.9]
    ids, logprobs = sample(logits, settings, uniforms)
    for row in range(4):
        id_, logprob = sample(logits[row : row + 1], settings[row : row + 1], uniforms[row : row + 1])
        assert ids[row] == id_[0]
        torch.testing.assert_close(logprobs[row], logprob[0])
    for row in (0, 2):
        assert ids[row] == logits[row].argmax()
        torch.testing.assert_close(logprobs[row], torch.log_softmax(logits[row].double(), -1).max().float())


def test_what_is_known_of_greedy_rows_is_taken():
    logits = torch.randn(2, 30, generator=torch.Generator().manual_seed(6))
    known = Best(torch.tensor([3, 4]), torch.tensor([-1.0, -2.0]))
    ids, logprobs = sample(logits, [Sampling(temperature=0), Sampling(temperature=1.0)], [0.5, 0.5], known)
    assert ids[0] == 3
    assert logprobs[0] == -1
    alone, _ = sample(logits[1:], [Sampling(temperature=1.0)], [0.5])
    assert ids[1] == alone[0]
