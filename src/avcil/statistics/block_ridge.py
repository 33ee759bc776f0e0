"""Ridge regression with a penalty for each block of features, all chosen from the statistics alone.

N clips, M features in blocks b = 1..B, C classes, Lambda the diagonal matrix of each feature's penalty:

    P = (G + Lambda)^-1,   Theta = P Q
    E(Lambda) = |Y - H Theta|^2 = N - tr(Q^T Theta) - tr(Theta^T Lambda Theta)
    T(Lambda) = tr(H P H^T) = M - tr(Lambda P)
    GCV(Lambda) = (E / N) / (1 - T / N)^2

Both terms are functions of G, Q and N; so are their derivatives by lambda_b:

    dE / dlog lambda_b =  2 lambda_b sum_{j in b} <Theta_j, (P Lambda Theta)_j>
    dT / dlog lambda_b = -lambda_b sum_{j in b} (P_jj - sum_k lambda_k P_jk^2)

A block that says nothing of the classes gets a penalty so large that it is out; this is how a noisy modality is
weighed down without looking at any clip.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from avcil.statistics.moments import Moments
from avcil.statistics.ridge import cholesky_with_jitter

LOWEST, HIGHEST = 1e-1, 1e7
"""Penalties that are looked at."""
ROUNDS = 40
"""At most so many values of GCV are computed for one choice; about ten suffice."""
ENOUGH = 1e-4
"""Improvement of log GCV below which the search ends."""


def log_gcv(moments: Moments, sizes: Sequence[int], logs: Sequence[float]) -> tuple[float, list[float]]:
    """log GCV and its derivatives by each block's log penalty, `logs` (B,); `sizes` (B,) add up to M."""
    block = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    penalty = torch.tensor(logs, dtype=torch.float64).exp()[block]
    factor, _ = cholesky_with_jitter(moments.gram + torch.diag(penalty))
    inverse = torch.cholesky_inverse(factor)
    theta = inverse @ moments.sums
    total = moments.total
    error = total - float((moments.sums * theta).sum() + (penalty[:, None] * theta**2).sum())
    left = total - moments.width + float((penalty * inverse.diagonal()).sum())
    error, left = max(error, 1e-12 * total), max(left, 1e-9 * total)
    turned = inverse @ (penalty[:, None] * theta)
    by_feature_error = 2 * penalty * (theta * turned).sum(dim=1)
    by_feature_left = penalty * (inverse.diagonal() - inverse.square() @ penalty)
    slope = by_feature_error / error - 2 * by_feature_left / left
    slopes = torch.zeros(len(sizes), dtype=torch.float64).index_add(0, block, slope)
    return math.log(error / total) - 2 * math.log(left / total), slopes.tolist()


def choose_penalties(moments: Moments, sizes: Sequence[int], start: Sequence[float]) -> list[float]:
    """The penalty of each block that makes GCV smallest, found by quasi-Newton descent from `start` (B,).

    GCV need not have one minimum: the search goes down from where it starts, deterministically.
    """
    low, high = math.log(LOWEST), math.log(HIGHEST)
    logs = torch.tensor(start, dtype=torch.float64).log().clamp(low, high)
    curvature = torch.eye(len(sizes), dtype=torch.float64)  # of the inverse Hessian, by BFGS
    value, slope = _evaluate(moments, sizes, logs)
    rounds = 1
    while rounds < ROUNDS:
        at_bound = ((logs <= low) & (slope > 0)) | ((logs >= high) & (slope < 0))
        free = slope.masked_fill(at_bound, 0.0)
        direction = -(curvature @ free)
        direction = torch.where(at_bound, 0.0, direction)
        if float(direction @ free) >= 0:
            direction = -free
        direction = direction.clamp(-3, 3)  # a factor of 20 at most
        before, gain = value, 0.0
        length = 1.0
        while rounds < ROUNDS:
            reached = (logs + length * direction).clamp(low, high)
            new_value, new_slope = _evaluate(moments, sizes, reached)
            rounds += 1
            if new_value <= value + 1e-4 * float(slope @ (reached - logs)):
                curvature = _bfgs(curvature, reached - logs, new_slope - slope)
                logs, value, slope = reached, new_value, new_slope
                gain = before - value
                break
            length /= 4
            if length < 1e-3:
                break
        if gain < ENOUGH:
            break
    return logs.exp().tolist()


def _evaluate(moments: Moments, sizes: Sequence[int], logs: Tensor) -> tuple[float, Tensor]:
    value, slopes = log_gcv(moments, sizes, logs.tolist())
    return value, torch.tensor(slopes, dtype=torch.float64)


def _bfgs(inverse: Tensor, step: Tensor, change: Tensor) -> Tensor:
    """The inverse Hessian's next estimate; unchanged where the slope did not rise along the step."""
    along = float(step @ change)
    if along <= 1e-12:
        return inverse
    left = torch.eye(len(step), dtype=torch.float64) - torch.outer(step, change) / along
    return left @ inverse @ left.T + torch.outer(step, step) / along
