"""The discriminant of BLADE: that of class means and that of predictions of each modality, summed over modalities.

    score_c = sum over modalities of (1 - h) score_c(class means) + h rho score_c(predictions)

See `Discriminant` and `PredictionDiscriminant`; both have the same penalties. rho is a common factor of all modalities,
with which the scores of both kinds have the same root mean square over clips and classes with clips. With C such
classes and N clips of a modality,

    h = g / (1 + g),   g = (1 - C / N)^2

Leave-one-out predictions are more accurate with more clips per class, so their weight h is 0 with one clip per class
and approaches 1 / 2.

The sum over modalities is the discriminant analysis of features whose modalities are independent given the class: the
within-class scatter is block diagonal, and squared distances add up. Correlations between modalities would be estimated
from few clips for many features; without them, accuracy is higher (docs/log.md). Clips that lack a modality are part of
the discriminants of the modalities that they have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from avcil.closed_form.discriminant import Discriminant
from avcil.closed_form.moments import Moments
from avcil.closed_form.prediction_discriminant import PredictionDiscriminant

_MAX_RATIO = 100.0
"""Upper bound of rho; 0.1 to 1 is usual. Without it, predictions that are hardly better than chance would be scaled up,
and the scores would depend on rounding."""


def prediction_weight(counts: Tensor) -> float:
    """h, from the number of clips of each class (C,).

    >>> prediction_weight(torch.tensor([1.0, 1.0]))
    0.0
    >>> prediction_weight(torch.tensor([2.0, 2.0]))
    0.2
    """
    clips, classes = float(counts.sum()), float((counts > 0).sum())
    ratio = (1 - classes / clips) ** 2 if clips else 0.0
    return ratio / (1 + ratio)


class DiscriminantSum:
    """A linear classifier with the methods of `Discriminant`.

    Args:
        parts: The discriminants of class means, of m_1, m_2, ... features; M is their sum. All have the same classes.
        predictions: For each part, the discriminant of predictions, or None: h is then 0.

    Attributes:
        factors: 1 - h and h rho of each part.
    """

    def __init__(
        self, parts: Sequence[Discriminant], predictions: Sequence[PredictionDiscriminant | None]
    ) -> None:
        self.parts, self.predictions = list(parts), list(predictions)
        self.counts: Tensor = torch.stack([part.counts for part in parts]).amin(dim=0)
        self.jitter: float = max(part.jitter for part in parts)
        self.factors = self._factors_of_parts()
        weights, biases = [], []
        for part, own, (of_means, of_predictions) in self._terms():
            weights.append(of_means * part.weight + (of_predictions * own.weight if own else 0.0))
            biases.append(of_means * part.bias + (of_predictions * own.bias if own else 0.0))
        self.weight: Tensor = torch.cat(weights)
        self.bias: Tensor = torch.stack(biases).sum(dim=0)

    def leave_one_out(self, features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Leave-one-out values; arguments as for `Discriminant.leave_one_out`.

        Returns:
            Scores (n, C), scores of class means alone (n, C) and lengths N z^T K z (n,).
        """
        scores: list[Tensor] = []
        of_class_means: list[Tensor] = []
        lengths: list[Tensor] = []
        for (part, own, (of_means, of_predictions)), z in zip(
            self._terms(), self._split(features), strict=True
        ):
            means, length = part.leave_one_out(z, labels)
            of_class_means.append(means)
            scores.append(of_means * means)
            if own:
                scores.append(of_predictions * own.leave_one_out(z, labels))
            lengths.append(length)
        return (
            torch.stack(scores).sum(dim=0),
            torch.stack(of_class_means).sum(dim=0),
            torch.stack(lengths).sum(dim=0),
        )

    def leave_one_out_background(self, features: Tensor) -> Tensor:
        """Leave-one-out values (n,) of N z^T K_0 z; see `Discriminant.leave_one_out_background`."""
        found = [
            part.leave_one_out_background(z)
            for part, z in zip(self.parts, self._split(features), strict=True)
        ]
        return torch.stack(found).sum(dim=0)

    def gap_and_variance(self) -> tuple[float, float]:
        """The sums over the parts of `Discriminant.gap_and_variance`."""
        weights = self._split(self.weight.T)
        found = [part.gap_and_variance(weight.T) for part, weight in zip(self.parts, weights, strict=True)]
        gaps, variances = zip(*found, strict=True)
        return sum(gaps), sum(variances)

    def _factors_of_parts(self) -> list[tuple[float, float]]:
        """1 - h and h rho of each part."""
        has_clips = torch.stack([part.counts for part in self.parts]).sum(dim=0) > 0
        means = sum(mean_square_score(part.weight[:, has_clips], part.moments) for part in self.parts)
        predicted = sum(
            mean_square_score(own.weight[:, has_clips], part.moments)
            for part, own in zip(self.parts, self.predictions, strict=True)
            if own
        )
        if predicted <= 0:
            return [(1.0, 0.0)] * len(self.parts)
        ratio = min(math.sqrt(means / predicted), _MAX_RATIO)
        shares = [
            prediction_weight(part.counts) if own else 0.0
            for part, own in zip(self.parts, self.predictions, strict=True)
        ]
        return [(1 - share, share * ratio) for share in shares]

    def _terms(self) -> list[tuple[Discriminant, PredictionDiscriminant | None, tuple[float, float]]]:
        return list(zip(self.parts, self.predictions, self.factors, strict=True))

    def _split(self, features: Tensor) -> tuple[Tensor, ...]:
        """The features of each part, of features (n, M)."""
        return features.split([len(part.weight) for part in self.parts], dim=1)


def mean_square_score(weight: Tensor, moments: Moments) -> float:
    """Mean square over the N clips and C classes of w_c^T z minus its mean over classes; weight (M, C)."""
    centered = weight - weight.mean(dim=1, keepdim=True)
    scores = max(moments.total * weight.shape[1], 1.0)
    return float((centered * (moments.gram @ centered)).sum()) / scores
