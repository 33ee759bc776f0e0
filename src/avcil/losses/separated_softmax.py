"""Separated softmax: cross-entropy of new clips over new classes, and of exemplars over old classes.

N clips of a batch (the new ones first), C classes, the K_old old ones first. Source: SS-IL (ICCV 2021), as in
AV-CIL.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def separated_softmax(logits: Tensor, labels: Tensor, *, new_count: int, known: int) -> Tensor:
    """Cross-entropy of the first `new_count` rows over classes >= `known`, of the rest over classes < `known`.

    logits (N, C), labels (N,); scalar: [n_c CE(z[:, K_old:], new) + n_e CE(z[:, :K_old], exemplars)] / N.

    >>> import torch
    >>> round(float(separated_softmax(torch.zeros(2, 5), torch.tensor([4, 1]), new_count=1, known=2)), 4)
    0.8959
    """
    new = F.cross_entropy(logits[:new_count, known:], labels[:new_count] - known, reduction="sum")
    if new_count == len(labels):
        return new / len(labels)
    old = F.cross_entropy(logits[new_count:, :known], labels[new_count:], reduction="sum")
    return (new + old) / len(labels)
