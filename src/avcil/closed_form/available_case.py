"""BLADE if some clips lack audio or frames: statistics of the available features.

N clips, of which N_b have the features of modality b (audio or visual) and N_av have both; M features, C classes.

The head of a single modality uses the moments of all clips that have this modality. The head for both modalities
combines the heads of the single ones:

    z, psi, mean_c   of each modality: as in its own head
    Lambda           of each modality: as in its own head, times N / N_b
    W = D S D        S: scatter of all clips about the class means of the available features; a missing feature has
                     the difference 0. D: diagonal, sqrt(N / N_b) for the features of modality b

S is a sum over clips of products d d^T, so W is positive semidefinite. D replaces each variance by that of the clips
that have the feature. The correlations between audio and visual features come from complete clips alone, and are
reduced by the factor N_av / sqrt(N_audio N_visual): the fewer complete clips, the more. The penalties are not selected
by generalized cross-validation for both modalities, which would take the zeros of missing features for observations.
Measurements and other estimates of W are in docs/log.md.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from avcil.closed_form.block_discriminant import BlockDiscriminant
from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.discriminant import Discriminant
from avcil.closed_form.moments import Moments
from avcil.closed_form.symmetric import add_product


class AvailableCaseDiscriminant(BlockDiscriminant):
    """The discriminant for several modalities, from clips that have all of them and clips that have one.

    Leave-one-out scores are approximations: the factors D and the correlations between modalities are not updated.

    Args:
        complete: Moments (M features) of the clips that have all modalities.
        moments: For each modality, moments of all clips that have it.
        parts: For each modality, the discriminant of these moments. Their `columns`, one after the other, are those of
            `complete`.
    """

    def __init__(
        self, complete: ClassMoments, moments: Sequence[ClassMoments], parts: Sequence[BlockDiscriminant]
    ) -> None:
        self.columns = torch.cat([part.columns for part in parts])
        self.mean = torch.cat([part.mean for part in parts])
        self.inverse_deviation = torch.cat([part.inverse_deviation for part in parts])
        counts = complete.counts + sum(own.counts - complete.counts for own in moments)
        growth = [float(counts.sum()) / max(own.total, 1.0) for own in moments]
        self.penalties = [
            penalty * factor for part, factor in zip(parts, growth, strict=True) for penalty in part.penalties
        ]
        self.psi = [psi for part in parts for psi in part.psi]
        widths = [len(part.columns) for part in parts]
        scale = torch.tensor(growth, dtype=torch.float64).sqrt().repeat_interleave(torch.tensor(widths))
        self.discriminant = Discriminant(
            self._moments(complete, moments, parts, counts, scale),
            torch.cat([part.discriminant.penalty * f for part, f in zip(parts, growth, strict=True)]),
            torch.cat([part.discriminant.psi for part in parts]),
            feature_counts=torch.cat(
                [own.counts[:, None].expand(-1, width) for own, width in zip(moments, widths, strict=True)],
                dim=1,
            ),
            scatter_scale=scale,
        )

    def _moments(
        self,
        complete: ClassMoments,
        moments: Sequence[ClassMoments],
        parts: Sequence[BlockDiscriminant],
        counts: Tensor,
        scale: Tensor,
    ) -> Moments:
        """Moments with the class means of the available features and the within-class scatter W.

        Args:
            complete: As for the class.
            moments: As for the class.
            parts: As for the class.
            counts: (C,), number of all clips of each class.
            scale: (M,), the diagonal of D.
        """
        differences = complete.means - torch.cat([own.means for own in moments], dim=1)
        within = complete.within.clone()
        weighted = complete.counts[:, None] * differences
        add_product(within, weighted, differences)
        within *= self.inverse_deviation * self.inverse_deviation[:, None]
        start = 0
        for part in parts:
            own = slice(start, start := start + len(part.columns))
            within[own, own] = part.discriminant.moments.within_scatter()
        means = torch.cat([part.discriminant.moments.means() for part in parts], dim=1)
        result = Moments(0)
        result.counts = counts
        result.sums = (counts[:, None] * means).T
        result.gram = within * scale * scale[:, None]
        add_product(result.gram, counts[:, None] * means, means)
        return result
