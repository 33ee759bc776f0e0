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
from collections.abc import Sequence

import torch
from torch import Tensor

from avcil.statistics.freedom import freedom_left
from avcil.statistics.moments import Moments
from avcil.statistics.ridge import cholesky_with_jitter
from avcil.statistics.symmetric import with_diagonal

LOWEST, HIGHEST = 1.0, 1e7
"""Penalties that are looked at, for features of deviation 1 or so. Below, with fewer clips than features, E and T
would be differences of nearly equal numbers."""
ROUNDS = 40
"""At most so many values of GCV are computed for one choice; about ten suffice."""
FLAT = 2e-3
"""Derivative of log GCV by a log penalty below which the search ends."""
LONGEST = 3.0
"""Largest change of a log penalty at once: a factor of 20."""


def log_gcv(moments: Moments, sizes: Sequence[int], logs: Sequence[float]) -> tuple[float, list[float]]:
    """log GCV and its derivatives by each block's log penalty, `logs` (B,); `sizes` (B,) add up to M."""
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    penalty = torch.tensor(logs, dtype=torch.float64).exp()[block]
    factor, _ = cholesky_with_jitter(with_diagonal(moments.gram, penalty))
    theta = torch.cholesky_solve(moments.sums, factor)
    total = moments.total
    error = total - float((moments.sums * theta).sum() + (penalty[:, None] * theta**2).sum())
    left, by_feature_left = freedom_left(factor, penalty, total)
    error, left = max(error, 1e-12 * total), max(left, 1e-9 * total)
    turned = torch.cholesky_solve(penalty[:, None] * theta, factor)
    by_feature_error = 2 * penalty * (theta * turned).sum(dim=1)
    slope = by_feature_error / error - 2 * by_feature_left / left
    slopes = torch.zeros(len(sizes), dtype=torch.float64).index_add(0, block, slope)
    return math.log(error / total) - 2 * math.log(left / total), slopes.tolist()


def choose_penalties(moments: Moments, sizes: Sequence[int], start: Sequence[float]) -> list[float]:
    """The penalty of each block that makes GCV smallest, found by quasi-Newton descent from `start` (B,).

    GCV need not have one minimum: the search goes down from where it starts, deterministically.
    """
    low, high = math.log(LOWEST), math.log(HIGHEST)
    logs = torch.tensor(start, dtype=torch.float64).log().clamp(low, high)
    value, slope = _evaluate(moments, sizes, logs)
    inverse_hessian: Tensor | None = None
    rounds = 1
    while rounds < ROUNDS:
        held = ((logs <= low) & (slope > 0)) | ((logs >= high) & (slope < 0))
        free = slope.masked_fill(held, 0.0)
        if float(free.abs().max()) < FLAT:
            break
        direction = _direction(inverse_hessian, free, held)
        length, accepted = 1.0, False
        while rounds < ROUNDS and not accepted and length > 1e-3:
            reached = (logs + length * direction).clamp(low, high)
            new_value, new_slope = _evaluate(moments, sizes, reached)
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


def _evaluate(moments: Moments, sizes: Sequence[int], logs: Tensor) -> tuple[float, Tensor]:
    value, slopes = log_gcv(moments, sizes, logs.tolist())
    return value, torch.tensor(slopes, dtype=torch.float64)


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
