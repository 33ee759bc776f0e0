"""How sharply a softmax of scores should answer, from scores of clips that the scores were not fitted to.

n clips of a step, C classes, sharpness s (one over the temperature):

    L(s) = sum over steps and their clips of cross-entropy(softmax(s scores), smoothed label)

The curve L over a fixed list of s is itself a statistic: it adds up over steps, and no clip is kept for it. Labels
are smoothed by 1 / (n + 2), as Platt did: a step whose clips all happen to be right must not ask for certainty.
Sources: Guo et al., On Calibration of Modern Neural Networks, ICML 2017; Platt, Probabilistic Outputs for Support
Vector Machines, 1999.
"""

from __future__ import annotations

import torch
from torch import Tensor

INVERSE_TEMPERATURES: tuple[float, ...] = tuple(10 ** (eighth / 8) for eighth in range(-32, 25))
"""10^-4 to 10^3, eight a decade."""


class Calibration:
    """The curve, and the sharpness where it is lowest.

    >>> calibration = Calibration()
    >>> scores = torch.tensor([[1.0, 0.0]] * 40)
    >>> calibration.add(scores, torch.tensor([0, 0, 0, 1] * 10))
    >>> round(calibration.inverse_temperature, 2)  # log 3 = 1.1: right in three of four
    1.0
    """

    def __init__(self) -> None:
        self.losses = torch.zeros(len(INVERSE_TEMPERATURES), dtype=torch.float64)

    @property
    def inverse_temperature(self) -> float:
        """Of the list; 1 before any clip."""
        return INVERSE_TEMPERATURES[int(self.losses.argmin())] if self.losses.any() else 1.0

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Take in a step: scores (n, C) leave-one-out or of clips held out, labels (n,)."""
        if not len(labels):
            return
        scores, smoothing = scores.double(), 1 / (len(labels) + 2)
        # Cross-entropy is the logarithm of the sum less a part that is linear in the sharpness.
        own = scores.gather(1, labels[:, None]).sum()
        linear = (1 - smoothing) * own + smoothing * scores.mean(dim=1).sum()
        normalizer = torch.stack(
            [
                (inverse_temperature * scores).logsumexp(dim=1).sum()
                for inverse_temperature in INVERSE_TEMPERATURES
            ]
        )
        self.losses = (
            self.losses + normalizer - torch.tensor(INVERSE_TEMPERATURES, dtype=torch.float64) * linear
        )
