"""Recursive least squares: the inverse is updated instead of the sums.

n clips at a time, M features, C classes, penalty lambda:

    R <- R - R H^T (I + H R H^T)^-1 H R,   Theta <- Theta + R H^T (Y - H Theta);   R_0 = I / lambda, Theta_0 = 0

For any clips in any order, R = (G + lambda I)^-1 and Theta = R Q: ridge regression with a fixed penalty. An update
solves a system of size n instead of M. Source: ACIL (Zhuang et al., NeurIPS 2022).
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.symmetric import add_product, packed, unpacked
from avcil.errors import InputError

BATCH = 256
"""Clips per update."""


class RecursiveRidge:
    """R (M, M) and Theta (M, C), float64."""

    def __init__(self, width: int, ridge: float) -> None:
        self.inverse = torch.eye(width, dtype=torch.float64) / ridge
        self.theta = torch.zeros(width, 0, dtype=torch.float64)

    @property
    def classes(self) -> int:
        """C"""
        return self.theta.shape[1]

    @property
    def bytes(self) -> int:
        """Size in memory: 8 (M M + M C) bytes."""
        return 8 * (self.inverse.numel() + self.theta.numel())

    def add_classes(self, count: int) -> None:
        """Add `count` classes."""
        self.theta = F.pad(self.theta, (0, count))

    def remove_class(self, number: int) -> None:
        """Remove class `number`; the numbers of later classes decrease by 1."""
        self.theta = self.theta[:, torch.arange(self.classes) != number]

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

    def tensors(self) -> dict[str, Tensor]:
        """The tensors to save; only the upper triangle of R."""
        return {"inverse": packed(self.inverse), "theta": self.theta}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> RecursiveRidge:
        """Restore from `tensors`; InputError if the shapes or dtypes are inconsistent."""
        inverse, theta = (tensors.get(name, torch.empty(0)) for name in ("inverse", "theta"))
        width = len(theta)
        fits = theta.ndim == 2 and inverse.shape == (width * (width + 1) // 2,)
        if not fits or any(part.dtype != torch.float64 for part in (inverse, theta)):
            raise InputError(
                f"the saved tensors are inconsistent: inverse {tuple(inverse.shape)}, theta {tuple(theta.shape)}"
            )
        new = cls(0, 1.0)
        new.inverse, new.theta = unpacked(inverse, width), theta.clone()
        return new
