"""Ridge regression with a penalty for each block of features, selected from the statistics alone.

N clips, M features in blocks b = 1..B, C classes, Lambda the diagonal matrix of the penalties of the features:

    P = (G + Lambda)^-1,   Theta = P Q
    <Y, H Theta> = tr(Q^T Theta),   |H Theta|^2 = tr(Q^T Theta) - tr(Theta^T Lambda Theta)
    E(Lambda) = |Y - H Theta|^2
    T(Lambda) = tr(H P H^T) = M - tr(Lambda P)
    GCV(Lambda) = (E / N) / (1 - T / N)^2

GCV is the mean square error of the leave-one-out predictions L = (H Theta - t Y) / (1 - t), in which each clip has the
mean leverage t = T / N. A classifier does not depend on the scale of the predictions, so their error with the best
common scale is also used:

    min over s of |Y - s L|^2 / |Y|^2 = 1 - <Y, L>^2 / (|Y|^2 |L|^2)

All terms are functions of G, Q and N; so are their derivatives by lambda_b:

    d <Y, H Theta> / dlog lambda_b = -lambda_b sum_{j in b} |Theta_j|^2
    d |H Theta|^2 / dlog lambda_b  = -2 lambda_b sum_{j in b} (|Theta_j|^2 - <Theta_j, (P Lambda Theta)_j>)
    d T / dlog lambda_b            = -lambda_b sum_{j in b} (P_jj - sum_k lambda_k P_jk^2)    (see `residual_dof`)

A block without information about the classes gets such a large penalty that it has no effect. This is how the weight of
a noisy modality is reduced without access to clips.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from avcil.closed_form.moments import Moments
from avcil.closed_form.residual_dof import is_accurate, low_rank_root, residual_dof
from avcil.closed_form.ridge import cholesky_with_jitter
from avcil.closed_form.symmetric import with_diagonal

MIN_PENALTY, _MAX_PENALTY = 1.0, 1e7
"""Range of penalties, for features with a standard deviation of about 1. Below it, with fewer clips than features, E
and T would be differences of nearly equal numbers."""
_MAX_EVALUATIONS = 40
"""Maximum number of evaluations of GCV in one search; about ten are usual."""
TOLERANCE = 2e-3
"""The search ends when all derivatives of log GCV by log penalties are below this."""
_MAX_STEP = 3.0
"""Maximum change of a log penalty in one step: a factor of 20."""
_PRIOR_DIMENSIONS = 20.0
"""Effective dimensions of a block whose prior penalty is N; chosen on validation clips (docs/log.md)."""
_PRIOR_DEVIATION = 3.0
"""Standard deviation of the log penalty under the prior; chosen on validation clips (docs/log.md)."""
GCV_WEIGHT = 0.1
"""Weight of log GCV in the selection of penalties; chosen on validation clips (docs/log.md)."""
_FULL_INDICATORS = 12
"""Number of independent class indicators, C - 1, from which the errors have their full weight against the prior; chosen
on validation clips (docs/log.md)."""

Objective = Callable[[Tensor], tuple[float, Tensor]]
"""Maps log penalties (B,) to a value and its derivatives (B,)."""


@dataclass(frozen=True)
class RidgeErrors:
    """Errors of ridge regression on class indicators, and their derivatives by the log penalty of each block (B,)."""

    log_gcv: float
    log_gcv_slopes: Tensor
    log_scaled: float
    """Logarithm of the relative error of leave-one-out predictions with the best common scale; at most 0."""
    log_scaled_slopes: Tensor
    residual_dof: float
    """Residual degrees of freedom, perhaps estimated."""


def ridge_errors(
    moments: Moments,
    sizes: Sequence[int],
    logs: Sequence[float],
    *,
    intercept: bool = False,
    root: Tensor | None = None,
    exact: bool = False,
) -> RidgeErrors:
    """Errors with given penalties.

    Args:
        moments: Moments of N clips with M features; centered features if `intercept`.
        sizes: (B,), number of features of each block; their sum is M.
        logs: (B,), log penalty of each block.
        intercept: Whether the regression has an intercept, which is not penalized.
        root: `low_rank_root` of G, or None.
        exact: Whether the residual degrees of freedom are not estimated; see `residual_dof`.
    """
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    penalty = torch.tensor(logs, dtype=torch.float64).exp()[block]
    factor, _ = cholesky_with_jitter(with_diagonal(moments.gram, penalty))
    theta = torch.cholesky_solve(moments.sums, factor)
    solved = torch.cholesky_solve(penalty[:, None] * theta, factor)
    total, squares = moments.total, theta.square().sum(dim=1)
    targets = total - (float(moments.counts.square().sum()) / total if intercept else 0.0)  # |Y|^2
    product = float((moments.sums * theta).sum())  # <Y, H Theta>
    length = product - float((penalty * squares).sum())  # |H Theta|^2
    product_slope = -penalty * squares  # of each feature
    length_slope = -2 * penalty * (squares - (theta * solved).sum(dim=1))
    dof, dof_slope = residual_dof(factor, penalty, total - float(intercept), root, exact=exact)
    dof = max(dof, 1e-9 * total)

    def of_blocks(slope: Tensor) -> Tensor:
        return torch.zeros(len(sizes), dtype=torch.float64).index_add(0, block, slope)

    error = max(targets - 2 * product + length, 1e-12 * total)
    slope = (length_slope - 2 * product_slope) / error - 2 * dof_slope / dof
    log_gcv = math.log(error / total) - 2 * math.log(dof / total)
    log_scaled, scaled_slope = _scaled_error(
        targets, (product, product_slope), (length, length_slope), (1 - dof / total, -dof_slope / total)
    )
    return RidgeErrors(log_gcv, of_blocks(slope), log_scaled, of_blocks(scaled_slope), dof)


_WithSlope = tuple[float, Tensor]
"""A value and its derivatives by the log penalty of each feature (M,)."""


def _scaled_error(
    targets: float, product: _WithSlope, length: _WithSlope, leverage: _WithSlope
) -> _WithSlope:
    """Logarithm of the relative error of leave-one-out predictions with the best common scale.

    Args:
        targets: |Y|^2.
        product: <Y, H Theta>.
        length: |H Theta|^2.
        leverage: t.
    """
    product_value, product_slope = product
    length_value, length_slope = length
    t, t_slope = leverage
    inner = product_value - t * targets  # <Y, L> (1 - t)
    norm = length_value - 2 * t * product_value + t**2 * targets  # |L|^2 (1 - t)^2
    if min(inner, norm, targets) <= 0:  # the best scale is 0, or there is only one class
        return 0.0, torch.zeros_like(t_slope)
    inner_slope = product_slope - t_slope * targets
    norm_slope = length_slope - 2 * (t_slope * product_value + t * product_slope) + 2 * t * t_slope * targets
    explained = min(inner**2 / (targets * norm), 1 - 1e-12)
    explained_slope = explained * (2 * inner_slope / inner - norm_slope / norm)
    return math.log1p(-explained), -explained_slope / (1 - explained)


def choose_penalties(moments: Moments, sizes: Sequence[int], start: Sequence[float]) -> list[float]:
    """The penalty of each block at a local minimum of GCV, by a deterministic quasi-Newton search from `start` (B,)."""
    root = low_rank_root(moments.gram)

    def objective(logs: Tensor) -> tuple[float, Tensor]:
        errors = ridge_errors(moments, sizes, logs.tolist(), root=root)
        return errors.log_gcv, errors.log_gcv_slopes

    return _minimize(objective, start, tolerance=TOLERANCE)


def prior_penalties(moments: Moments, sizes: Sequence[int]) -> list[float]:
    """Center of the prior on the penalty of each block (B,): min(20, m) N / r, m features.

    r = tr(G_b)^2 / tr(G_b^2) is the effective number of dimensions in which the features of the block differ between
    clips (participation ratio), G_b their scatter. With few dimensions, errors of the features do not average out in
    distances, so the block gets a larger penalty.

    Args:
        moments: Moments of standardized features.
        sizes: (B,), number of features of each block; their sum is M.
    """
    penalties, start = [], 0
    for size in sizes:
        gram = moments.gram[start : start + size, start : start + size]
        start += size
        trace, squares = float(gram.trace()), float(gram.square().sum())
        dimensions = trace**2 / squares if squares > 0 else 1.0  # of constant features: not used
        penalties.append(min(_PRIOR_DIMENSIONS, float(size)) * max(moments.total, 1.0) / dimensions)
    return penalties


def select_penalties(moments: Moments, sizes: Sequence[int]) -> list[float]:
    """The penalty of each block that minimizes leave-one-out errors with a prior.

        J(lambda) = w (N - C) / 2 * (0.1 log GCV(lambda) + 0.9 log scaled error(lambda))
                    + sum_b (log lambda_b - log center_b)^2 / (2 * 3^2)
        w         = min(1, (C - 1) / 12)

    The errors are those of `ridge_errors`, the centers `prior_penalties`. With few clips, GCV alone chooses penalties
    that are too large, because they reduce the scale of uncertain predictions. The log error times half the number of
    clips replaces a negative log-likelihood. The first clip of a class has no information about the scatter within the
    class, so C clips do not count: with one clip per class the penalties are those of the prior, and with many clips
    the prior has no effect. The errors are means over C - 1 independent class indicators, so they are less certain with
    few classes, hence w. The search starts at the prior, so the penalties depend on the moments only.

    Args:
        moments: Moments of standardized features.
        sizes: (B,), number of features of each block; their sum is M.

    Returns:
        (B,)
    """
    centers = prior_penalties(moments, sizes)
    log_centers = torch.tensor(centers, dtype=torch.float64).log()
    classes = int((moments.counts > 0).sum())
    weight = (moments.total - classes) / 2 * min(1.0, (classes - 1) / _FULL_INDICATORS)
    root = low_rank_root(moments.gram) if weight > 0 else None

    def objective(logs: Tensor, *, exact: bool = False) -> tuple[float, Tensor]:
        difference = logs - log_centers
        prior = float(difference.square().sum()) / (2 * _PRIOR_DEVIATION**2)
        slope = difference / _PRIOR_DEVIATION**2
        if weight <= 0:
            return prior, slope
        errors = ridge_errors(moments, sizes, logs.tolist(), intercept=True, root=root, exact=exact)
        value = GCV_WEIGHT * errors.log_gcv + (1 - GCV_WEIGHT) * errors.log_scaled
        slopes = GCV_WEIGHT * errors.log_gcv_slopes + (1 - GCV_WEIGHT) * errors.log_scaled_slopes
        return weight * value + prior, weight * slopes + slope

    tolerance = TOLERANCE * max(weight, 1.0)
    penalties = _minimize(objective, centers, tolerance=tolerance)
    least_dof = moments.total - 1 - moments.width
    if weight <= 0 or root is not None or is_accurate(least_dof, moments.width):
        return penalties
    errors = ridge_errors(moments, sizes, [math.log(penalty) for penalty in penalties], intercept=True)
    if is_accurate(errors.residual_dof, moments.width):
        return penalties
    # The objective of one search is either estimated or exact: it must be continuous.
    return _minimize(functools.partial(objective, exact=True), centers, tolerance=tolerance)


def _minimize(objective: Objective, start: Sequence[float], *, tolerance: float) -> list[float]:
    """Minimize over log penalties by a quasi-Newton method from `start` (B,) until all slopes are below `tolerance`."""
    low, high = math.log(MIN_PENALTY), math.log(_MAX_PENALTY)
    logs = torch.tensor(start, dtype=torch.float64).log().clamp(low, high)
    value, slope = objective(logs)
    inverse_hessian: Tensor | None = None
    evaluations = 1
    while evaluations < _MAX_EVALUATIONS:
        at_bound = ((logs <= low) & (slope > 0)) | ((logs >= high) & (slope < 0))
        free = slope.masked_fill(at_bound, 0.0)
        if float(free.abs().max()) < tolerance:
            break
        direction = _direction(inverse_hessian, free, at_bound)
        length, accepted = 1.0, False
        while evaluations < _MAX_EVALUATIONS and not accepted and length > 1e-3:
            new_logs = (logs + length * direction).clamp(low, high)
            new_value, new_slope = objective(new_logs)
            accepted = new_value <= value + 1e-4 * float(slope @ (new_logs - logs))
            evaluations, length = evaluations + 1, length / 4
        if not accepted:
            break
        inverse_hessian = _bfgs(inverse_hessian, new_logs - logs, new_slope - slope)
        logs, value, slope = new_logs, new_value, new_slope
    return logs.exp().tolist()


def _direction(inverse_hessian: Tensor | None, free: Tensor, at_bound: Tensor) -> Tensor:
    """The search direction: quasi-Newton; at first, steepest descent by a factor of e."""
    if inverse_hessian is not None:
        direction = -(inverse_hessian @ free).masked_fill(at_bound, 0.0)
        if float(direction @ free) < 0:
            return direction * min(1.0, _MAX_STEP / float(direction.abs().max()))
    return -free / free.abs().max()


def _bfgs(inverse: Tensor | None, step: Tensor, change: Tensor) -> Tensor | None:
    """Update the estimate of the inverse Hessian; unchanged if the slope did not increase along the step."""
    along = float(step @ change)
    if along <= 1e-12:
        return inverse
    unit = torch.eye(len(step), dtype=torch.float64)
    if inverse is None:
        inverse = unit * along / float(change @ change)
    left = unit - torch.outer(step, change) / along
    return left @ inverse @ left.T + torch.outer(step, step) / along
