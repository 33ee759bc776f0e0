"""Linear discriminant analysis from second moments, penalised; and what it says of a clip that it leaves out.

N clips, M features, C classes, W the within-class scatter (M, M), Lambda a penalty for each feature:

    K = (W + Lambda)^-1,   w_c = N K mu_c,   b_c = -N mu_c^T K mu_c / 2,   score_c = w_c^T h + b_c

With Lambda = 0 it is the classic discriminant with equal priors. Source of the penalised form: Hastie, Buja &
Tibshirani, Penalized Discriminant Analysis, Annals of Statistics 1995, where Lambda is that of a ridge regression
on class indicators. The mean of n_c clips is off by chance, so that clips lie farther from it than from the true
one by tr(K W) / (N - C) / n_c on average (Moran & Murphy, Applied Statistics 1979); `corrected` takes that off:

    b_c = -N mu_c^T K mu_c / 2 + N tr(K W) / (2 n_c (N - C))
"""

from __future__ import annotations

import torch
from torch import Tensor

from avcil.statistics.moments import Moments
from avcil.statistics.ridge import cholesky_with_jitter
from avcil.statistics.symmetric import mirror, with_diagonal


class Discriminant:
    """Weight (M, C) and bias (C,) of the moments under a penalty (M,), and the jitter that it took.

    >>> moments = Moments(1)
    >>> moments.grow(2)
    >>> moments.add(torch.tensor([[0.0], [2.0], [4.0], [6.0]]), torch.tensor([0, 0, 1, 1]))
    >>> two = Discriminant(moments, torch.zeros(1))
    >>> scores = torch.tensor([[3.0]], dtype=torch.float64) @ two.weight + two.bias
    >>> bool((scores[0, 0] - scores[0, 1]).abs() < 1e-12)  # half way between the means 1 and 5
    True
    """

    def __init__(self, moments: Moments, penalty: Tensor, *, corrected: bool = False) -> None:
        self.moments = moments
        within = moments.within_scatter()
        self._factor, self.jitter = cholesky_with_jitter(with_diagonal(within, penalty.double()))
        means = moments.means().T
        self.weight = moments.total * torch.cholesky_solve(means, self._factor)
        self.bias = -(means * self.weight).sum(dim=0) / 2
        self._correction = torch.zeros_like(self.bias)
        if corrected:
            spread = (torch.cholesky_inverse(self._factor) * within).sum()
            freedom = max(moments.total - moments.classes, 1.0)
            self._correction = moments.total * spread / (2 * freedom * moments.counts.clamp(min=1))
        self.bias = self.bias + self._correction

    def inverse(self) -> Tensor:
        """N K (M, M), by which N h^T K h is a clip's squared distance from the origin."""
        inverse = torch.cholesky_inverse(self._factor).mul_(self.moments.total)
        mirror(inverse)
        return inverse

    def leave_one_out(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Scores (n, C) and N h^T K h (n,) of clips that are in the moments, each by the discriminant without it.

        features (n, M), labels (n,); every label's class needs two clips or more. Exact for the same penalty (and, if
        corrected, for the same tr(K W) / (N - C)):
        without clip i, which is d away from its class's mean, W loses n_c / (n_c - 1) d d^T and the mean
        d / (n_c - 1).
        """
        features = features.double()
        means, total = self.moments.means(), self.moments.total
        count = self.moments.counts[labels]
        away = features - means[labels]
        inverse_means = self.weight.T / total
        inverse_self = torch.cholesky_solve(features.T, self._factor).T  # K h, (n, M)
        inverse_away = inverse_self - inverse_means[labels]  # K d
        grown = count / (count - 1)
        rank_one = grown / (
            1 - grown * (inverse_away * away).sum(dim=1)
        )  # K without i: K + rank_one K d d^T K
        along_means = inverse_away @ means.T
        along_self = (inverse_away * features).sum(dim=1)
        scores = features @ inverse_means.T + rank_one[:, None] * along_self[:, None] * along_means
        squares = (means * inverse_means).sum(dim=1) + rank_one[:, None] * along_means.square()
        scores = scores - squares / 2
        own = means[labels] - away / (count - 1)[:, None]
        inverse_own = inverse_means[labels] - inverse_away / (count - 1)[:, None]
        along_own = (inverse_away * own).sum(dim=1)
        own_score = (inverse_own * features).sum(dim=1) + rank_one * along_self * along_own
        own_score -= ((inverse_own * own).sum(dim=1) + rank_one * along_own.square()) / 2
        length = (inverse_self * features).sum(dim=1) + rank_one * along_self.square()
        correction = self._correction.repeat(len(labels), 1)
        correction[torch.arange(len(labels)), labels] *= grown  # one clip fewer
        return total * scores.scatter(1, labels[:, None], own_score[:, None]) + correction, total * length


def oddity(scores: Tensor, length: Tensor) -> Tensor:
    """Smallest squared distance from a class's mean over that from the origin, (B,), from 0 to 2 or so.

    scores (B, C) of a `Discriminant`, length (B,) = N h^T K h; with them N (h - mu_c)^T K (h - mu_c) is
    length - 2 score_c. A clip of a class that was learnt lies near one mean.
    """
    nearest = length - 2 * scores.max(dim=1).values
    return nearest / length.clamp(min=torch.finfo(length.dtype).tiny)
