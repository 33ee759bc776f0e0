"""Calibration: the inverse temperature of a softmax, from leave-one-out or held-out scores.

n clips of a step, C classes, inverse temperature s:

    L(s) = sum over steps and their clips of cross-entropy(softmax(s scores), smoothed label)

L is computed for a fixed list of s and summed over steps, so no clip is stored. Labels are smoothed by 1 / (n + 2), as
in Platt: otherwise, a step with only correct predictions would require infinite s. Sources: Guo et al., On Calibration
of Modern Neural Networks, ICML 2017; Platt, Probabilistic Outputs for Support Vector Machines, 1999.
"""

from __future__ import annotations

import torch
from torch import Tensor

_INVERSE_TEMPERATURES: tuple[float, ...] = tuple(10 ** (eighth / 8) for eighth in range(-32, 25))
"""10^-4 to 10^3, eight values per decade."""


class Calibration:
    """The losses L(s), and the s with the smallest loss.

    >>> calibration = Calibration()
    >>> scores = torch.tensor([[1.0, 0.0]] * 40)
    >>> calibration.add(scores, torch.tensor([0, 0, 0, 1] * 10))
    >>> round(calibration.inverse_temperature, 2)  # log 3 = 1.1: three of four are correct
    1.0
    """

    def __init__(self) -> None:
        self.losses = torch.zeros(len(_INVERSE_TEMPERATURES), dtype=torch.float64)

    @property
    def inverse_temperature(self) -> float:
        """The best s; 1 without clips."""
        return _INVERSE_TEMPERATURES[int(self.losses.argmin())] if self.losses.any() else 1.0

    def add(self, scores: Tensor, labels: Tensor) -> None:
        """Add a step: leave-one-out or held-out scores (n, C), labels (n,)."""
        if not len(labels):
            return
        scores, smoothing = scores.double(), 1 / (len(labels) + 2)
        # Cross-entropy is a log-sum-exp minus a term that is linear in s.
        of_labels = scores.gather(1, labels[:, None]).sum()
        linear = (1 - smoothing) * of_labels + smoothing * scores.mean(dim=1).sum()
        normalizer = torch.stack([(s * scores).logsumexp(dim=1).sum() for s in _INVERSE_TEMPERATURES])
        factors = torch.tensor(_INVERSE_TEMPERATURES, dtype=torch.float64)
        self.losses = self.losses + normalizer - factors * linear
