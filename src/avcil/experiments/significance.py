"""Paired significance tests of two rows, over runs with the same seed and class order.

d_1..d_n are the differences of the pairs. Few pairs are tested with the exact sign-flip test: under the null hypothesis
both signs of each d_i are equally likely, and p is the fraction of the 2^n sign patterns whose mean is at least as far
from 0 as the observed one. It assumes no distribution; p is at least 2 / 2^n, 0.25 for n = 3. Many pairs are tested
with Student's paired t-test. The confidence interval is Student's in both cases.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

MAX_EXACT = 12
"""Maximum number of pairs for the exact sign-flip test."""


@dataclass(frozen=True, kw_only=True)
class PairedTest:
    """Mean of n paired differences, its confidence interval, and a test that it is 0."""

    n: int
    mean: float
    low: float | None
    """95 % confidence interval of the mean; None for a single pair."""
    high: float | None
    p: float | None
    """Two-sided; None for a single pair."""
    test: Literal["exact sign-flip", "paired t", "none"]


def paired_test(differences: Sequence[float]) -> PairedTest:
    """Test whether paired differences have the mean 0.

    >>> paired_test([1.0, 2.0, 3.0]).p
    0.25
    """
    from scipy.stats import t as student  # the import takes half a second

    d = np.asarray(differences, dtype=np.float64)
    n, mean = len(d), float(d.mean())
    if n < 2:
        return PairedTest(n=n, mean=mean, low=None, high=None, p=None, test="none")
    error = float(d.std(ddof=1)) / math.sqrt(n)
    half = float(student.ppf(0.975, n - 1)) * error
    exact = n <= MAX_EXACT
    # Equal differences are allowed here; scipy's ttest_1samp warns about them.
    ratio = abs(mean) / error if error else (math.inf if mean else 0.0)
    return PairedTest(
        n=n,
        mean=mean,
        low=mean - half,
        high=mean + half,
        p=sign_flip_p(d) if exact else float(2 * student.sf(ratio, n - 1)),
        test="exact sign-flip" if exact else "paired t",
    )


def sign_flip_p(differences: Sequence[float] | np.ndarray) -> float:
    """Fraction of all sign patterns of the differences (n,) whose |mean| is at least the observed one.

    scipy's permutation_test has a tolerance for ties that is relative to the mean, so that rounding decides ties if the
    mean is 0.

    >>> sign_flip_p([1.0, 1.0, 1.0, 1.0])
    0.125
    """
    d = np.asarray(differences, dtype=np.float64)
    signs = 1 - 2 * ((np.arange(2 ** len(d))[:, None] >> np.arange(len(d))) & 1)  # (2^n, n)
    sums = np.abs(signs @ d)
    # Sums that differ only by rounding count as equal.
    return float((sums >= abs(d.sum()) - 1e-9 * np.abs(d).sum()).mean())


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p values for multiple tests with Holm's step-down method; the order is kept.

    >>> holm([0.01, 0.04, 0.03])
    [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p_values)), key=p_values.__getitem__)
    adjusted, largest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, (len(order) - rank) * p_values[index]))
        adjusted[index] = largest
    return adjusted
