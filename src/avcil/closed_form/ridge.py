"""Ridge regression from statistics, and its penalty chosen without looking back.

N clips seen so far with features H (N, M) and one-hot targets Y (N, C); n clips of the current step; penalty
lambda:

    Theta(lambda) = (G + lambda I)^-1 Q,   G = H^T H, Q = H^T Y

which is joint ridge regression on all clips, whatever their order. Three ways to judge a penalty:

    generalized cross-validation, over all clips ever seen, from G, Q and N alone (Golub, Heath & Wahba 1979):
        GCV(lambda) = (1/N) |Y - H Theta|^2 / (1 - tr(A) / N)^2,   tr(A) = sum_j g_j / (g_j + lambda)
        |Y - H Theta|^2 = N - 2 tr(Theta^T Q) + tr(Theta^T G Theta);   g_j: eigenvalues of G
    leave-one-out on the current step's clips i, exact for the model of all clips (Allen 1974):
        e_i = (y_i - h_i Theta) / (1 - h_i (G + lambda I)^-1 h_i^T)
    hold-out: Theta fitted to the old statistics and a part of the current step, asked about the other part (as
    RanPAC does, McDonnell et al., NeurIPS 2023)
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.moments import Moments
from avcil.closed_form.symmetric import with_diagonal
from avcil.errors import AvcilError

RIDGES: tuple[float, ...] = tuple(10 ** (half / 2) for half in range(-8, 13))
"""Penalties to choose from: 10^-4 to 10^6 in half decades."""
RANK_TOLERANCE = 1e-12
"""Of the largest eigenvalue: below it an eigenvalue is rounding."""
LARGEST_JITTER = 1e-4
"""Of the mean diagonal element: beyond it a matrix is not positive definite but wrong."""


def cholesky_with_jitter(matrix: Tensor) -> tuple[Tensor, float]:
    """The lower Cholesky factor of a symmetric matrix, and what had to be added to its diagonal for it.

    The addition is 0 for every well-conditioned matrix, else the smallest of 10^-14, 10^-13, ... times the mean
    diagonal element that suffices. AvcilError where 10^-4 does not.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    jitter, unit = 0.0, float(matrix.diagonal().mean())
    relative = 1e-14
    while int(failed):
        if relative > LARGEST_JITTER or not unit > 0:
            raise AvcilError("the statistics are not positive definite. Choose a larger penalty")
        jitter = relative * unit
        factor, failed = torch.linalg.cholesky_ex(
            matrix + jitter * torch.eye(len(matrix), dtype=matrix.dtype)
        )
        relative *= 10
    return factor, jitter


class RidgeFit:
    """Theta (M, C) of one penalty, and the jitter it took.

    >>> moments = Moments(1)
    >>> moments.grow(1)
    >>> moments.add(torch.tensor([[2.0]]), torch.tensor([0]))
    >>> round(RidgeFit(moments, 1.0).theta.item(), 12)  # 2 / (4 + 1)
    0.4
    """

    def __init__(self, moments: Moments, ridge: float) -> None:
        self._factor, self.jitter = cholesky_with_jitter(with_diagonal(moments.gram, ridge))
        self.theta = torch.cholesky_solve(moments.sums, self._factor)

    def leave_one_out(self, features: Tensor, labels: Tensor) -> Tensor:
        """What the model without clip i says of clip i: scores (n, C) of clips that are part of the statistics."""
        half = torch.linalg.solve_triangular(self._factor, features.double().T, upper=False)
        return _left_out(features.double() @ self.theta, half.square().sum(dim=0)[:, None], labels)


def _left_out(scores: Tensor, leverage: Tensor, labels: Tensor) -> Tensor:
    """Scores (n, C) of clips by the models without each, from those of the model with all and leverages (n, 1)."""
    targets = F.one_hot(labels, scores.shape[1]).double()
    return targets - (targets - scores) / (1 - leverage).clamp(min=1e-6)


class RidgePath:
    """Ridge regression for every penalty at once, by one eigendecomposition of G."""

    def __init__(self, moments: Moments) -> None:
        values, self.vectors = torch.linalg.eigh(moments.gram)
        self.values = values.clamp(min=0)
        self.projected = self.vectors.T @ moments.sums
        self.total = moments.total
        self._fit_parts()

    def _fit_parts(self) -> None:
        """What GCV needs, apart by eigenvector, so that nothing cancels where lambda is small."""
        alive = self.values > RANK_TOLERANCE * self.values.max()
        self._alive_values = self.values[alive]
        self._explained = (self.projected[alive] ** 2).sum(dim=1) / self._alive_values
        self._dimensions_left = max(self.total - int(alive.sum()), 0.0)
        # With as many clips as dimensions the features explain every label: what remains is rounding.
        left = self.total - float(self._explained.sum())
        self._unexplained = max(left, 0.0) if self._dimensions_left else 0.0

    def gcv(self, ridge: float) -> float:
        """Generalised cross-validation's squared error per clip."""
        kept = ridge / (self._alive_values + ridge)
        error = (self._unexplained + (self._explained * kept**2).sum()) / self.total
        residual_dof = (self._dimensions_left + kept.sum()) / self.total
        return float(error / residual_dof**2)

    def leave_one_out(self, features: Tensor, labels: Tensor, ridge: float) -> Tensor:
        """What the model without clip i says of clip i: scores (n, C) of clips that are part of the statistics."""
        turned = features.double() @ self.vectors
        leverage = (turned**2 / (self.values + ridge)).sum(dim=1, keepdim=True)
        scores = turned @ (self.projected / (self.values + ridge)[:, None])
        return _left_out(scores, leverage, labels)

    def leave_one_out_error(self, features: Tensor, labels: Tensor, ridge: float) -> float:
        """Its squared error per clip."""
        scores = self.leave_one_out(features, labels, ridge)
        return float((F.one_hot(labels, scores.shape[1]) - scores).square().sum(dim=1).mean())

    def scores(self, features: Tensor, ridge: float) -> Tensor:
        """Scores (n, C) of any clips."""
        return (features.double() @ self.vectors) @ (self.projected / (self.values + ridge)[:, None])


def hold_out_error(
    moments: Moments, features: Tensor, labels: Tensor, ridges: Sequence[float]
) -> list[float]:
    """Squared error per clip on every fifth of the current step's clips of each class, for each penalty.

    `moments`: statistics with the current step, whose clips are given. Which of them are held out depends on their
    features alone, not on the order in which they came.
    """
    held = held_out(features, labels)
    path = RidgePath(moments.without(features[held], labels[held]))
    targets = F.one_hot(labels[held], moments.classes)
    return [
        float((targets - path.scores(features[held], ridge)).square().sum(dim=1).mean()) for ridge in ridges
    ]


def held_out(features: Tensor, labels: Tensor) -> Tensor:
    """Which fifth (n,) of each class is held out, at least one clip of each class that has two."""
    held = torch.zeros(len(labels), dtype=torch.bool)
    key = torch.frac(features.double().sum(dim=1) * 1009)  # looks random, and goes with the clip
    for label in labels.unique():
        own = (labels == label).nonzero()[:, 0]
        count = max(1, len(own) // 5) if len(own) > 1 else 0
        held[own[key[own].argsort()[:count]]] = True
    return held
