"""Linear discriminant analysis from moments, with penalties and shrunk class means.

N clips, M features, C classes, W the within-class scatter (M, M), Lambda a penalty for each feature, and mean_c the
expected mean of class c (`closed_form.mean_variance`; with psi infinite, the average of its clips):

    K = (W + Lambda)^-1,   w_c = N K mean_c,   b_c = -N mean_c^T K mean_c / 2,   score_c = w_c^T z + b_c

With Lambda = 0 and infinite psi, it is the classic discriminant with equal priors. Source of the penalized form:
Hastie, Buja & Tibshirani, Penalized Discriminant Analysis, Annals of Statistics 1995, where Lambda is that of a ridge
regression on class indicators.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from avcil.closed_form.mean_variance import expected_means
from avcil.closed_form.moments import Moments
from avcil.closed_form.ridge import cholesky_with_jitter
from avcil.closed_form.symmetric import inverse_of_cholesky, with_diagonal


class Discriminant:
    """Weight (M, C) and bias (C,), and the jitter of the Cholesky factorization.

    Args:
        moments: Moments of centered features if `psi` is finite.
        penalty: (M,)
        psi: (M,), prior variance of class means relative to the variance within classes; None: infinite.

    >>> moments = Moments(1)
    >>> moments.add_classes(2)
    >>> moments.add(torch.tensor([[0.0], [2.0], [4.0], [6.0]]), torch.tensor([0, 0, 1, 1]))
    >>> two = Discriminant(moments, torch.zeros(1))
    >>> scores = torch.tensor([[3.0]], dtype=torch.float64) @ two.weight + two.bias
    >>> bool((scores[0, 0] - scores[0, 1]).abs() < 1e-12)  # halfway between the means 1 and 5
    True
    """

    def __init__(self, moments: Moments, penalty: Tensor, psi: Tensor | None = None) -> None:
        self.moments, self.penalty = moments, penalty.double()
        self.psi = torch.full((moments.width,), torch.inf) if psi is None else psi
        self._factor, self.jitter = cholesky_with_jitter(
            with_diagonal(moments.within_scatter(), self.penalty)
        )
        self.means = self._expected(moments.means(), self.counts[:, None])
        self.weight = moments.total * torch.cholesky_solve(self.means.T, self._factor)
        self.bias = -(self.means.T * self.weight).sum(dim=0) / 2

    @property
    def counts(self) -> Tensor:
        """Number of clips of each class (C,)."""
        return self.moments.counts

    def _expected(self, averages: Tensor, counts: Tensor) -> Tensor:
        return averages if bool(self.psi.isinf().all()) else expected_means(averages, counts, self.psi)

    def inverse(self) -> Tensor:
        """N K (M, M); N z^T K z is the squared distance of a clip from the origin."""
        return inverse_of_cholesky(self._factor).mul_(self.moments.total)

    def background_inverse(self) -> Tensor:
        """N K_0 (M, M), with K_0 = (G + Lambda)^-1 and the scatter G of all clips about the origin.

        N z^T K_0 z is the squared distance of a clip from the origin under the covariance of all clips.
        """
        return inverse_of_cholesky(self.background_factor).mul_(self.moments.total)

    @cached_property
    def relative_inverse(self) -> Tensor:
        """N (K - K_0) (M, M), for `relative_distance`."""
        return self.inverse() - self.background_inverse()

    @cached_property
    def background_factor(self) -> Tensor:
        """Lower Cholesky factor (M, M) of G + Lambda."""
        return cholesky_with_jitter(with_diagonal(self.moments.gram, self.penalty))[0]

    def leave_one_out_background(self, features: Tensor) -> Tensor:
        """Leave-one-out values of N z^T K_0 z (n,) for clips of the moments.

        Without a clip, G loses N / (N - 1) z z^T.

        Args:
            features: z (n, M).
        """
        total = self.moments.total
        squares = (features * torch.cholesky_solve(features.T, self.background_factor).T).sum(dim=1)
        left = 1 - total / (total - 1) * squares  # above 0 up to rounding
        return total * squares / left.clamp(min=torch.finfo(squares.dtype).eps)

    def leave_one_out(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Leave-one-out scores, exact for the same penalty and psi.

        Without clip i, whose difference from its class average is d, W loses n_c / (n_c - 1) d d^T and the average
        loses d / (n_c - 1).

        Args:
            features: (n, M), clips that are part of the moments.
            labels: (n,), of classes with at least two clips.

        Returns:
            Scores (n, C) and N z^T K z (n,) of the discriminant without the clip.
        """
        z, total = features.double(), self.moments.total
        count = self.counts[labels]
        d = z - self.moments.means()[labels]
        k_z = torch.cholesky_solve(z.T, self._factor).T  # K z, (n, M)
        k_d = torch.cholesky_solve(d.T, self._factor).T
        factor = count / (count - 1)
        rank_one = factor / (1 - factor * (k_d * d).sum(dim=1))  # K without i: K + rank_one K d d^T K
        d_k_z = (k_d * z).sum(dim=1)
        d_k_means = k_d @ self.means.T
        scores = z @ (self.weight / total) + rank_one[:, None] * d_k_z[:, None] * d_k_means
        squares = -2 * self.bias / total + rank_one[:, None] * d_k_means.square()
        scores = scores - squares / 2
        left = (count - 1)[:, None]
        mean = self._expected(self.moments.means()[labels] - d / left, left)  # without i
        d_k_mean = (k_d * mean).sum(dim=1)
        score = (k_z * mean).sum(dim=1) + rank_one * d_k_z * d_k_mean
        k_mean = torch.cholesky_solve(mean.T, self._factor).T
        score -= ((k_mean * mean).sum(dim=1) + rank_one * d_k_mean.square()) / 2
        length = (k_z * z).sum(dim=1) + rank_one * d_k_z.square()
        return total * scores.scatter(1, labels[:, None], score[:, None]), total * length

    def gap_and_variance(self, weight: Tensor) -> tuple[float, float]:
        """Difference between the scores of two classes, and its variance, if clips are Gaussian about class means.

        Both are sums over classes. With one clip of each class, the total scatter replaces W.

        Args:
            weight: (M, C), of the scores.
        """
        moments = self.moments
        within_dof = moments.total - float((moments.counts > 0).sum())
        scatter = moments.within_scatter() if within_dof > 0 else moments.gram
        centered = weight - weight.mean(dim=1, keepdim=True)
        gap = float((centered * (self.means - self.means.mean(dim=0)).T).sum())
        variance = float((centered * (scatter @ centered)).sum()) / max(within_dof or moments.total, 1.0)
        return gap, variance


def relative_distance(scores: Tensor, length: Tensor, background: Tensor) -> Tensor:
    """Squared distance from the nearest class mean minus that from the origin under the covariance of all clips, (B,).

    Large for clips of unknown classes: they are far from all class means, but not from the mean of all clips.
    Source: Ren et al., "A simple fix to Mahalanobis distance for improving near-OOD detection", 2021.

    Args:
        scores: (B, C), from a `Discriminant`.
        length: (B,), N z^T K z.
        background: (B,), N z^T K_0 z.
    """
    return length - 2 * scores.max(dim=1).values - background


def nonconformity(scores: Tensor, length: Tensor) -> Tensor:
    """Smallest squared distance from a class mean divided by that from the origin, (B,); about 0 to 2.

    Models of formats 1 and 2 use it to detect unknown classes. The squared distance N (z - mean_c)^T K (z - mean_c) is
    length - 2 score_c, for the scores (B, C) of a `Discriminant` and length (B,) = N z^T K z.
    """
    nearest = length - 2 * scores.max(dim=1).values
    return nearest / length.clamp(min=torch.finfo(length.dtype).tiny)
