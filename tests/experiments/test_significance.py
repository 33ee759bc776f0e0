"""Paired tests, compared with SciPy, and properties that hold for all differences."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from avcil.experiments.significance import holm, paired_test, sign_flip_p


@pytest.mark.parametrize("n", [2, 3, 5, 8, 12])
def test_sign_flip_test_equals_scipy(n: int) -> None:
    """SciPy's exact one-sample permutation test counts the same sign patterns."""
    differences = np.random.default_rng(n).normal(0.4, 1.0, n)
    reference = stats.permutation_test(
        (differences,),
        lambda d, axis=-1: np.mean(d, axis=axis),
        permutation_type="samples",
        n_resamples=np.inf,
    )
    assert sign_flip_p(differences) == pytest.approx(reference.pvalue, abs=1e-12)


@pytest.mark.parametrize("n", [2, 3, 13, 40])
def test_t_test_and_interval_equal_scipy(n: int) -> None:
    """p and the 95% interval are those of Student's t-test."""
    differences = np.random.default_rng(n).normal(0.3, 1.0, n)
    reference = stats.ttest_1samp(differences, 0.0)
    interval = reference.confidence_interval(0.95)
    result = paired_test(differences)
    if n > 12:
        assert result.p == pytest.approx(reference.pvalue, rel=1e-10)
    assert result.low == pytest.approx(interval.low, rel=1e-9)
    assert result.high == pytest.approx(interval.high, rel=1e-9)
    assert result.test == ("exact sign-flip" if n <= 12 else "paired t")


def test_holm_equals_a_computation_by_hand() -> None:
    """Sorted 0.01, 0.02, 0.03, 0.2 times 4, 3, 2, 1, then made nondecreasing: 0.04, 0.06, 0.06, 0.2."""
    assert holm([0.03, 0.2, 0.01, 0.02]) == pytest.approx([0.06, 0.2, 0.04, 0.06])
    assert holm([0.6, 0.7]) == [1.0, 1.0]


def test_few_pairs_have_large_p_values() -> None:
    """One pair has no p; of three, p is at least 0.25; equal runs have p = 1, many equal differences p = 0."""
    assert (paired_test([0.5]).p, paired_test([0.5]).low, paired_test([0.5]).test) == (None, None, "none")
    assert paired_test([9.0, 10.0, 11.0]).p == 0.25
    assert paired_test([0.0, 0.0, 0.0]).p == 1.0
    assert paired_test([0.0] * 20).p == 1.0
    assert paired_test([1.0] * 20).p == 0.0


def test_ties_do_not_depend_on_rounding() -> None:
    """If the exact mean is 0, all sign patterns are as extreme as the observed one: p = 1."""
    assert paired_test([0.1, 0.2, -0.3]).p == 1.0


@settings(deadline=None, max_examples=15)
@given(st.lists(st.floats(-1, 1, allow_nan=False, width=32), min_size=2, max_size=14))
def test_sign_and_order_do_not_matter(differences: list[float]) -> None:
    """p is two-sided and symmetric: it does not depend on the sign or order of the differences."""
    p = paired_test(differences).p
    assert p is not None
    assert 0 <= p <= 1
    assert paired_test([-d for d in differences]).p == pytest.approx(p, abs=1e-9)
    assert paired_test(sorted(differences)).p == pytest.approx(p, abs=1e-9)
    if len(differences) <= 12:
        assert p >= 2 / 2 ** len(differences) or math.isclose(p, 2 / 2 ** len(differences))
