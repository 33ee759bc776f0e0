"""Ridge regression from statistics, and selection of its penalty.

N clips learned so far with features H (N, M) and one-hot targets Y (N, C); n clips of the current step; penalty
lambda:

    Theta(lambda) = (G + lambda I)^-1 Q,   G = H^T H, Q = H^T Y

which is joint ridge regression on all clips, in any order. Three criteria for a penalty:

    generalized cross-validation on all clips, from G, Q and N alone (Golub, Heath & Wahba 1979):
        GCV(lambda) = (1/N) |Y - H Theta|^2 / (1 - tr(A) / N)^2,   tr(A) = sum_j g_j / (g_j + lambda)
        |Y - H Theta|^2 = N - 2 tr(Theta^T Q) + tr(Theta^T G Theta);   g_j: eigenvalues of G
    leave-one-out on the clips i of the current step, exact for the model of all clips (Allen 1974):
        e_i = (y_i - h_i Theta) / (1 - h_i (G + lambda I)^-1 h_i^T)
    hold-out: Theta is fitted to the old statistics and a part of the current step, and evaluated on the other part
    (as in RanPAC, McDonnell et al., NeurIPS 2023)
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
"""Candidate penalties: 10^-4 to 10^6, two per decade."""
_RANK_TOLERANCE = 1e-12
"""Eigenvalues below this fraction of the largest one are rounding errors."""
MAX_JITTER = 1e-4
"""Relative to the mean diagonal element."""


def cholesky_with_jitter(matrix: Tensor) -> tuple[Tensor, float]:
    """The lower Cholesky factor of a symmetric matrix, and the jitter added to its diagonal.

    The jitter is 0 for well-conditioned matrices; otherwise the smallest sufficient one of 10^-14, 10^-13, ... times
    the mean diagonal element.

    Raises:
        AvcilError: A relative jitter of `MAX_JITTER` is not sufficient.
    """
    factor, failed = torch.linalg.cholesky_ex(matrix)
    jitter, unit = 0.0, float(matrix.diagonal().mean())
    relative = 1e-14
    while int(failed):
        if relative > MAX_JITTER or not unit > 0:
            raise AvcilError("the statistics are not positive definite. Choose a larger penalty")
        jitter = relative * unit
        factor, failed = torch.linalg.cholesky_ex(
            matrix + jitter * torch.eye(len(matrix), dtype=matrix.dtype)
        )
        relative *= 10
    return factor, jitter


class RidgeFit:
    """Theta (M, C) for one penalty, and the jitter of the Cholesky factorization.

    >>> moments = Moments(1)
    >>> moments.add_classes(1)
    >>> moments.add(torch.tensor([[2.0]]), torch.tensor([0]))
    >>> round(RidgeFit(moments, 1.0).theta.item(), 12)  # 2 / (4 + 1)
    0.4
    """

    def __init__(self, moments: Moments, ridge: float) -> None:
        self._factor, self.jitter = cholesky_with_jitter(with_diagonal(moments.gram, ridge))
        self.theta = torch.cholesky_solve(moments.sums, self._factor)

    def leave_one_out(self, features: Tensor, labels: Tensor) -> Tensor:
        """Leave-one-out scores (n, C) of clips that are part of the statistics."""
        half = torch.linalg.solve_triangular(self._factor, features.double().T, upper=False)
        return _left_out(features.double() @ self.theta, half.square().sum(dim=0)[:, None], labels)


def _left_out(scores: Tensor, leverage: Tensor, labels: Tensor) -> Tensor:
    """Leave-one-out scores (n, C), from scores of the full model and leverages (n, 1)."""
    targets = F.one_hot(labels, scores.shape[1]).double()
    return targets - (targets - scores) / (1 - leverage).clamp(min=1e-6)


class RidgePath:
    """Ridge regression for any penalty, from one eigendecomposition of G."""

    def __init__(self, moments: Moments) -> None:
        values, self.vectors = torch.linalg.eigh(moments.gram)
        self.values = values.clamp(min=0)
        self.projected = self.vectors.T @ moments.sums
        self.total = moments.total
        self._fit_parts()

    def _fit_parts(self) -> None:
        """Terms of GCV by eigenvector, which avoids cancellation for small lambda."""
        is_nonzero = self.values > _RANK_TOLERANCE * self.values.max()
        self._nonzero_values = self.values[is_nonzero]
        self._explained = (self.projected[is_nonzero] ** 2).sum(dim=1) / self._nonzero_values
        self._null_dimensions = max(self.total - int(is_nonzero.sum()), 0.0)
        # With as many clips as dimensions, the features explain all labels; the difference is a rounding error.
        difference = self.total - float(self._explained.sum())
        self._unexplained = max(difference, 0.0) if self._null_dimensions else 0.0

    def gcv(self, ridge: float) -> float:
        """The generalized cross-validation error per clip."""
        residual = ridge / (self._nonzero_values + ridge)
        error = (self._unexplained + (self._explained * residual**2).sum()) / self.total
        residual_dof = (self._null_dimensions + residual.sum()) / self.total
        return float(error / residual_dof**2)

    def leave_one_out(self, features: Tensor, labels: Tensor, ridge: float) -> Tensor:
        """Leave-one-out scores (n, C) of clips that are part of the statistics."""
        rotated = features.double() @ self.vectors
        leverage = (rotated**2 / (self.values + ridge)).sum(dim=1, keepdim=True)
        scores = rotated @ (self.projected / (self.values + ridge)[:, None])
        return _left_out(scores, leverage, labels)

    def leave_one_out_error(self, features: Tensor, labels: Tensor, ridge: float) -> float:
        """Mean squared leave-one-out error of the clips."""
        scores = self.leave_one_out(features, labels, ridge)
        return float((F.one_hot(labels, scores.shape[1]) - scores).square().sum(dim=1).mean())

    def scores(self, features: Tensor, ridge: float) -> Tensor:
        """Scores (n, C) of any clips."""
        return (features.double() @ self.vectors) @ (self.projected / (self.values + ridge)[:, None])


def hold_out_error(
    moments: Moments, features: Tensor, labels: Tensor, ridges: Sequence[float]
) -> list[float]:
    """Mean squared error on held-out clips of the current step, for each penalty.

    Args:
        moments: Statistics that include the current step.
        features: (n, M), clips of the current step; see `held_out` for the choice.
        labels: (n,)
        ridges: Penalties.
    """
    held = held_out(features, labels)
    path = RidgePath(moments.without(features[held], labels[held]))
    targets = F.one_hot(labels[held], moments.classes)
    return [
        float((targets - path.scores(features[held], ridge)).square().sum(dim=1).mean()) for ridge in ridges
    ]


def held_out(features: Tensor, labels: Tensor) -> Tensor:
    """A mask (n,) of a fifth of the clips of each class, at least one if it has two.

    It depends on the features, not on the order of the clips.
    """
    held = torch.zeros(len(labels), dtype=torch.bool)
    key = torch.frac(features.double().sum(dim=1) * 1009)  # a pseudo-random number for each clip
    for label in labels.unique():
        rows = (labels == label).nonzero()[:, 0]
        count = max(1, len(rows) // 5) if len(rows) > 1 else 0
        held[rows[key[rows].argsort()[:count]]] = True
    return held
