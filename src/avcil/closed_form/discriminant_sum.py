"""The discriminant of several modalities: the sum of the discriminants of the single ones.

    score_c(audio, visual) = score_c(audio) + score_c(visual)

This is the discriminant analysis of features whose modalities are independent given the class: the within-class scatter
is block diagonal, and squared distances add up. Correlations between modalities would be estimated from few clips for
many features; without them, accuracy is higher (docs/log.md). Clips that lack a modality are part of the discriminants
of the modalities that they have.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avcil.closed_form.discriminant import Discriminant


class DiscriminantSum:
    """The sum of discriminants of different features, with the same methods as `Discriminant`.

    Args:
        parts: The discriminants, of m_1, m_2, ... features; M is their sum. All have the same classes.
    """

    def __init__(self, parts: Sequence[Discriminant]) -> None:
        self.parts = list(parts)
        self.counts: Tensor = torch.stack([part.counts for part in parts]).amin(dim=0)
        self.weight: Tensor = torch.cat([part.weight for part in parts])
        self.bias: Tensor = torch.stack([part.bias for part in parts]).sum(dim=0)
        self.jitter: float = max(part.jitter for part in parts)

    def leave_one_out(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Leave-one-out scores (n, C) and lengths (n,); see `Discriminant.leave_one_out`."""
        found = [part.leave_one_out(own, labels) for part, own in self._split(features)]
        scores, lengths = zip(*found, strict=True)
        return torch.stack(scores).sum(dim=0), torch.stack(lengths).sum(dim=0)

    def leave_one_out_background(self, features: Tensor) -> Tensor:
        """Leave-one-out values (n,) of N z^T K_0 z; see `Discriminant.leave_one_out_background`."""
        found = [part.leave_one_out_background(own) for part, own in self._split(features)]
        return torch.stack(found).sum(dim=0)

    def gap_and_variance(self) -> tuple[float, float]:
        """See `Discriminant.gap_and_variance`; both add up."""
        gaps, variances = zip(*(part.gap_and_variance() for part in self.parts), strict=True)
        return sum(gaps), sum(variances)

    def _split(self, features: Tensor) -> list[tuple[Discriminant, Tensor]]:
        widths = [len(part.weight) for part in self.parts]
        return list(zip(self.parts, features.split(widths, dim=1), strict=True))
