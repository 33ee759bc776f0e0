"""p-values with a stated error rate: how unusual a value is among values of clips that were learned.

n values seen, r a new one:   p(r) = (1 + number seen at or above r) / (1 + n)

If the new clip is drawn as those seen were, p <= alpha happens with probability alpha at most, whatever the values
are (conformal prediction: Vovk, Gammerman & Shafer 2005).
"""

from __future__ import annotations

import torch
from torch import Tensor

BINS = 512
HIGHEST = 2.0
"""Values lie from 0 to this; larger ones count as this."""


def conformal_p_values(seen: Tensor, values: Tensor) -> Tensor:
    """p (B,) of values (B,), given the ascending values seen (n,).

    >>> conformal_p_values(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0.0, 2.0, 9.0])).tolist()
    [1.0, 0.75, 0.25]
    """
    above = len(seen) - torch.searchsorted(seen, values)
    return (1 + above).double() / (1 + len(seen))


class OddityCounts:
    """A histogram of values, as models of formats 1 and 2 keep it.

    All values in the bin of r count as at or above r, so that p is too large rather than too small.

    >>> seen = OddityCounts()
    >>> seen.add(torch.linspace(0, 1, 99))
    >>> seen.p_values(torch.tensor([0.0, 0.5, 1.9])).tolist()
    [1.0, 0.51, 0.01]
    """

    def __init__(self, counts: Tensor | None = None) -> None:
        self.counts = torch.zeros(BINS, dtype=torch.float64) if counts is None else counts

    def add(self, values: Tensor) -> None:
        """Add values (n,) of clips, each by the model without that clip."""
        self.counts = self.counts + torch.bincount(_bins(values), minlength=BINS)

    def p_values(self, values: Tensor) -> Tensor:
        """p (B,) of values (B,); 1 for all before any was seen."""
        above = self.counts.flip(0).cumsum(0).flip(0)
        return (1 + above[_bins(values)]) / (1 + self.counts.sum())


def _bins(values: Tensor) -> Tensor:
    return (values.double() * (BINS / HIGHEST)).long().clamp(0, BINS - 1)
