"""Ridge regression with a penalty for each block of features, all chosen from the statistics alone.

N clips, M features in blocks b = 1..B, C classes, Lambda the diagonal matrix of each feature's penalty:

    P = (G + Lambda)^-1,   Theta = P Q
    E(Lambda) = |Y - H Theta|^2 = N - tr(Q^T Theta) - tr(Theta^T Lambda Theta)
    T(Lambda) = tr(H P H^T) = M - tr(Lambda P)
    GCV(Lambda) = (E / N) / (1 - T / N)^2

Both terms are functions of G, Q and N; so are their derivatives by lambda_b:

    dE / dlog lambda_b =  2 lambda_b sum_{j in b} <Theta_j, (P Lambda Theta)_j>
    dT / dlog lambda_b = -lambda_b sum_{j in b} (P_jj - sum_k lambda_k P_jk^2)    (see `freedom`)

A block that says nothing of the classes gets a penalty so large that it is out; this is how a noisy modality is
weighed down without looking at any clip.
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

LOWEST, HIGHEST = 1.0, 1e7
"""Penalties that are looked at, for features of deviation 1 or so. Below, with fewer clips than features, E and T
would be differences of nearly equal numbers."""
ROUNDS = 40
"""At most so many values of GCV are computed for one choice; about ten suffice."""
FLAT = 2e-3
"""Derivative of log GCV by a log penalty below which the search ends."""
LONGEST = 3.0
"""Largest change of a log penalty at once: a factor of 20."""


PRIOR_PENALTY = 1.0
"""Center of the prior on a penalty, for each clip: what suits few clips on every data set measured (docs/log.md)."""
PRIOR_DEVIATION = 2.0
"""Standard deviation of the logarithm of a penalty under that prior."""

Objective = Callable[[Tensor], tuple[float, Tensor]]
"""From log penalties (B,) to a value and its derivatives (B,)."""


def log_gcv(
    moments: Moments,
    sizes: Sequence[int],
    logs: Sequence[float],
    *,
    intercept: bool = False,
    root: Tensor | None = None,
) -> tuple[float, list[float]]:
    """log GCV and its derivatives by each block's log penalty.

    Args:
        moments: Of N clips with M features; centered features if `intercept`.
        sizes: (B,), features of each block; they add up to M.
        logs: (B,), logarithm of each block's penalty.
        intercept: Whether the regression also has a constant, which is not penalized.
        root: `low_rank_root` of G, where it has one.
    """
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    penalty = torch.tensor(logs, dtype=torch.float64).exp()[block]
    factor, _ = cholesky_with_jitter(with_diagonal(moments.gram, penalty))
    theta = torch.cholesky_solve(moments.sums, factor)
    total = moments.total
    targets = total - (float(moments.counts.square().sum()) / total if intercept else 0.0)
    error = targets - float((moments.sums * theta).sum() + (penalty[:, None] * theta**2).sum())
    left, by_feature_left = residual_dof(factor, penalty, total - float(intercept), root)
    error, left = max(error, 1e-12 * total), max(left, 1e-9 * total)
    turned = torch.cholesky_solve(penalty[:, None] * theta, factor)
    by_feature_error = 2 * penalty * (theta * turned).sum(dim=1)
    slope = by_feature_error / error - 2 * by_feature_left / left
    slopes = torch.zeros(len(sizes), dtype=torch.float64).index_add(0, block, slope)
    return math.log(error / total) - 2 * math.log(left / total), slopes.tolist()


def choose_penalties(moments: Moments, sizes: Sequence[int], start: Sequence[float]) -> list[float]:
    """The penalty of each block that minimizes GCV, found by quasi-Newton descent from `start` (B,).

    GCV may have several minima; the search is deterministic and goes down from `start`.
    """

    root = low_rank_root(moments.gram)

    def objective(logs: Tensor) -> tuple[float, Tensor]:
        value, slopes = log_gcv(moments, sizes, logs.tolist(), root=root)
        return value, torch.tensor(slopes, dtype=torch.float64)

    return _minimize(objective, start, flat=FLAT)


def select_penalties(moments: Moments, sizes: Sequence[int]) -> list[float]:
    """The penalty of each block that minimizes GCV with a prior, from the moments alone.

        J(lambda) = (N - C) / 2 * log GCV(lambda) + sum_b (log lambda_b - log N)^2 / (2 * 2^2)

    log GCV times half the number of clips plays the part of a negative log-likelihood. The first clip of a class says
    nothing about the scatter within it, so C clips do not count: with one clip for each class the penalties are those
    of the prior, and with many clips the prior has no weight. The search always starts at the prior, so the same
    moments give the same penalties whatever came before.

    Args:
        moments: Of standardized features.
        sizes: (B,), features of each block; they add up to M.

    Returns:
        One penalty for each block.
    """
    center = math.log(PRIOR_PENALTY * max(moments.total, 1.0))
    weight = (moments.total - float((moments.counts > 0).sum())) / 2
    root = low_rank_root(moments.gram) if weight > 0 else None

    def objective(logs: Tensor) -> tuple[float, Tensor]:
        away = logs - center
        prior = float(away.square().sum()) / (2 * PRIOR_DEVIATION**2)
        slope = away / PRIOR_DEVIATION**2
        if weight <= 0:
            return prior, slope
        value, slopes = log_gcv(moments, sizes, logs.tolist(), intercept=True, root=root)
        return weight * value + prior, weight * torch.tensor(slopes, dtype=torch.float64) + slope

    return _minimize(objective, [math.exp(center)] * len(sizes), flat=FLAT * max(weight, 1.0))


def _minimize(objective: Objective, start: Sequence[float], *, flat: float) -> list[float]:
    """Quasi-Newton descent over log penalties from `start` (B,) until every slope is below `flat`."""
    low, high = math.log(LOWEST), math.log(HIGHEST)
    logs = torch.tensor(start, dtype=torch.float64).log().clamp(low, high)
    value, slope = objective(logs)
    inverse_hessian: Tensor | None = None
    rounds = 1
    while rounds < ROUNDS:
        held = ((logs <= low) & (slope > 0)) | ((logs >= high) & (slope < 0))
        free = slope.masked_fill(held, 0.0)
        if float(free.abs().max()) < flat:
            break
        direction = _direction(inverse_hessian, free, held)
        length, accepted = 1.0, False
        while rounds < ROUNDS and not accepted and length > 1e-3:
            reached = (logs + length * direction).clamp(low, high)
            new_value, new_slope = objective(reached)
            accepted = new_value <= value + 1e-4 * float(slope @ (reached - logs))
            rounds, length = rounds + 1, length / 4
        if not accepted:
            break
        inverse_hessian = _bfgs(inverse_hessian, reached - logs, new_slope - slope)
        logs, value, slope = reached, new_value, new_slope
    return logs.exp().tolist()


def _direction(inverse_hessian: Tensor | None, free: Tensor, held: Tensor) -> Tensor:
    """Where to go: by the curvature known so far, at first a factor of e down the steepest slope."""
    if inverse_hessian is not None:
        direction = -(inverse_hessian @ free).masked_fill(held, 0.0)
        if float(direction @ free) < 0:
            return direction * min(1.0, LONGEST / float(direction.abs().max()))
    return -free / free.abs().max()


def _bfgs(inverse: Tensor | None, step: Tensor, change: Tensor) -> Tensor | None:
    """The inverse Hessian's next estimate; unchanged where the slope did not rise along the step."""
    along = float(step @ change)
    if along <= 1e-12:
        return inverse
    unit = torch.eye(len(step), dtype=torch.float64)
    if inverse is None:
        inverse = unit * along / float(change @ change)
    left = unit - torch.outer(step, change) / along
    return left @ inverse @ left.T + torch.outer(step, step) / along
