"""Discriminant analysis of the leave-one-out predictions of ridge regression on class indicators.

N clips, M features, C classes, n_c clips of class c, Lambda a penalty for each feature. y (C,) of a clip is
1 / sqrt(n_c) at its class c and 0 elsewhere, so the columns of Y (N, C) are orthonormal. From the moments alone:

    Theta = (G + Lambda)^-1 Z^T Y                        predictions: p(z) = Theta^T z
    R = Y^T Z Theta,   E = Theta^T Lambda Theta
    t = T / N                                            the mean leverage; T is the effective number of parameters
    A = (R - t I) / (1 - t)                              Y^T P
    B = (R - E - 2 t R + t^2 I) / (1 - t)^2              P^T P

P (N, C) has the leave-one-out predictions (Z Theta - t Y) / (1 - t), where each clip has the mean leverage as in
generalized cross-validation. A shows which differences between classes the features predict: its eigenvalues are near 1
for those that are predicted well, and 0 or less for those that are not. With its positive part A+, class c has the mean
mu_c = A+ y and all classes have the covariance V / N:

    V = B - A+^2 + I / N
    score_c = N mu_c^T V^-1 p(z) - N mu_c^T V^-1 mu_c / 2

Directions in feature space that only fit the learned clips thus have no influence. Sources: Hastie, Tibshirani & Buja,
Flexible discriminant analysis by optimal scoring, JASA 1994 (discriminant analysis of fitted values); Breiman &
Friedman, Predicting multivariate responses in multiple linear regression, JRSS B 1997 (generalized cross-validation of
directions in the space of responses).
"""

from __future__ import annotations

import torch
from torch import Tensor

from avcil.closed_form.discriminant import Discriminant
from avcil.closed_form.residual_dof import accurate_residual_dof, low_rank_root


class PredictionDiscriminant:
    """Weight (M, C) and bias (C,); zeros if the features predict nothing.

    Args:
        discriminant: The discriminant of the same clips, with the same penalties; its features are centered.

    Attributes:
        map: (C, C), of predictions to scores.
    """

    def __init__(self, discriminant: Discriminant) -> None:
        moments, penalty = discriminant.moments, discriminant.penalty
        self._clips = moments.total
        self._factor = discriminant.background_factor  # of G + Lambda
        self._scale = moments.counts.clamp(min=1).rsqrt() * (moments.counts > 0)
        self._theta = torch.cholesky_solve(moments.sums * self._scale, self._factor)
        fit = (moments.sums * self._scale).T @ self._theta
        fit = (fit + fit.T) / 2
        shrinkage = (penalty[:, None] * self._theta).T @ self._theta
        unit = torch.eye(len(fit), dtype=fit.dtype)
        root = low_rank_root(moments.gram)
        left = accurate_residual_dof(self._factor, penalty, self._clips - 1, root)
        left = max(left / self._clips, torch.finfo(fit.dtype).eps)  # 1 - t
        leverage = 1 - left
        values, vectors = torch.linalg.eigh((fit - leverage * unit) / left)
        agreement = (vectors * values.clamp(min=0)) @ vectors.T
        second_moment = (fit - shrinkage - 2 * leverage * fit + leverage**2 * unit) / left**2
        covariance = second_moment - agreement @ agreement + unit / self._clips
        means = agreement * self._scale  # (C, C), a column for each class
        self.map = self._clips * torch.linalg.solve(covariance, means)
        self.weight = self._theta @ self.map
        self.bias = -(means * self.map).sum(dim=0) / 2

    def leave_one_out(self, features: Tensor, labels: Tensor) -> Tensor:
        """Leave-one-out scores (n, C): exact predictions without the clip, with A+ and V of all clips.

        Args:
            features: z (n, M), clips that are part of the moments.
            labels: (n,)
        """
        solved = torch.cholesky_solve(features.T, self._factor).T
        leverage = ((features * solved).sum(dim=1) + 1 / self._clips)[:, None]
        own = torch.zeros(len(labels), len(self._scale), dtype=features.dtype)
        own[torch.arange(len(labels)), labels] = self._scale[labels]
        predictions = (features @ self._theta - leverage * own) / (
            1 - leverage
        )  # the mean of y has no influence
        return predictions @ self.map + self.bias
