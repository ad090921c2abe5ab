"""Positions: rotary frequencies against transformers, rotation against complex numbers, the rest by plain loops."""

import itertools
import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from groundup.core.errors import ConfigError
from groundup.kernels.attention import causal_mask
from groundup.models.position_config import (
    LinearScaling,
    Llama3Scaling,
    NtkScaling,
    Rotary,
    RotaryScaling,
    YarnScaling,
)
from groundup.models.positions import (
    alibi_slopes,
    document_starts,
    documents_of,
    inverse_frequencies,
    rope_angles,
    rotate,
    sinusoids,
    visible_in_cache,
)

SHAPES = [(8, 1.0), (64, 1.0), (128, 1.0), (64, 0.25), (80, 0.4), (128, 0.5), (4, 0.5)]  # head width, fraction turned
BASES = [10_000.0, 500_000.0]


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


# ---- frequencies ----


def their_frequencies(rotary: Rotary, head_width: int, rope_type: str, **parameters: Any) -> tuple[Tensor, float]:
    """By transformers; `default` is no entry of its table, so it is linear scaling by 1."""
    formulas = pytest.importorskip("transformers.modeling_rope_utils").ROPE_INIT_FUNCTIONS
    config = SimpleNamespace(  # a true one takes seconds to import
        hidden_size=2 * head_width,
        num_attention_heads=2,
        head_dim=head_width,
        standardize_rope_params=lambda: None,
        max_position_embeddings=1 << 17,
        rope_parameters={
            "rope_type": rope_type,
            "rope_theta": rotary.base,
            "partial_rotary_factor": rotary.fraction,
            **parameters,
        },
    )
    # Dynamic NTK stretches by the length that it has seen: twice the context gives factor · 2 - (factor - 1).
    return formulas[rope_type](config, torch.device("cpu"), seq_len=2 * config.max_position_embeddings)


def assert_theirs(rotary: Rotary, head_width: int, rope_type: str, **parameters: Any) -> None:
    frequencies_k, factor = inverse_frequencies(rotary, head_width)
    expected_k, expected = their_frequencies(rotary, head_width, rope_type, **parameters)
    assert frequencies_k.dtype == torch.float32
    assert 2 * len(frequencies_k) == rotary.turned(head_width)
    torch.testing.assert_close(frequencies_k, expected_k, atol=0, rtol=2e-6)
    assert factor == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("head_width", "fraction"), SHAPES)
def test_plain_frequencies_are_transformers(head_width: int, fraction: float, base: float) -> None:
    assert_theirs(Rotary(base, fraction), head_width, "linear", factor=1.0)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("head_width", "fraction"), SHAPES)
@pytest.mark.parametrize("factor", [1.0, 2.0, 7.5])
def test_linear_scaling_is_transformers(factor: float, head_width: int, fraction: float, base: float) -> None:
    assert_theirs(Rotary(base, fraction, LinearScaling(factor)), head_width, "linear", factor=factor)


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("head_width", "fraction"), [shape for shape in SHAPES if shape != (4, 0.5)])
@pytest.mark.parametrize("factor", [1.0, 2.0, 7.5])
def test_ntk_scaling_is_transformers_at_a_fixed_length(
    factor: float, head_width: int, fraction: float, base: float
) -> None:
    assert_theirs(Rotary(base, fraction, NtkScaling(factor + 1)), head_width, "dynamic", factor=factor)


@pytest.mark.parametrize("factor", [2.0, 8.0])
def test_ntk_scaling_keeps_the_highest_frequency_and_divides_the_lowest(factor: float) -> None:
    plain_k, _ = inverse_frequencies(Rotary(), 64)
    scaled_k, _ = inverse_frequencies(Rotary(scaling=NtkScaling(factor)), 64)
    assert scaled_k[0] == plain_k[0] == 1
    torch.testing.assert_close(scaled_k[-1], plain_k[-1] / factor, atol=0, rtol=1e-6)
    assert ((scaled_k < plain_k) & (scaled_k > plain_k / factor))[1:-1].all()
    assert inverse_frequencies(Rotary(scaling=NtkScaling(factor)), 2)[0].tolist() == [1.0]  # one pair has no lowest


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("head_width", "fraction"), SHAPES)
@pytest.mark.parametrize(
    "yarn",
    [
        YarnScaling(),
        YarnScaling(1.0, 2048),
        YarnScaling(16.0, 8192, beta_fast=64.0, beta_slow=2.0),
        YarnScaling(4.0, 256, beta_fast=8.0, beta_slow=0.5, attention_factor=1.0),
        YarnScaling(40.0, 4096, attention_factor=0.7),
        YarnScaling(4.0, 128),  # no pair turns 32 times in it
        YarnScaling(4.0, 1 << 17),  # with the lower base, each pair turns more than once in it
    ],
    ids=str,
)
def test_yarn_is_transformers(yarn: YarnScaling, head_width: int, fraction: float, base: float) -> None:
    assert_theirs(
        Rotary(base, fraction, yarn),
        head_width,
        "yarn",
        factor=yarn.factor,
        original_max_position_embeddings=yarn.original_context,
        beta_fast=yarn.beta_fast,
        beta_slow=yarn.beta_slow,
        attention_factor=yarn.attention_factor,
    )


def test_yarn_keeps_what_turns_often_and_divides_what_does_not() -> None:
    """Turns within the original context decide; the ramp reaches to the pairs around its ends."""
    yarn = YarnScaling(factor=8.0, original_context=4096)
    plain_k, _ = inverse_frequencies(Rotary(), 128)
    scaled_k, factor = inverse_frequencies(Rotary(scaling=yarn), 128)
    turns_k = 4096 * plain_k / (2 * math.pi)
    often_k, seldom_k = turns_k > 1.2 * yarn.beta_fast, turns_k < yarn.beta_slow / 1.2
    assert often_k.sum() > 10
    assert seldom_k.sum() > 10
    torch.testing.assert_close(scaled_k[often_k], plain_k[often_k])
    torch.testing.assert_close(scaled_k[seldom_k], plain_k[seldom_k] / 8)
    assert (scaled_k[1:] < scaled_k[:-1]).all()
    assert factor == 0.1 * math.log(8) + 1


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize(("head_width", "fraction"), SHAPES)
@pytest.mark.parametrize(
    "llama", [Llama3Scaling(), Llama3Scaling(32.0, 1.0, 4.0, 8192), Llama3Scaling(4.0, 0.5, 16.0, 512)], ids=str
)
def test_llama3_scaling_is_transformers(llama: Llama3Scaling, head_width: int, fraction: float, base: float) -> None:
    assert_theirs(
        Rotary(base, fraction, llama),
        head_width,
        "llama3",
        factor=llama.factor,
        low_freq_factor=llama.low_frequency_factor,
        high_freq_factor=llama.high_frequency_factor,
        original_max_position_embeddings=llama.original_context,
    )


@pytest.mark.parametrize("scaling", [LinearScaling, NtkScaling, YarnScaling, Llama3Scaling])
def test_a_factor_of_1_changes_nothing(scaling: type[RotaryScaling]) -> None:
    found_k, factor = inverse_frequencies(Rotary(scaling=scaling(factor=1.0)), 64)
    torch.testing.assert_close(found_k, inverse_frequencies(Rotary(), 64)[0], atol=0, rtol=1e-6)
    assert factor == 1


@given(st.data())
def test_a_fraction_turns_the_entries_that_it_names(data: st.DataObject) -> None:
    """int() would lose one where the quotient is rounded down, as 0.29 · 100 is."""
    head_width = data.draw(st.integers(2, 512))
    turned = data.draw(st.integers(1, head_width))
    assert Rotary(fraction=turned / head_width).turned(head_width) == turned


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LinearScaling(0.5), "factor is 0.5; it must be at least 1"),
        (lambda: NtkScaling(math.nan), "factor is nan"),
        (lambda: YarnScaling(math.inf), "factor is inf"),
        (lambda: YarnScaling(original_context=0), "original_context is 0; it must be at least 1"),
        (lambda: YarnScaling(beta_slow=0.0), "beta_slow 0.0 must be above 0"),
        (lambda: YarnScaling(beta_fast=math.inf), "beta_fast inf, which must be finite"),
        (lambda: YarnScaling(attention_factor=0.0), "attention_factor is 0.0; it must be above 0"),
        (lambda: Llama3Scaling(original_context=-1), "original_context is -1"),
        (lambda: Llama3Scaling(high_frequency_factor=1.0), "below high_frequency_factor 1.0"),
        (lambda: Llama3Scaling(high_frequency_factor=math.inf), "high_frequency_factor inf, which must be finite"),
        (lambda: Rotary(base=1.0), "base is 1.0; it must be above 1"),
        (lambda: Rotary(fraction=0.0), "fraction is 0.0; it must be above 0"),
    ],
)
def test_impossible_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message.replace("(", r"\(")):
        make()


# ---- rotation ----


def turned(x_BHTK: Tensor, positions_BT: Tensor, frequencies: list[float], factor: float = 1.0) -> Tensor:
    """One number after the other: the pair (x_i, x_{i+k}) as a complex number, times e^(position · frequency · i)."""
    k = len(frequencies)
    y_BHTK = x_BHTK.double().clone()
    for b, h, t in itertools.product(*map(range, x_BHTK.shape[:3])):
        for i, frequency in enumerate(frequencies):
            z = complex(x_BHTK[b, h, t, i], x_BHTK[b, h, t, i + k])
            angle = positions_BT[b, t].item() * frequency
            z = z * complex(math.cos(angle), math.sin(angle)) * factor
            y_BHTK[b, h, t, i], y_BHTK[b, h, t, i + k] = z.real, z.imag
    return y_BHTK


@pytest.mark.parametrize("fraction", [1.0, 0.5, 0.25])
@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_rotation_is_multiplication_by_a_complex_number(factor: float, fraction: float) -> None:
    x_BHTK = normal(2, 3, 5, 8)
    rows_BT = torch.tensor([[0, 1, 2, 3, 255], [7, 0, 100, -1, 3]])
    frequencies_k, _ = inverse_frequencies(Rotary(fraction=fraction), 8)
    for positions in (rows_BT, rows_BT[0]):
        found = rotate(x_BHTK, *rope_angles(positions, frequencies_k, factor))
        expected = turned(x_BHTK, positions.expand(2, -1), frequencies_k.tolist(), factor)
        torch.testing.assert_close(found.double(), expected, atol=5e-5, rtol=0)  # 255 radians in fp32 are ± 2e-5
        untouched = round(fraction * 8)
        assert torch.equal(found[..., untouched:], x_BHTK[..., untouched:])


def test_rotation_is_transformers_partial_one() -> None:
    modeling = pytest.importorskip("transformers.models.gpt_neox.modeling_gpt_neox")
    q_BHTK, k_BHTK = normal(2, 3, 6, 16), normal(2, 3, 6, 16, seed=1)
    frequencies_k, _ = inverse_frequencies(Rotary(fraction=0.5), 16)
    cos, sin = rope_angles(torch.tensor([[0, 1, 2, 3, 4, 5], [9, 8, 7, 0, 1, 2]]), frequencies_k)
    expected = modeling.apply_rotary_pos_emb(q_BHTK, k_BHTK, torch.cat((cos, cos), -1), torch.cat((sin, sin), -1))
    for x_BHTK, y_BHTK in zip((q_BHTK, k_BHTK), expected, strict=True):
        torch.testing.assert_close(rotate(x_BHTK, cos, sin), y_BHTK, atol=1e-6, rtol=0)


@pytest.mark.parametrize("fraction", [1.0, 0.5])
def test_gradients_are_turned_back(fraction: float) -> None:
    """A rotation's transpose is the rotation by the opposite angle."""
    x_BHTK, slope_BHTK = normal(2, 3, 5, 8).requires_grad_(), normal(2, 3, 5, 8, seed=1)
    cos, sin = rope_angles(torch.arange(5), inverse_frequencies(Rotary(fraction=fraction), 8)[0])
    (found,) = torch.autograd.grad((rotate(x_BHTK, cos, sin) * slope_BHTK).sum(), x_BHTK)
    torch.testing.assert_close(found, rotate(slope_BHTK, cos, -sin), atol=1e-6, rtol=0)


@given(st.integers(0, 4000), st.integers(0, 4000), st.integers(0, 4000), st.sampled_from([1.0, 0.5]))
def test_scores_depend_on_distances_only(first: int, second: int, shift: int, fraction: float) -> None:
    q, k = normal(1, 1, 1, 16), normal(1, 1, 1, 16, seed=1)
    frequencies_k, _ = inverse_frequencies(Rotary(fraction=fraction), 16)

    def score(query_position: int, key_position: int) -> float:
        places = (torch.tensor([position]) for position in (query_position, key_position))
        turned_q, turned_k = (rotate(x, *rope_angles(at, frequencies_k)) for x, at in zip((q, k), places, strict=True))
        return (turned_q * turned_k).sum().item()

    # 8000 radians in fp32 are ± 2.5e-4, twice in a score of vectors of length 4.
    assert score(first, second) == pytest.approx(score(first + shift, second + shift), abs=8e-3)


def test_scores_do_depend_on_distances() -> None:
    q, k = normal(1, 1, 1, 16).expand(1, 1, 50, 16), normal(1, 1, 1, 16, seed=1)
    cos, sin = rope_angles(torch.arange(50), inverse_frequencies(Rotary(), 16)[0])
    scores = (rotate(q, cos, sin) * k).sum(dim=-1).flatten()
    assert (scores[:, None] - scores).abs().add(torch.eye(50)).min() > 1e-4


def test_yarns_factor_enters_scores_squared() -> None:
    q, k = normal(1, 1, 6, 16), normal(1, 1, 6, 16, seed=1)
    frequencies_k, factor = inverse_frequencies(Rotary(scaling=YarnScaling(attention_factor=1.5)), 16)
    plain, grown = (
        rotate(q, *rope_angles(torch.arange(6), frequencies_k, scale))
        @ rotate(k, *rope_angles(torch.arange(6), frequencies_k, scale)).mT
        for scale in (1.0, factor)
    )
    torch.testing.assert_close(grown, 2.25 * plain)


def test_rotation_keeps_position_0_norms_and_dtype() -> None:
    x_BHTK = normal(1, 2, 5, 8)
    angles = rope_angles(torch.arange(5), inverse_frequencies(Rotary(), 8)[0])
    found = rotate(x_BHTK, *angles)
    assert torch.equal(found[:, :, 0], x_BHTK[:, :, 0])
    torch.testing.assert_close(found.norm(dim=-1), x_BHTK.norm(dim=-1))
    narrow = x_BHTK.bfloat16()
    assert torch.equal(rotate(narrow, *angles), rotate(narrow.float(), *angles).bfloat16())  # rounded once


# ---- ALiBi and sinusoids ----


def test_alibi_slopes_are_the_papers() -> None:
    assert alibi_slopes(8).tolist() == [1 / 2, 1 / 4, 1 / 8, 1 / 16, 1 / 32, 1 / 64, 1 / 128, 1 / 256]
    halves = [2**-0.5, 2**-1, 2**-1.5, 2**-2, 2**-2.5, 2**-3, 2**-3.5, 2**-4, 2**-4.5]  # the paper's 16 heads begin so
    assert alibi_slopes(16).tolist()[:9] == pytest.approx(halves)
    assert alibi_slopes(1).tolist() == [2**-8]


@pytest.mark.parametrize("num_heads", [1, 2, 4, 8, 16, 32, 64])
def test_alibi_slopes_are_blooms(num_heads: int) -> None:
    bloom = pytest.importorskip("transformers.models.bloom.modeling_bloom")
    at_distance_1 = bloom.build_alibi_tensor(torch.ones(1, 2), num_heads, torch.float32)[:, 0, 1]
    torch.testing.assert_close(alibi_slopes(num_heads), at_distance_1, atol=0, rtol=1e-5)


@pytest.mark.parametrize("width", [2, 7, 16])
def test_sinusoids_are_the_papers_formula(width: int) -> None:
    rows_BT = torch.tensor([[0, 1, 2, 3], [100, 511, 0, -1]])
    for positions in (rows_BT, rows_BT[0]):
        found = sinusoids(positions, width)
        assert found.shape == (*positions.shape, width)
        for index in itertools.product(*map(range, positions.shape)):
            position = positions[index].item()
            for entry in range(width):
                angle = position / 10_000 ** ((entry - entry % 2) / width)
                expected = math.cos(angle) if entry % 2 else math.sin(angle)
                assert found[(*index, entry)].item() == pytest.approx(expected, abs=1e-4)


# ---- documents ----

DOCUMENTS = st.lists(st.integers(1, 6), min_size=0, max_size=5)
WINDOWS = st.none() | st.integers(1, 9)


def packed_row(tail: int, lengths: list[int], total: int) -> list[int]:
    """The last tokens of a document that began in the row before, then whole ones, the last of them cut."""
    positions = list(range(20, 20 + tail))
    for length in [*lengths, total]:
        positions += range(length)
    return positions[:total]


@given(st.lists(st.tuples(st.integers(0, 4), DOCUMENTS), min_size=1, max_size=3), st.integers(1, 12), WINDOWS)
def test_packed_tokens_see_their_document_and_what_is_near(
    rows: list[tuple[int, list[int]]], total: int, window: int | None
) -> None:
    positions_BT = torch.tensor([packed_row(tail, lengths, total) for tail, lengths in rows])
    queries = torch.empty(len(rows), 1, total, 1)
    found = causal_mask(queries, window, documents_of(positions_BT))
    assert found.shape == (len(rows), total, total)
    for row, positions in enumerate(positions_BT.tolist()):
        for query in range(total):
            for key in range(total):
                same_document = not any(positions[place] == 0 for place in range(key + 1, query + 1))
                near = window is None or query - key < window
                assert found[row, query, key].item() == (key <= query and same_document and near)


@given(st.data())
def test_cached_keys_are_seen_if_they_came_before_and_are_near(data: st.DataObject) -> None:
    B, T, S = (data.draw(st.integers(1, size)) for size in (3, 4, 8))
    place = st.integers(-1, 9)
    window = data.draw(WINDOWS)
    positions_BT = torch.tensor(data.draw(st.lists(st.lists(place, min_size=T, max_size=T), min_size=B, max_size=B)))
    shared = data.draw(st.booleans())  # one row of key positions for all rows, as in a cache of all positions
    rows = 1 if shared else B
    keys_BS = torch.tensor(data.draw(st.lists(st.lists(place, min_size=S, max_size=S), min_size=rows, max_size=rows)))
    found = visible_in_cache(positions_BT, keys_BS, window)
    assert found.shape == (B, T, S)
    for b in range(B):
        for t in range(T):
            for s in range(S):
                query, key = positions_BT[b, t].item(), keys_BS[0 if shared else b, s].item()
                if query < 0:
                    assert found[b, t, s]  # padding: anything, but not nothing
                else:
                    near = window is None or query - key < window
                    assert found[b, t, s].item() == (0 <= key <= query and near)


def test_documents_start_at_position_0_in_rows_of_their_own_only() -> None:
    assert document_starts(torch.arange(5)) is None
    starts_BT = document_starts(torch.tensor([[0, 1, 0, 0, 1], [5, 6, 7, 0, -1]]))
    assert starts_BT is not None
    assert starts_BT.tolist() == [[True, False, True, True, False], [False, False, False, True, False]]
