"""Ridge regression with a penalty for each block of features, selected from the statistics alone.

N clips, M features in blocks b = 1..B, C classes, Lambda the diagonal matrix of the penalties of the features:

    P = (G + Lambda)^-1,   Theta = P Q
    E(Lambda) = |Y - H Theta|^2 = N - tr(Q^T Theta) - tr(Theta^T Lambda Theta)
    T(Lambda) = tr(H P H^T) = M - tr(Lambda P)
    GCV(Lambda) = (E / N) / (1 - T / N)^2

Both terms are functions of G, Q and N; so are their derivatives by lambda_b:

    dE / dlog lambda_b =  2 lambda_b sum_{j in b} <Theta_j, (P Lambda Theta)_j>
    dT / dlog lambda_b = -lambda_b sum_{j in b} (P_jj - sum_k lambda_k P_jk^2)    (see `residual_dof`)

A block without information about the classes gets such a large penalty that it has no effect. This is how the weight of
a noisy modality is reduced without access to clips.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from avcil.closed_form.moments import Moments
from avcil.closed_form.residual_dof import low_rank_root, residual_dof
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
_PRIOR_DEVIATION = 2.0
"""Standard deviation of the log penalty under the prior."""

Objective = Callable[[Tensor], tuple[float, Tensor]]
"""Maps log penalties (B,) to a value and its derivatives (B,)."""


def log_gcv(
    moments: Moments,
    sizes: Sequence[int],
    logs: Sequence[float],
    *,
    intercept: bool = False,
    root: Tensor | None = None,
) -> tuple[float, list[float]]:
    """log GCV and its derivatives by the log penalty of each block.

    Args:
        moments: Moments of N clips with M features; centered features if `intercept`.
        sizes: (B,), number of features of each block; their sum is M.
        logs: (B,), log penalty of each block.
        intercept: Whether the regression has an intercept, which is not penalized.
        root: `low_rank_root` of G, or None.
    """
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    penalty = torch.tensor(logs, dtype=torch.float64).exp()[block]
    factor, _ = cholesky_with_jitter(with_diagonal(moments.gram, penalty))
    theta = torch.cholesky_solve(moments.sums, factor)
    total = moments.total
    targets = total - (float(moments.counts.square().sum()) / total if intercept else 0.0)
    error = targets - float((moments.sums * theta).sum() + (penalty[:, None] * theta**2).sum())
    dof, dof_slope = residual_dof(factor, penalty, total - float(intercept), root)
    error, dof = max(error, 1e-12 * total), max(dof, 1e-9 * total)
    solved = torch.cholesky_solve(penalty[:, None] * theta, factor)
    error_slope = 2 * penalty * (theta * solved).sum(dim=1)
    slope = error_slope / error - 2 * dof_slope / dof  # by feature
    slopes = torch.zeros(len(sizes), dtype=torch.float64).index_add(0, block, slope)
    return math.log(error / total) - 2 * math.log(dof / total), slopes.tolist()


def choose_penalties(moments: Moments, sizes: Sequence[int], start: Sequence[float]) -> list[float]:
    """The penalty of each block at a local minimum of GCV, by a deterministic quasi-Newton search from `start` (B,)."""
    root = low_rank_root(moments.gram)

    def objective(logs: Tensor) -> tuple[float, Tensor]:
        value, slopes = log_gcv(moments, sizes, logs.tolist(), root=root)
        return value, torch.tensor(slopes, dtype=torch.float64)

    return _minimize(objective, start, tolerance=TOLERANCE)


def prior_penalties(moments: Moments, sizes: Sequence[int]) -> list[float]:
    """Center of the prior on the penalty of each block (B,): 20 N / r.

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
        penalties.append(_PRIOR_DIMENSIONS * max(moments.total, 1.0) / dimensions)
    return penalties


def select_penalties(moments: Moments, sizes: Sequence[int]) -> list[float]:
    """The penalty of each block that minimizes GCV with a prior.

        J(lambda) = (N - C) / 2 * log GCV(lambda) + sum_b (log lambda_b - log center_b)^2 / (2 * 2^2)

    The centers are `prior_penalties`. log GCV times half the number of clips replaces a negative log-likelihood. The
    first clip of a class has no information about the scatter within the class, so C clips do not count: with one clip
    per class the penalties are those of the prior, and with many clips the prior has no effect. The search starts at
    the prior, so the penalties depend on the moments only.

    Args:
        moments: Moments of standardized features.
        sizes: (B,), number of features of each block; their sum is M.

    Returns:
        (B,)
    """
    centers = prior_penalties(moments, sizes)
    log_centers = torch.tensor(centers, dtype=torch.float64).log()
    weight = (moments.total - float((moments.counts > 0).sum())) / 2
    root = low_rank_root(moments.gram) if weight > 0 else None

    def objective(logs: Tensor) -> tuple[float, Tensor]:
        difference = logs - log_centers
        prior = float(difference.square().sum()) / (2 * _PRIOR_DEVIATION**2)
        slope = difference / _PRIOR_DEVIATION**2
        if weight <= 0:
            return prior, slope
        value, slopes = log_gcv(moments, sizes, logs.tolist(), intercept=True, root=root)
        return weight * value + prior, weight * torch.tensor(slopes, dtype=torch.float64) + slope

    return _minimize(objective, centers, tolerance=TOLERANCE * max(weight, 1.0))


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
