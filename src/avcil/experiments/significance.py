"""Whether one row is better than another: paired over runs that share seed and class order.

Differences d_1..d_n are those of pairs. With few pairs the exact sign-flip test is used: under the hypothesis
of no difference every d_i might as well have the other sign, so p is the share of the 2^n sign patterns whose
mean is as far from 0 as the one seen. It assumes no distribution, and can give no less than 2 / 2^n: 0.25
for n = 3. With many pairs, Student's paired t-test. The confidence interval is Student's in both cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

EXACT_UP_TO = 12
"""Pairs up to which all sign patterns are counted."""


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What n paired differences say."""

    n: int
    mean: float
    low: float | None
    """95 % confidence interval of the mean; None for a single pair."""
    high: float | None
    p: float | None
    """Two-sided; None for a single pair."""
    test: Literal["exact sign-flip", "paired t", "none"]


def compare(differences: Sequence[float]) -> Comparison:
    """Test whether paired differences have the mean 0.

    >>> compare([1.0, 2.0, 3.0]).p
    0.25
    """
    d = np.asarray(differences, dtype=np.float64)
    n, mean = len(d), float(d.mean())
    if n < 2:
        return Comparison(n=n, mean=mean, low=None, high=None, p=None, test="none")
    half = t_quantile(0.975, n - 1) * float(d.std(ddof=1)) / math.sqrt(n)
    exact = n <= EXACT_UP_TO
    return Comparison(
        n=n,
        mean=mean,
        low=mean - half,
        high=mean + half,
        p=sign_flip_p(d) if exact else paired_t_p(d),
        test="exact sign-flip" if exact else "paired t",
    )


def sign_flip_p(differences: Sequence[float] | np.ndarray) -> float:
    """Share of all sign patterns of the differences (n,) whose |mean| reaches the one seen.

    >>> sign_flip_p([1.0, 1.0, 1.0, 1.0])
    0.125
    """
    d = np.asarray(differences, dtype=np.float64)
    signs = 1 - 2 * ((np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1)  # (2^n, n)
    sums = np.abs(signs @ d)
    # Sums that are equal but for rounding count as equal.
    return float((sums >= abs(d.sum()) - 1e-9 * np.abs(d).sum()).mean())


def paired_t_p(differences: Sequence[float] | np.ndarray) -> float:
    """Two-sided p of Student's t-test that the differences (n,), n >= 2, have the mean 0.

    >>> round(paired_t_p([1.0, 2.0, 3.0]), 4)
    0.0742
    """
    d = np.asarray(differences, dtype=np.float64)
    deviation = float(d.std(ddof=1))
    if deviation == 0:
        return 1.0 if not d.any() else 0.0
    return t_two_sided(float(d.mean()) / deviation * math.sqrt(len(d)), len(d) - 1)


def t_two_sided(t: float, freedom: int) -> float:
    """P(|T| >= |t|) of Student's distribution: I_{v / (v + t^2)}(v / 2, 1 / 2)."""
    return incomplete_beta(freedom / 2, 0.5, freedom / (freedom + t * t))


def t_quantile(probability: float, freedom: int) -> float:
    """The t above which lies 1 - probability of Student's distribution, probability in [0.5, 1).

    >>> round(t_quantile(0.975, 2), 3)
    4.303
    """
    target = 2 * (1 - probability)
    low, high = 0.0, 1.0
    while t_two_sided(high, freedom) > target:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if t_two_sided(middle, freedom) > target else (low, middle)
    return (low + high) / 2


def incomplete_beta(a: float, b: float, x: float) -> float:
    """The regularized incomplete beta function I_x(a, b), by its continued fraction (DLMF 8.17.22).

    >>> round(incomplete_beta(2, 3, 0.5), 4)
    0.6875
    """
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast on the other side alone
        return 1 - incomplete_beta(b, a, 1 - x)
    log_front = a * math.log(x) + b * math.log1p(-x) - math.log(a)
    log_front += math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(log_front) / _beta_fraction(a, b, x)


def _beta_fraction(a: float, b: float, x: float) -> float:
    """1 + d_1 / (1 + d_2 / (1 + ...)), from the inside out; 300 terms are more than doubles need."""
    value = 1.0
    for k in range(300, 0, -1):
        m = k // 2
        if k % 2:
            d = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        else:
            d = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        value = 1 + d / value
    return value


def holm(p_values: Sequence[float]) -> list[float]:
    """p values adjusted for their number by Holm's step-down method, in the order given.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[place]))
        adjusted[place] = largest
    return adjusted
