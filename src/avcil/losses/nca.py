"""NCA loss: neighborhood components analysis on the scores of a proxy head.

N clips, C classes. Source: PODNet (ECCV 2020) and AFC (CVPR 2022). In the published code of both, the margin is
subtracted from all classes, so that it cancels; `nca_loss` omits it. `nca_margin_loss` is the equation of the paper.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nca_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """-s'_y + log(1 + sum over j != y of exp(s'_j)), s' = s - max_j s_j, of each clip (N,); logits s (N, C).

    Unlike in cross-entropy, the sum contains 1 instead of the true class, so the shift by the largest score changes the
    value.

    >>> import torch
    >>> round(float(nca_loss(torch.tensor([[2.0, 2.0, 2.0]]), torch.tensor([0]))), 4)
    1.0986
    """
    shifted = logits - logits.max(dim=1, keepdim=True).values
    positive = shifted.gather(1, labels[:, None])  # (N, 1)
    others = shifted.exp().scatter(1, labels[:, None], 1.0)
    return (others.sum(dim=1).log()[:, None] - positive)[:, 0]


def nca_margin_loss(logits: Tensor, labels: Tensor, *, margin: Tensor | float) -> Tensor:
    """max(0, m - s_y + log(sum over j != y of exp(s_j))) of each clip (N,); logits s (N, C), margin m.

    With scores multiplied by eta, m is eta times the margin of the paper. With one class, the loss is 0.

    >>> round(float(nca_margin_loss(torch.tensor([[2.0, 2.0, 2.0]]), torch.tensor([0]), margin=0.5)), 4)
    1.1931
    """
    positive = logits.gather(1, labels[:, None])[:, 0]
    others = logits.scatter(1, labels[:, None], torch.finfo(logits.dtype).min).logsumexp(dim=1)
    return (margin - positive + others).clamp(min=0)
