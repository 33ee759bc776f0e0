"""Ridge regression and the selection of its penalty, compared with direct computations over all clips."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import check_grad, minimize

from avcil.closed_form import Moments, RidgeFit, RidgePath, cholesky_with_jitter, hold_out_error
from avcil.closed_form import residual_dof as freedom
from avcil.closed_form.block_ridge import (
    MIN_PENALTY,
    TOLERANCE,
    choose_penalties,
    prior_penalties,
    ridge_errors,
    select_penalties,
)
from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.recursive_least_squares import RecursiveRidge
from avcil.errors import AvcilError


def moments_of(features, labels, classes: int) -> Moments:
    moments = Moments(features.shape[1])
    moments.add_classes(classes)
    moments.add(features, labels)
    return moments


def direct(features, labels, classes: int, penalty) -> np.ndarray:
    """Theta by least squares with clips and penalty rows in one system, without a Gram matrix."""
    H, Y = features.numpy(), np.eye(classes)[labels.numpy()]
    rows = np.diag(np.sqrt(np.broadcast_to(penalty, H.shape[1])))
    stacked = np.vstack([H, rows]), np.vstack([Y, np.zeros((len(rows), classes))])
    return np.linalg.lstsq(*stacked, rcond=None)[0]


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.floats(-3, 4))
def test_equals_joint_ridge_regression(make_clips, seed, exponent):
    """Learning class by class gives the joint solution, to 1e-10."""
    features, labels = make_clips(seed)
    moments = Moments(6)
    for c in range(3):
        moments.add_classes(1)
        moments.add(features[labels == c], labels[labels == c])
    result = RidgeFit(moments, 10**exponent)
    np.testing.assert_allclose(
        result.theta, direct(features, labels, 3, 10**exponent), rtol=1e-10, atol=1e-10
    )
    assert result.jitter == 0


@settings(deadline=None, max_examples=10)
@given(st.integers(0, 10**6), st.floats(-2, 3))
def test_recursion_equals_joint_ridge_regression(make_clips, seed, exponent):
    """The recursion over batches and new classes gives the joint solution, and can remove clips."""
    features, labels = make_clips(seed)
    recursive, targets = RecursiveRidge(6, 10**exponent), np.eye(3)[labels.numpy()]
    targets = torch.from_numpy(targets)
    recursive.add_classes(2)
    early = labels < 2
    recursive.add(features[early], targets[early][:, :2])
    recursive.add_classes(1)
    recursive.add(features[~early], targets[~early])
    np.testing.assert_allclose(
        recursive.theta, direct(features, labels, 3, 10**exponent), rtol=1e-8, atol=1e-9
    )
    recursive.remove(features[:5], targets[:5])
    np.testing.assert_allclose(
        recursive.theta, direct(features[5:], labels[5:], 3, 10**exponent), rtol=1e-7, atol=1e-8
    )


def test_recursive_leave_one_out(make_clips):
    """Its residuals are those of models that are fitted without the clip."""
    features, labels = make_clips(5)
    targets = torch.from_numpy(np.eye(3)[labels.numpy()])
    recursive = RecursiveRidge(6, 2.0)
    recursive.add_classes(3)
    recursive.add(features, targets)
    residual = recursive.leave_one_out_residual(features, targets)
    for i in range(40):
        rest = np.arange(40) != i
        expected = targets[i].numpy() - features[i].numpy() @ direct(features[rest], labels[rest], 3, 2.0)
        np.testing.assert_allclose(residual[i], expected, atol=1e-9)


@pytest.mark.parametrize("ridge", [0.1, 3.0, 100.0])
def test_leave_one_out(make_clips, ridge):
    """Scores equal those of 40 models, each fitted without one clip."""
    features, labels = make_clips(6)
    moments = moments_of(features, labels, 3)
    scores = RidgePath(moments).leave_one_out(features, labels, ridge)
    again = RidgeFit(moments, ridge).leave_one_out(features, labels)
    for i in range(40):
        rest = np.arange(40) != i
        expected = features[i].numpy() @ direct(features[rest], labels[rest], 3, ridge)
        np.testing.assert_allclose(scores[i], expected, atol=1e-10)
        np.testing.assert_allclose(again[i], expected, atol=1e-10)


@pytest.mark.parametrize(("count", "width"), [(40, 6), (10, 30)])
@pytest.mark.parametrize("ridge", [1e-3, 1.0, 300.0])
def test_gcv(make_clips, count, width, ridge):
    """Equal to a computation with the hat matrix of all clips, with more and with fewer clips than features."""
    features, labels = make_clips(7, count=count, width=width)
    H, Y = features.numpy(), np.eye(3)[labels.numpy()]
    hat = H @ np.linalg.solve(H.T @ H + ridge * np.eye(width), H.T)
    residual = np.eye(count) - hat
    expected = np.sum((residual @ Y) ** 2) / count / (np.trace(residual) / count) ** 2
    moments = moments_of(features, labels, 3)
    assert RidgePath(moments).gcv(ridge) == pytest.approx(expected, rel=1e-6)
    halves = [width // 2, width - width // 2]
    if ridge >= MIN_PENALTY:
        errors = ridge_errors(moments, halves, np.log([ridge, ridge]))
        assert np.exp(errors.log_gcv) == pytest.approx(expected, rel=1e-8)


def test_errors_of_blocks(make_clips):
    """Different penalties, compared with the hat matrix; derivatives compared with finite differences."""
    features, labels = make_clips(8)
    H, Y = features.numpy(), np.eye(3)[labels.numpy()]
    logs = np.log([0.5, 20.0])
    penalty = np.exp(logs)[[0, 0, 1, 1, 1, 1]]
    residual = np.eye(40) - H @ np.linalg.solve(H.T @ H + np.diag(penalty), H.T)
    moments = moments_of(features, labels, 3)
    errors = ridge_errors(moments, [2, 4], logs)
    expected = np.log(np.sum((residual @ Y) ** 2) / 40) - 2 * np.log(np.trace(residual) / 40)
    assert errors.log_gcv == pytest.approx(expected, rel=1e-10)
    left_out = Y - residual @ Y / (np.trace(residual) / 40)  # leave-one-out predictions
    scale = np.sum(Y * left_out) / np.sum(left_out**2)
    expected = np.log(np.sum((Y - scale * left_out) ** 2) / np.sum(Y**2))
    assert errors.log_scaled == pytest.approx(expected, rel=1e-10)
    for name in ("log_gcv", "log_scaled"):
        error = check_grad(
            lambda x, name=name: getattr(ridge_errors(moments, [2, 4], x), name),
            lambda x, name=name: getattr(ridge_errors(moments, [2, 4], x), f"{name}_slopes").numpy(),
            logs,
        )
        assert error < 1e-5


def test_errors_with_an_intercept(make_clips):
    """Equal to a regression of clips with an additional feature of 1 and no penalty on it."""
    features, labels = make_clips(8)
    moments = ClassMoments(6)
    moments.add_classes(3)
    moments.add(features, labels)
    centered = moments.standardized().moments
    logs = np.log([0.5, 20.0])
    z = (features - features.mean(dim=0)).double() * moments.standardized().inverse_deviation
    H, Y = np.column_stack([z, np.ones(40)]), np.eye(3)[labels.numpy()]
    penalty = np.diag([*np.exp(logs)[[0, 0, 1, 1, 1, 1]], 0])
    residual = np.eye(40) - H @ np.linalg.solve(H.T @ H + penalty, H.T)
    left_out = Y - residual @ Y / (np.trace(residual) / 40) - Y.mean(axis=0)
    target = Y - Y.mean(axis=0)
    scale = np.sum(target * left_out) / np.sum(left_out**2)
    expected = np.log(np.sum((target - scale * left_out) ** 2) / np.sum(target**2))
    errors = ridge_errors(centered, [2, 4], logs, intercept=True)
    assert errors.log_scaled == pytest.approx(expected, rel=1e-8)


def test_predictions_worse_than_chance_have_no_scale():
    """Without information, the best scale of leave-one-out predictions is 0: the relative error is 1, without slope."""
    draw = torch.Generator().manual_seed(0)
    moments = moments_of(torch.randn(12, 5, generator=draw).double(), torch.arange(12) % 4, 4)
    errors = ridge_errors(moments, [5], np.log([1.0]))
    assert errors.log_scaled == 0
    assert errors.log_scaled_slopes.tolist() == [0]


@pytest.mark.parametrize("clips", range(2, 60))
def test_penalty_of_one_class(clips):
    """Nothing is predicted: the sums of the centered features are rounding errors, which must not be divided by 0."""
    moments = ClassMoments(5)
    moments.add_classes(1)
    draw = torch.Generator().manual_seed(clips)
    features = 3 + torch.randn(clips, 5, generator=draw, dtype=torch.float64)
    for part in (features[:1], features[1:]):
        moments.add(part, torch.zeros(len(part), dtype=torch.int64))
    scaled = moments.standardized().moments
    assert ridge_errors(scaled, [5], [1.0], intercept=True).log_scaled == 0
    assert select_penalties(scaled, [5]) == pytest.approx(prior_penalties(scaled, [5]), rel=0.9)


def test_estimated_degrees_of_freedom(make_clips, monkeypatch):
    """Estimated with random signs: near the exact value, with the exact derivative of the estimate, and similar GCV."""
    features, labels = make_clips(13, count=600, width=150)
    moments, sizes, logs = moments_of(features, labels, 3), [50, 100], np.log([30.0, 300.0])
    penalty = torch.tensor(np.exp(logs))[[0] * 50 + [1] * 100]
    factor = torch.linalg.cholesky(moments.gram + torch.diag(penalty))
    exact, slope = freedom.residual_dof(factor, penalty, 600)
    value = ridge_errors(moments, sizes, logs).log_gcv
    monkeypatch.setattr(freedom, "EXACT", 0)
    left, estimated = freedom.residual_dof(factor, penalty, 600)
    assert left != exact
    assert left == pytest.approx(exact, abs=2 * (2 * 150 / freedom.PROBES) ** 0.5)
    assert float(estimated.sum()) == pytest.approx(float(slope.sum()), rel=0.1)
    errors = ridge_errors(moments, sizes, logs)
    assert errors.log_gcv == pytest.approx(value, abs=0.02)
    for block in range(2):
        step = 1e-5 * np.eye(2)[block]
        above, below = (ridge_errors(moments, sizes, logs + sign * step) for sign in (1, -1))
        for name in ("log_gcv", "log_scaled"):
            rise = (getattr(above, name) - getattr(below, name)) / 2e-5
            assert float(getattr(errors, f"{name}_slopes")[block]) == pytest.approx(rise, rel=1e-4, abs=1e-6)


def test_inaccurate_estimates_are_not_used(monkeypatch):
    """Fewer clips than features, and no root: an estimate near 0 is replaced by the exact value.

    With the estimate, the selected penalty would be 1, the smallest.
    """
    draw = torch.Generator().manual_seed(1)
    labels = torch.arange(100) % 5
    features = torch.randn(100, 200, generator=draw) + 0.1 * torch.randn(5, 200, generator=draw)[labels]
    scaled = moments_of(features - features.mean(dim=0), labels, 5)
    penalty = torch.ones(200, dtype=torch.float64)
    factor = torch.linalg.cholesky(scaled.gram + torch.diag(penalty))
    exact, _ = freedom.residual_dof(factor, penalty, 99)
    expected = select_penalties(scaled, [200])
    monkeypatch.setattr(freedom, "EXACT", 0)
    monkeypatch.setattr(freedom, "MAX_RANK", 20)
    assert freedom.low_rank_root(scaled.gram) is None
    assert exact > 0
    assert freedom.accurate_residual_dof(factor, penalty, 99, None) == exact
    assert select_penalties(scaled, [200]) == expected


@pytest.mark.parametrize("clips", [8, 20, 60])
def test_degrees_of_freedom_of_few_clips(clips, monkeypatch):
    """With fewer clips than features, the degrees of freedom are computed exactly, and the penalties use them."""
    draw = torch.Generator().manual_seed(clips)
    labels = torch.arange(clips) % 4
    features = torch.randn(clips, 150, generator=draw) + 0.5 * torch.randn(4, 150, generator=draw)[labels]
    moments = ClassMoments(150)
    moments.add_classes(4)
    moments.add(features, labels)
    scaled = moments.standardized().moments
    expected = select_penalties(scaled, [75, 75])
    monkeypatch.setattr(freedom, "EXACT", 0)
    assert freedom.low_rank_root(scaled.gram).shape == (clips - 1, 150)
    assert select_penalties(scaled, [75, 75]) == pytest.approx(expected, rel=1e-6)
    monkeypatch.setattr(freedom, "MAX_RANK", clips - 2)
    assert freedom.low_rank_root(scaled.gram) is None


def test_prior_penalties():
    """min(20, m) N / r for m features: N for 20 equal dimensions, m N for identical features or a constant block."""
    draw = torch.Generator().manual_seed(0)
    scores = torch.linalg.qr(torch.randn(50, 20, generator=draw))[0]
    features = torch.cat([scores, scores[:, :1] * torch.randn(7, generator=draw), torch.zeros(50, 2)], dim=1)
    moments = Moments(29)
    moments.add_classes(1)
    moments.add(features, torch.zeros(50, dtype=torch.int64))
    assert prior_penalties(moments, [20, 7, 2]) == pytest.approx([50, 350, 100], rel=1e-5)


@pytest.mark.parametrize("classes", [2, 7, 20])
def test_selected_penalties_minimize_the_objective(classes):
    """Its derivatives are 0. The weight of the errors against the prior grows with the number of classes up to 13."""
    draw = torch.Generator().manual_seed(classes)
    labels = torch.arange(8 * classes) % classes
    features = torch.randn(len(labels), 50, dtype=torch.float64, generator=draw)
    features[:, :25] += torch.randn(classes, 25, dtype=torch.float64, generator=draw)[labels]
    moments = moments_of(features - features.mean(dim=0), labels, classes)
    logs = np.log(select_penalties(moments, [25, 25]))
    errors = ridge_errors(moments, [25, 25], logs, intercept=True)
    weight = 7 * classes / 2 * min(1, (classes - 1) / 12)
    of_errors = weight * (0.1 * errors.log_gcv_slopes + 0.9 * errors.log_scaled_slopes).numpy()
    of_prior = (logs - np.log(prior_penalties(moments, [25, 25]))) / 9
    assert np.abs(of_prior).max() > 0.05
    assert of_errors + of_prior == pytest.approx([0, 0], abs=TOLERANCE * max(weight, 1))


def test_noise_gets_a_larger_penalty(make_clips):
    """A block without information gets a much larger penalty than one that determines the class."""
    features, labels = make_clips(9, count=200)
    noise = torch.randn(200, 20, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    moments = moments_of(torch.cat([features, noise], dim=1), labels, 3)
    told, silent = choose_penalties(moments, [6, 20], [10.0, 10.0])
    assert silent > 50 * told
    best = minimize(
        lambda x: ridge_errors(moments, [6, 20], x).log_gcv, np.log([1e2, 1e4]), bounds=[(0, np.log(1e7))] * 2
    )
    assert ridge_errors(moments, [6, 20], np.log([told, silent])).log_gcv == pytest.approx(best.fun, abs=0.05)


def test_hold_out_does_not_depend_on_order(make_clips):
    """The held-out fifth depends on the clips, not on their order."""
    features, labels = make_clips(10, count=60)
    moments = moments_of(features, labels, 3)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(1))
    one = hold_out_error(moments, features, labels, [0.1, 10.0])
    other = hold_out_error(moments, features[order], labels[order], [0.1, 10.0])
    assert one == pytest.approx(other, rel=1e-10)


def test_jitter_is_reported():
    """A nearly singular matrix gets the smallest sufficient jitter; a clearly indefinite one is an error."""
    ones = torch.ones(3, 3, dtype=torch.float64)
    edge = ones - 1e-12 * torch.eye(3, dtype=torch.float64)
    factor, jitter = cholesky_with_jitter(edge)
    assert 1e-12 < jitter < 1e-10
    torch.testing.assert_close(factor @ factor.T, ones, atol=1e-9, rtol=0)
    with pytest.raises(AvcilError, match="positive definite"):
        cholesky_with_jitter(-ones)
