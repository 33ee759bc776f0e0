"""Paired tests against scipy, and what must hold of any differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from avcil.experiments.significance import (
    compare,
    holm,
    incomplete_beta,
    paired_t_p,
    sign_flip_p,
    t_quantile,
    t_two_sided,
)


@pytest.mark.parametrize("n", [2, 3, 5, 8, 12])
def test_sign_flip_equals_scipy_over_all_patterns(n: int) -> None:
    """scipy's exact permutation test of one sample is an outside count of the same patterns."""
    differences = np.random.default_rng(n).normal(0.4, 1.0, n)
    outside = stats.permutation_test(
        (differences,),
        lambda d, axis=-1: np.mean(d, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert sign_flip_p(differences) == pytest.approx(outside.pvalue, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 10, 40])
def test_t_test_and_interval_equal_scipy(n: int) -> None:
    """p and the 95 % interval are Student's."""
    differences = np.random.default_rng(n).normal(0.3, 1.0, n)
    outside = stats.ttest_1samp(differences, 0.0)
    assert paired_t_p(differences) == pytest.approx(outside.pvalue, rel=1e-10)
    interval = outside.confidence_interval(0.95)
    found = compare(differences)
    assert found.low == pytest.approx(interval.low, rel=1e-9)
    assert found.high == pytest.approx(interval.high, rel=1e-9)
    assert found.test == ("exact sign-flip" if n <= 12 else "paired t")


def test_distribution_functions_equal_scipy() -> None:
    """Far into the tails and for few and many degrees of freedom."""
    for freedom in (1, 2, 7, 30, 500):
        for t in (0.0, 0.01, 0.7, 2.5, 12.0, 80.0):
            assert t_two_sided(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), rel=1e-9)
        assert t_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-10)
    for a, b, x in ((0.5, 0.5, 0.3), (2, 9, 0.9), (30, 0.5, 0.99), (1, 1, 0.25)):
        assert incomplete_beta(a, b, x) == pytest.approx(special.betainc(a, b, x), rel=1e-10)
    assert (incomplete_beta(2, 3, 0.0), incomplete_beta(2, 3, 1.0)) == (0.0, 1.0)


def test_holm_equals_a_computation_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.2 times 4, 3, 2, 1, then never falling: 0.04, 0.06, 0.06, 0.2."""
    assert holm([0.03, 0.2, 0.01, 0.02]) == pytest.approx([0.06, 0.2, 0.04, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_few_pairs_say_little() -> None:
    """One pair says nothing; three can say no more than 0.25; no difference at all is p = 1."""
    assert (compare([0.5]).p, compare([0.5]).low, compare([0.5]).test) == (None, None, "none")
    assert compare([9.0, 10.0, 11.0]).p == 0.25
    assert compare([0.0, 0.0, 0.0]).p == 1.0
    assert compare([0.0] * 20).p == 1.0
    assert compare([1.0] * 20).p == 0.0


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(-1, 1, allow_nan=False, width=32), min_size=2, max_size=14))
def test_sign_and_order_do_not_matter(differences: list[float]) -> None:
    """p is two-sided and symmetric: turning all differences round, or reordering them, changes nothing."""
    p = compare(differences).p
    assert p is not None
    assert 0 <= p <= 1
    assert compare([-d for d in differences]).p == pytest.approx(p, abs=1e-9)
    assert compare(sorted(differences)).p == pytest.approx(p, abs=1e-9)
    if len(differences) <= 12:
        assert p >= 2 / 2 ** len(differences) or math.isclose(p, 2 / 2 ** len(differences))
