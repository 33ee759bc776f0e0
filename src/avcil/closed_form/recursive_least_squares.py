"""Recursive least squares: the inverse is updated instead of the sums.

n clips at a time, M features, C classes, penalty lambda:

    R <- R - R H^T (I + H R H^T)^-1 H R,   Theta <- Theta + R H^T (Y - H Theta);   R_0 = I / lambda, Theta_0 = 0

For any clips in any order, R = (G + lambda I)^-1 and Theta = R Q: ridge regression with a fixed penalty. An update
solves a system of size n instead of M. Source: ACIL (Zhuang et al., NeurIPS 2022).
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from avcil.closed_form.class_statistics import ClassStatistics
from avcil.closed_form.symmetric import add_product

BATCH = 256
"""Clips per update."""


class RecursiveRidge(ClassStatistics):
    """R (M, M) and Theta (M, C).

    Args:
        width: M.
        ridge: lambda.
    """

    AXES: ClassVar = {"inverse": "MM", "theta": "MC"}
    inverse: Tensor
    theta: Tensor

    def __init__(self, width: int, ridge: float) -> None:
        super().__init__(width)
        self.inverse.diagonal().fill_(1 / ridge)

    def add(self, features: Tensor, targets: Tensor) -> None:
        """Add clips: features (n, M), targets (n, C)."""
        self._update(features, targets, 1)

    def remove(self, features: Tensor, targets: Tensor) -> None:
        """Remove clips that were added with these targets."""
        self._update(features, targets, -1)

    def _update(self, features: Tensor, targets: Tensor, sign: int) -> None:
        for h, y in zip(features.split(BATCH), targets.split(BATCH), strict=True):
            h_r = h @ self.inverse  # H R
            inner = sign * torch.eye(len(h), dtype=torch.float64) + h_r @ h.T
            add_product(self.inverse, h_r, torch.linalg.solve(inner, h_r), factor=-1)
            self.theta = self.theta + sign * (self.inverse @ (h.T @ (y - h @ self.theta)))

    def leave_one_out_residual(self, features: Tensor, targets: Tensor) -> Tensor:
        """Leave-one-out residuals (n, C) of clips that were added."""
        leverage = ((features @ self.inverse) * features).sum(dim=1, keepdim=True)
        return (targets - features @ self.theta) / (1 - leverage).clamp(min=1e-6)
