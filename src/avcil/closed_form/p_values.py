"""Conformal p-values: how unusual a nonconformity score is among the scores of learned clips.

n scores of learned clips, r the score of a new clip:   p(r) = (1 + number of scores >= r) / (1 + n)

If the new clip is drawn from the same distribution, p <= alpha has probability at most alpha, whatever the scores are
(conformal prediction: Vovk, Gammerman & Shafer 2005).
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 512
MAX_SCORE = 2.0
"""Upper end of the histogram; larger scores are clipped."""


def conformal_p_values(learned: Tensor, scores: Tensor) -> Tensor:
    """p-values (B,) of scores (B,), given the ascending scores (n,) of learned clips.

    >>> conformal_p_values(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 9.0])).tolist()
    [1.0, 0.75, 0.25]
    """
    at_least = len(learned) - torch.searchsorted(learned, scores)
    return (1 + at_least).double() / (1 + len(learned))


class NonconformityHistogram:
    """A histogram of nonconformity scores, in models of formats 1 and 2.

    All scores in the bin of r count as >= r, so that p is never too small.

    >>> histogram = NonconformityHistogram()
    >>> histogram.add(torch.linspace(0, 1, 99))
    >>> histogram.p_values(torch.tensor([0.0, 0.5, 1.9])).tolist()
    [1.0, 0.51, 0.01]
    """

    def __init__(self, counts: Tensor | None = None) -> None:
        self.counts = torch.zeros(BINS, dtype=torch.float64) if counts is None else counts

    def add(self, scores: Tensor) -> None:
        """Add leave-one-out scores (n,)."""
        self.counts = self.counts + torch.bincount(_bins(scores), minlength=BINS)

    def p_values(self, scores: Tensor) -> Tensor:
        """p-values (B,) of scores (B,); 1 if the histogram is empty."""
        at_least = self.counts.flip(0).cumsum(0).flip(0)
        return (1 + at_least[_bins(scores)]) / (1 + self.counts.sum())


def _bins(scores: Tensor) -> Tensor:
    return (scores.double() * (BINS / MAX_SCORE)).long().clamp(0, BINS - 1)
