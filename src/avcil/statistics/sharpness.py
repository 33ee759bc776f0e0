"""How sharply a softmax of scores should answer, from scores of clips that the scores were not fitted to.

n clips, C classes.
"""

from __future__ import annotations

import math

from torch import Tensor
from torch.nn import functional as F

LOWEST, HIGHEST = -3.0, 4.0
"""Of log10 of the sharpness."""


def fit_sharpness(scores: Tensor, labels: Tensor) -> float:
    """The factor s that makes the mean of -log softmax(s scores)[label] smallest: temperature scaling, T = 1 / s.

    scores (n, C) are leave-one-out or held-out ones, labels (n,). The loss is convex in s; golden-section search
    on log s. Source: Guo et al., On Calibration of Modern Neural Networks, ICML 2017.

    >>> import torch
    >>> scores = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    >>> round(fit_sharpness(scores, torch.tensor([0, 0, 0, 1])), 3)  # log(3): right in three of four
    1.099
    """

    def loss(exponent: float) -> float:
        return float(F.cross_entropy(10**exponent * scores.double(), labels))

    ratio = (math.sqrt(5) - 1) / 2
    low, high = LOWEST, HIGHEST
    left, right = high - ratio * (high - low), low + ratio * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    while high - low > 1e-6:
        if loss_left <= loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - ratio * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + ratio * (high - low)
            loss_right = loss(right)
    return 10 ** ((low + high) / 2)
