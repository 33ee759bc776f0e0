"""Shrinkage of a covariance estimate toward a multiple of the identity.

M features, N clips:   Sigma = (1 - rho) S + rho (tr S / M) I
"""

from __future__ import annotations

from torch import Tensor


def oas_weight(covariance: Tensor, samples: float) -> float:
    """rho of the oracle-approximating shrinkage for Gaussian clips, from 0 to 1.

    covariance (M, M) is the maximum-likelihood estimate from `samples` independent vectors. Source: Chen, Wiesel, Eldar
    & Hero, Shrinkage Algorithms for MMSE Covariance Estimation, IEEE TSP 2010, Eq. 23.

    >>> import torch
    >>> oas_weight(torch.eye(3, dtype=torch.float64), 10)
    1.0
    """
    width = len(covariance)
    squares, trace = float(covariance.square().sum()), float(covariance.trace())
    numerator = (1 - 2 / width) * squares + trace**2
    denominator = (samples + 1 - 2 / width) * (squares - trace**2 / width)
    return 1.0 if denominator <= 0 else min(1.0, numerator / denominator)


def shrunk(covariance: Tensor, rho: float) -> Tensor:
    """Sigma (M, M)."""
    result = (1 - rho) * covariance
    result.diagonal().add_(rho * covariance.trace() / len(covariance))
    return result
