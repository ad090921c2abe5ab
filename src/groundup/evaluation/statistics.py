"""Intervals: what a number would be on another draw of the same data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from groundup.core.seeds import derive_seed

Z95 = 1.959963984540054  # the 97.5 % quantile of the normal distribution


@dataclass(frozen=True)
class Interval:
    """An estimate with its 95 % interval."""

    estimate: float
    low: float
    high: float


@dataclass(frozen=True)
class Proportion:
    """A share of successes with its 95 % Wilson interval."""

    estimate: float
    low: float
    high: float
    correct: int
    n: int


def wilson(correct: int, n: int) -> Proportion:
    """The score interval of a proportion (Wilson 1927): never outside [0, 1], and sensible at 0 and n successes."""
    assert 0 <= correct <= n, f"{correct} successes in {n} trials"
    if n == 0:
        return Proportion(math.nan, 0.0, 1.0, 0, 0)
    share = correct / n
    scale = 1 / (1 + Z95**2 / n)
    middle = scale * (share + Z95**2 / (2 * n))
    half = scale * Z95 * math.sqrt(share * (1 - share) / n + Z95**2 / (4 * n**2))
    low, high = min(share, middle - half), max(share, middle + half)  # rounding must not exclude the estimate
    return Proportion(share, max(0.0, low), min(1.0, high), correct, n)


def paired_difference(
    before: Sequence[float], after: Sequence[float], seed: int = 0, resamples: int = 10_000
) -> Interval:
    """Mean of after - before on the same examples, with a percentile bootstrap over examples (Efron 1979)."""
    assert len(before) == len(after), "a paired difference needs the same examples on both sides"
    differences = np.asarray(after, dtype=np.float64) - np.asarray(before, dtype=np.float64)
    return _bootstrap(differences, np.ones(len(differences)), seed, resamples)


def ratio_of_sums(
    numerators: Sequence[float], denominators: Sequence[float], seed: int = 0, resamples: int = 10_000
) -> Interval:
    """Σ numerator / Σ denominator over documents, such as bits over bytes, with a bootstrap over documents."""
    return _bootstrap(np.asarray(numerators, float), np.asarray(denominators, float), seed, resamples)


def mean_of_few(values: Sequence[float]) -> Interval:
    """The mean with Student's interval, for a handful of independent runs: mean ± t · s / √n."""
    mean, n = float(np.mean(values)), len(values)
    if n < 2:
        return Interval(mean, -math.inf, math.inf)
    half = student_t(n - 1) * float(np.std(values, ddof=1)) / math.sqrt(n)
    return Interval(mean, mean - half, mean + half)


def student_t(degrees: int, confidence: float = 0.95) -> float:
    """t with P(|T| < t) = confidence. With T = √v tan θ the density of θ is proportional to cos^(v-1) θ."""
    theta = np.linspace(0, np.pi / 2, 1 << 16)
    density = np.cos(theta) ** (degrees - 1)
    share = np.concatenate(([0.0], np.cumsum((density[1:] + density[:-1]) / 2)))
    return math.sqrt(degrees) * math.tan(float(np.interp(confidence * share[-1], share, theta)))


def pass_at_k(n: int, correct: int, k: int) -> float:
    """The chance that k of n samples hold a correct one: 1 - C(n-c, k)/C(n, k) (Chen et al. 2021, arXiv:2107.03374)."""
    return 1.0 - math.comb(n - correct, k) / math.comb(n, k)


def _bootstrap(numerators: np.ndarray, denominators: np.ndarray, seed: int, resamples: int) -> Interval:
    generator = np.random.default_rng(derive_seed("bootstrap", seed))
    estimates = np.empty(resamples)
    for index in range(resamples):
        drawn = generator.integers(0, len(numerators), len(numerators))
        estimates[index] = numerators[drawn].sum() / denominators[drawn].sum()
    low, high = np.quantile(estimates, [0.025, 0.975])
    return Interval(float(numerators.sum() / denominators.sum()), float(low), float(high))
