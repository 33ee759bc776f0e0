"""Residual degrees of freedom, N minus the effective number of parameters, and their derivatives.

N clips, M features, Lambda the diagonal matrix of the penalties, P = (G + Lambda)^-1:

    dof = N - tr(H P H^T) = N - M + tr(Lambda P),   d dof / d log lambda_j = lambda_j P_jj - lambda_j (P Lambda P)_jj

Computing the M x M inverse takes as long as three Cholesky factorizations, and more memory. So for more than `EXACT`
features, both values are estimated with R vectors v of random signs, w = Lambda^(1/2) v, u = P w (Girard, Numerische
Mathematik 1989):

    tr(Lambda P) ~ mean of w^T u,   the derivative ~ mean of w_j u_j - lambda_j u_j^2

The standard deviation of the estimate is below (2 M / R)^(1/2) clips: 18 for 10,000 features, which are used with tens
of thousands of clips. The signs are fixed, so the estimate is deterministic and its derivative is exactly the one
above.

With few clips and many features, this standard deviation can exceed the value, and the selected penalty would then be
much too small. So the inverse is computed if the estimate at the selected penalties is below `MIN_RATIO` standard
deviations. If the rank r of G is at most `MAX_RANK`, both values are computed exactly from a root F (r, M) with
G = F^T F and A = P F^T (M, r):

    tr(H P H^T) = sum of F^T * A,   the derivative is lambda_j |A_j|^2,   because P - P Lambda P = P G P
"""

from __future__ import annotations

import torch
from torch import Tensor

EXACT = 1000
"""Largest M for which the inverse is always computed."""
PROBES = 64
"""R."""
MIN_RATIO = 20.0
"""Smallest estimate that is used, in standard deviations."""
MAX_RANK = 512
"""Largest r for which the root of G is used; it is then faster than the Cholesky factorization of G + Lambda."""


def residual_dof(
    factor: Tensor, penalty: Tensor, clips: float, root: Tensor | None = None, *, exact: bool = False
) -> tuple[float, Tensor]:
    """Residual degrees of freedom and their derivatives by the log penalties (M,).

    Args:
        factor: (M, M), lower Cholesky factor of G + Lambda.
        penalty: (M,)
        clips: N.
        root: F (r, M), or None.
        exact: Whether to compute exact values also for more than `EXACT` features and without a root.

    >>> residual_dof(2 * torch.eye(1), torch.tensor([1.0]), 9.0)  # G = 3: 9 clips minus 3 / 4
    (8.25, tensor([0.1875]))
    """
    if root is not None:
        solved = torch.cholesky_solve(root.T, factor)
        return clips - float((root.T * solved).sum()), penalty * solved.square().sum(dim=1)
    diagonal, slope = (_exact if exact or len(penalty) <= EXACT else _estimated)(factor, penalty)
    return clips - len(penalty) + float(diagonal.sum()), slope


def accurate_residual_dof(factor: Tensor, penalty: Tensor, clips: float, root: Tensor | None) -> float:
    """Residual degrees of freedom, computed exactly if the estimate is not accurate; arguments as `residual_dof`."""
    dof, _ = residual_dof(factor, penalty, clips, root)
    if root is None and not is_accurate(dof, len(penalty)):
        dof, _ = residual_dof(factor, penalty, clips, exact=True)
    return dof


def is_accurate(dof: float, width: int) -> bool:
    """Whether an estimate for `width` features is at least `MIN_RATIO` of its standard deviations."""
    return width <= EXACT or dof >= MIN_RATIO * (2 * width / PROBES) ** 0.5


def low_rank_root(gram: Tensor) -> Tensor | None:
    """F (r, M) with F^T F = `gram` (M, M), by pivoted Cholesky; None if M is small or r is large."""
    if len(gram) <= EXACT:
        return None
    residual = gram.diagonal().clone()
    tolerance = 1e-12 * float(residual.max())
    rows = gram.new_zeros(MAX_RANK, len(gram))
    for rank in range(MAX_RANK):
        pivot = int(residual.argmax())
        if float(residual[pivot]) <= tolerance:
            return rows[:rank]
        row = (gram[pivot] - rows[:rank, pivot] @ rows[:rank]) / residual[pivot].sqrt()
        rows[rank] = row
        residual -= row.square()
    return None


def _exact(factor: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """The diagonal of Lambda P and the derivatives, (M,) each."""
    inverse = torch.cholesky_inverse(factor)
    diagonal = penalty * inverse.diagonal()
    return diagonal, diagonal - penalty * (inverse.square() @ penalty)


def _estimated(factor: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """As `_exact`, estimated with random signs."""
    draw = torch.Generator().manual_seed(0)
    signs = 2.0 * torch.randint(0, 2, (len(penalty), PROBES), generator=draw).to(penalty) - 1.0
    scaled = penalty.sqrt()[:, None] * signs
    solved = torch.cholesky_solve(scaled, factor)
    diagonal = (scaled * solved).mean(dim=1)
    return diagonal, diagonal - penalty * solved.square().mean(dim=1)
