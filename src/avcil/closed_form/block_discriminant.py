"""BLADE on feature vectors: the statistics, and the linear classifier that is computed from them.

M features, of which m are used, in B blocks; C classes. Used by the method `blade` and by the scikit-learn estimator.
docs/concepts/blade.md explains the steps.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.block_ridge import select_penalties
from avcil.closed_form.calibration import Calibration
from avcil.closed_form.calibration_sample import CalibrationSample
from avcil.closed_form.class_moments import ClassMoments
from avcil.closed_form.discriminant import Discriminant, nonconformity, relative_distance
from avcil.closed_form.discriminant_sum import DiscriminantSum, prediction_weight
from avcil.closed_form.head import ClosedFormHead, HistogramUnknownTest, RelativeDistance, UnknownTest
from avcil.closed_form.mean_variance import mean_variance
from avcil.closed_form.moments import counts_without
from avcil.closed_form.p_values import NonconformityHistogram
from avcil.closed_form.prediction_discriminant import PredictionDiscriminant


class BladeStatistics:
    """Everything that is stored about clips: moments of each modality, and a sample of feature vectors for calibration.

    A clip has all modalities or only one, and is part of the moments of those that it has.

    Args:
        widths: Number of features of each modality; their sum is M.
        calibration_clips: Maximum size of the sample.

    Attributes:
        moments: By modality, moments of the clips that have it.
        complete_counts: (C,), number of clips of each class that have all modalities.
        sample: A sample of these clips.
    """

    def __init__(self, widths: Mapping[str, int], *, calibration_clips: int) -> None:
        self.moments = {name: ClassMoments(width) for name, width in widths.items()}
        self.complete_counts = torch.zeros(0, dtype=torch.float64)
        self.sample = CalibrationSample(sum(widths.values()), size=calibration_clips)

    @property
    def classes(self) -> int:
        """C"""
        return len(self.complete_counts)

    @property
    def bytes(self) -> int:
        """Size of the saved tensors."""
        return self.sample.bytes + 8 * self.classes + sum(own.bytes for own in self.moments.values())

    def add_classes(self, count: int) -> None:
        """Add `count` classes without clips."""
        for moments in self.moments.values():
            moments.add_classes(count)
        self.complete_counts = F.pad(self.complete_counts, (0, count))

    def add(self, features: Tensor, labels: Tensor, *, only: str | None = None) -> None:
        """Add clips; see `ClassMoments.add` for errors.

        Args:
            features: (n, M), or (n, m) of the modality `only`.
            labels: (n,)
            only: The only modality that the clips have; None if they have all.
        """
        for name, batch in self._batches(features, labels, only).items():
            self.moments[name].merge(batch)
        if only is None:
            self.complete_counts = self.complete_counts + torch.bincount(labels, minlength=self.classes)
            self.sample.add(features, labels)

    def remove(self, features: Tensor, labels: Tensor, *, only: str | None = None) -> None:
        """Remove clips that were added; arguments as for `add`.

        Raises:
            InputError: A class has fewer clips that have the same modalities. Nothing is removed.
        """
        batches = self._batches(features, labels, only)
        learned = self.complete_counts if only is None else self.moments[only].counts - self.complete_counts
        remaining = counts_without(learned, torch.bincount(labels, minlength=self.classes))
        for name, batch in batches.items():
            self.moments[name].subtract(batch)
        if only is None:
            self.complete_counts = remaining
            self.sample.remove(features, labels)

    def _batches(self, features: Tensor, labels: Tensor, only: str | None) -> dict[str, ClassMoments]:
        """The moments of clips, by modality."""
        names = list(self.moments) if only is None else [only]
        parts = features.split([self.moments[name].width for name in names], dim=1)
        return {name: self.moments[name].batch(own, labels) for name, own in zip(names, parts, strict=True)}

    def remove_class(self, number: int) -> None:
        """Remove class `number`; see `ClassMoments.remove_class` for what remains of it."""
        for moments in self.moments.values():
            moments.remove_class(number)
        self.complete_counts = self.complete_counts[torch.arange(self.classes) != number]
        self.sample.remove_class(number)

    def renumber(self, numbers: Tensor, classes: int) -> None:
        """Let class c be class `numbers[c]` of `classes`; numbers (C,) are distinct."""
        self.moments = {name: own.renumbered(numbers, classes) for name, own in self.moments.items()}
        counts = self.complete_counts
        self.complete_counts = counts.new_zeros(classes).index_add(0, numbers, counts)
        self.sample.labels = numbers[self.sample.labels]

    def merge(self, other: BladeStatistics, numbers: Tensor) -> None:
        """Add the clips of other statistics of the same features.

        Args:
            other: Not modified.
            numbers: (C',), for each of its classes the number in these statistics; distinct.
        """
        for name, moments in self.moments.items():
            moments.merge(other.moments[name].renumbered(numbers, self.classes))
        self.complete_counts = self.complete_counts.index_add(0, numbers, other.complete_counts)
        self.sample.add(other.sample.vectors, numbers[other.sample.labels])


@dataclass(frozen=True, kw_only=True)
class LeaveOneOut:
    """Leave-one-out values of k clips."""

    scores: Tensor
    """(k, C)"""
    class_mean_scores: Tensor
    """(k, C), of the discriminant of class means alone"""
    length: Tensor
    """(k,), N z^T K z"""
    background: Tensor
    """(k,), N z^T K_0 z"""
    labels: Tensor
    """(k,)"""


@dataclass(frozen=True, kw_only=True)
class BlockDiscriminant:
    """The discriminant of scaled features, with a penalty and a psi for each block."""

    columns: Tensor
    """(m,), the features that are used."""
    mean: Tensor
    """(m,), subtracted from them."""
    inverse_deviation: Tensor
    """(m,), by which they are then multiplied."""
    penalties: list[float]
    """(B,)"""
    psi: list[float]
    """(B,)"""
    discriminant: DiscriminantSum
    """Of the scaled features."""

    @classmethod
    def fit(
        cls,
        moments: ClassMoments,
        *,
        sizes: Sequence[int],
        prior_psi: Sequence[float],
        columns: Tensor | None = None,
        predictions: bool = True,
    ) -> BlockDiscriminant:
        """Choose penalties and psi from moments.

        Args:
            moments: Moments of the m features in `columns`.
            sizes: (B,), number of features of each block; their sum is m.
            prior_psi: (B,), psi of each block if no class has two clips.
            columns: (m,), numbers of these features among those of a clip; None: 0 to m - 1.
            predictions: Whether the discriminant of predictions is part of the scores; False for models of formats 1
                and 2, whose calibration is that of class means alone.
        """
        standard = moments.standardized(sizes=sizes)
        penalties = select_penalties(standard.moments, sizes)
        psi = mean_variance(standard.moments, sizes, prior_psi)
        widths = torch.tensor(sizes)
        means = Discriminant(
            standard.moments,
            torch.tensor(penalties, dtype=torch.float64).repeat_interleave(widths),
            torch.tensor(psi, dtype=torch.float64).repeat_interleave(widths),
        )
        used = predictions and prediction_weight(means.counts) > 0
        return cls(
            columns=torch.arange(moments.width) if columns is None else columns,
            mean=standard.mean,
            inverse_deviation=standard.inverse_deviation,
            penalties=penalties,
            psi=psi,
            discriminant=DiscriminantSum([means], [PredictionDiscriminant(means) if used else None]),
        )

    @classmethod
    def sum(cls, parts: Sequence[BlockDiscriminant]) -> BlockDiscriminant:
        """The discriminant of several modalities, from those of the single ones; see `closed_form.discriminant_sum`."""
        return cls(
            columns=torch.cat([part.columns for part in parts]),
            mean=torch.cat([part.mean for part in parts]),
            inverse_deviation=torch.cat([part.inverse_deviation for part in parts]),
            penalties=[penalty for part in parts for penalty in part.penalties],
            psi=[psi for part in parts for psi in part.psi],
            discriminant=DiscriminantSum(
                [own for part in parts for own in part.discriminant.parts],
                [own for part in parts for own in part.discriminant.predictions],
            ),
        )

    def scaled(self, features: Tensor) -> Tensor:
        """z (n, m) of features (n, M)."""
        return (features[:, self.columns].double() - self.mean) * self.inverse_deviation

    def leave_one_out(self, sample: CalibrationSample) -> LeaveOneOut | None:
        """Leave-one-out values of the clips in the sample; None if no class has two clips."""
        scorable = (self.discriminant.counts > 1)[sample.labels]
        if not scorable.any():
            return None
        z, labels = self.scaled(sample.vectors[scorable]), sample.labels[scorable]
        scores, class_mean_scores, length = self.discriminant.leave_one_out(z, labels)
        return LeaveOneOut(
            scores=scores,
            class_mean_scores=class_mean_scores,
            length=length,
            background=self.discriminant.leave_one_out_background(z),
            labels=labels,
        )

    def head(
        self,
        sample: CalibrationSample,
        *,
        calibration: Calibration | None = None,
        histogram: NonconformityHistogram | None = None,
    ) -> ClosedFormHead:
        """The head with inverse temperature and unknown test, calibrated by leave-one-out scores of the sample.

        Args:
            sample: Clips that are part of the moments. Clips of classes with a single clip are not used.
            calibration: Calibration of a model of format 2; not modified.
            histogram: Nonconformity scores of a model of format 1 or 2; not modified. If it is not empty, the head has
                the test of these formats for unknown classes.
        """
        discriminant, left_out = self.discriminant, self.leave_one_out(sample)
        fitted = Calibration()
        if calibration is not None:
            fitted.losses = calibration.losses.clone()
        if left_out is not None and len(discriminant.counts) > 1:
            fitted.add(left_out.scores, left_out.labels)  # with one class, all losses are the same
        return ClosedFormHead(
            columns=self.columns,
            weight=discriminant.weight,
            bias=discriminant.bias,
            inverse_temperature=fitted.inverse_temperature
            if fitted.losses.any()
            else self._expected_inverse_temperature(),
            unknown=self._unknown_test(left_out, histogram),
        )

    def _expected_inverse_temperature(self) -> float:
        """Inverse temperature for Gaussian classes, for models without leave-one-out scores."""
        gap, variance = self.discriminant.gap_and_variance()
        return gap / variance if variance > 0 and gap > 0 else 1.0

    def _unknown_test(
        self, left_out: LeaveOneOut | None, histogram: NonconformityHistogram | None
    ) -> UnknownTest | HistogramUnknownTest:
        discriminant = self.discriminant
        if histogram is not None and histogram.counts.any():
            extended = NonconformityHistogram(histogram.counts.clone())
            if left_out is not None:
                extended.add(nonconformity(left_out.class_mean_scores, left_out.length))
            inverse = torch.block_diag(*(part.inverse() for part in discriminant.parts))
            return HistogramUnknownTest(inverse=inverse, histogram=extended)
        distances = torch.zeros(0, dtype=torch.float64)
        if left_out is not None:
            distances = relative_distance(left_out.class_mean_scores, left_out.length, left_out.background)
        parts = [
            RelativeDistance(inverse=part.relative_inverse, weight=part.weight, bias=part.bias)
            for part in discriminant.parts
        ]
        return UnknownTest(parts=parts, distances=distances.sort().values)
