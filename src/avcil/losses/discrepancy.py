"""Discrepancy distillation: features that are important for the teacher's loss change less.

N clips, D width, L distilled layers. Source: AFC (CVPR 2022), applied to audio-visual features as in AV-CIL's release.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def importance_weights(norms: Tensor) -> Tensor:
    """w_l = I_l / sum_k I_k for each clip, from norms I (N, L) of the teacher's gradients with respect to its layers.

    >>> importance_weights(torch.tensor([[1.0, 3.0], [0.0, 0.0]])).tolist()
    [[0.25, 0.75], [0.0, 0.0]]
    """
    # A clip for which no layer is important has zero weights.
    return norms / norms.sum(dim=1, keepdim=True).clamp_min(torch.finfo(norms.dtype).tiny)


def discrepancy(feature: Tensor, teacher_feature: Tensor, weight: Tensor | None = None) -> Tensor:
    """(1/N) sum_i w_i ||hat(l_i) - hat(l_i^old)||_2, scalar, from features (N, D) and weights (N,), or 1.

    Zero with zero gradient for an unchanged model: distances below 64 eps count as 0, since their gradient would be a
    unit vector in the direction of the rounding error.

    >>> x, y = torch.tensor([[1.0, 0.0], [0.0, 2.0]]), torch.tensor([[0.0, 1.0], [0.0, 1.0]])
    >>> round(float(discrepancy(x, y)), 4), round(float(discrepancy(x, y, torch.tensor([0.5, 0.1]))), 4)
    (0.7071, 0.3536)
    """
    difference = F.normalize(feature, dim=1) - F.normalize(teacher_feature, dim=1)
    distance = torch.linalg.vector_norm(difference, dim=1)  # (N,)
    distance = distance * (distance > 64 * torch.finfo(distance.dtype).eps)
    return (distance if weight is None else weight * distance).mean()
