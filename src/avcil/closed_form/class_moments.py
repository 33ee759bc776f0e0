"""Counts, class means and the within-class scatter, to which clips can be added, removed and merged.

N clips, M features, C classes:

    counts  n_c                                              (C,)
    means   mean of the features of the clips of class c     (C, M)
    within  sum over clips of (x - mean_c) (x - mean_c)^T    (M, M)

The scatter is about the class means, not about the origin, so that features far from 0 do not lose precision. Updates
follow Chan, Golub & LeVeque, "Algorithms for computing the sample variance", The American
Statistician 37 (1983). The result does not depend on the order or grouping of the clips, up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from avcil.closed_form.class_statistics import ClassCounts, check_class_numbers, counts_without
from avcil.closed_form.moments import Moments
from avcil.closed_form.symmetric import add_product
from avcil.errors import InputError

_CONSTANT = 1e-9
"""A feature is constant if its standard deviation is below this fraction of its largest class mean: it is then a
rounding error."""
_ROUNDING = 1e-12
"""Differences of sums below this fraction of the sums are rounding errors and are set to 0."""


@dataclass(frozen=True, kw_only=True)
class Standardized:
    """Moments of centered and scaled features, and the transformation."""

    moments: Moments
    """Of z = (x - mean) * inverse_deviation; see `ClassMoments.standardized` for the scale."""
    mean: Tensor
    """(M,)"""
    inverse_deviation: Tensor
    """(M,); 0 for constant features."""


class ClassMoments(ClassCounts):
    """Counts, means and scatter of M features; initially without classes.

    Args:
        width: M.

    >>> moments = ClassMoments(1)
    >>> moments.add_classes(1)
    >>> moments.add(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]))
    >>> moments.means.item(), moments.within.item()
    (2.0, 2.0)
    """

    AXES: ClassVar = {"within": "MM", "means": "CM", "counts": "C"}
    within: Tensor
    means: Tensor

    def remove_class(self, number: int) -> None:
        """Remove class `number`; the numbers of later classes decrease by 1.

        The scatter of its clips remains in `within`, which is not stored by class, if other classes have clips.
        """
        super().remove_class(number)
        if not self.total:
            self.within.zero_()

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add clips.

        Args:
            features: (n, M), any floating dtype.
            labels: (n,), class numbers below C.

        Raises:
            InputError: A label is not below C, or a feature is NaN or infinite.
        """
        self.merge(self.batch(features, labels))

    def remove(self, features: Tensor, labels: Tensor) -> None:
        """Remove clips that were added before; arguments as for `add`.

        Raises:
            InputError: A class has fewer clips than are to be removed.
        """
        self.subtract(self.batch(features, labels))

    def subtract(self, batch: ClassMoments) -> None:
        """Remove the clips of other moments over the same classes; see `remove`."""
        remaining = counts_without(self.counts, batch.counts)
        has_clips, changes = remaining > 0, batch.counts > 0
        factor = (self.counts / remaining.clamp(min=1))[:, None]
        means = batch.means + (self.means - batch.means) * factor
        largest = (self.means.abs() + batch.means.abs()) * factor
        means = torch.where(has_clips[:, None] & (means.abs() > _ROUNDING * largest), means, 0.0)
        means = torch.where(changes[:, None], means, self.means)
        weight = torch.where(has_clips & changes, remaining * batch.counts / self.counts.clamp(min=1), 0.0)
        between = (means - batch.means) * weight.sqrt()[:, None]
        before = self.within.diagonal().clone()
        add_product(self.within, between, between, factor=-1)
        self.within -= batch.within
        self._clear((self.within.diagonal() <= _ROUNDING * before) | ~has_clips.any())
        self.counts, self.means = remaining, means

    def merge(self, other: ClassMoments) -> None:
        """Add the clips of other moments over the same classes in the same order."""
        total = self.counts + other.counts
        fraction = (other.counts / total.clamp(min=1))[:, None]
        weight = self.counts * other.counts / total.clamp(min=1)
        difference = other.means - self.means
        between = difference * weight.sqrt()[:, None]
        self.within = self.within + other.within
        add_product(self.within, between, between)
        self.means = self.means + fraction * difference
        self.counts = total

    def renumbered(self, numbers: Tensor, classes: int) -> ClassMoments:
        """A copy in which class c is class `numbers[c]` of `classes`; numbers (C,) are distinct."""
        other = ClassMoments(self.width)
        other.add_classes(classes)
        other.counts[numbers], other.means[numbers] = self.counts, self.means
        other.within = self.within.clone()
        return other

    def variances(self) -> Tensor:
        """Variance (M,) of each feature over all clips; 0 with fewer than two clips."""
        total = max(self.total, 1.0)
        centered = self.means - (self.counts @ self.means) / total
        scatter = self.within.diagonal() + self.counts @ centered.square()
        return scatter / max(total - 1, 1.0)

    def standardized(self, *, sizes: Sequence[int] | None = None) -> Standardized:
        """Moments of the centered and scaled features.

        Args:
            sizes: Number of features of each block; their sum is M. None divides each feature by its standard
                deviation. Otherwise, it is divided by the geometric mean of its deviation and the root mean square
                deviation of its block, which preserves part of the differences within a block (Pareto scaling; van den
                Berg et al., BMC Genomics 2006). The mean variance of a block is then at most 1.
        """
        means, within = self.means, self.within
        total = max(self.total, 1.0)
        mean = (self.counts @ means) / total
        centered = means - mean
        weighted = self.counts[:, None] * centered
        gram = within.clone()
        add_product(gram, weighted, centered)
        deviation = (gram.diagonal() / total).clamp(min=0).sqrt()
        largest = means.abs().max(dim=0).values if self.classes else torch.zeros_like(mean)
        varies = deviation > _CONSTANT * largest
        divisor = deviation
        if sizes is not None:
            blocks = deviation.split(list(sizes))
            of_block = torch.cat([block.square().mean().sqrt().expand(len(block)) for block in blocks])
            divisor = (deviation * of_block).sqrt()
        inverse = torch.where(varies, 1 / divisor.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
        scaled = Moments.of_tensors(
            gram=gram * inverse * inverse[:, None], sums=(weighted * inverse).T, counts=self.counts.clone()
        )
        return Standardized(moments=scaled, mean=mean, inverse_deviation=inverse)

    @classmethod
    def of(cls, moments: Moments) -> ClassMoments:
        """Convert from sums about the origin; accurate for features that are not far from it."""
        converted = cls.of_tensors(
            counts=moments.counts.clone(), means=moments.means(), within=moments.within_scatter()
        )
        converted._clear(converted.within.diagonal() <= _ROUNDING * moments.gram.diagonal())
        return converted

    def _clear(self, constant: Tensor) -> None:
        """Set the scatter of constant features, a mask (M,), to 0."""
        self.within[constant] = 0.0
        self.within[:, constant] = 0.0

    def batch(self, features: Tensor, labels: Tensor) -> ClassMoments:
        """The moments of clips, over the same classes; arguments and errors as for `add`."""
        check_class_numbers(labels, self.classes)
        features = features.double()
        if not torch.isfinite(features).all():
            raise InputError("features contain NaN or infinite values")
        batch = ClassMoments(self.width)
        batch.counts = torch.bincount(labels, minlength=self.classes).double()
        sums = torch.zeros(self.classes, self.width, dtype=torch.float64).index_add(0, labels, features)
        batch.means = sums / batch.counts.clamp(min=1)[:, None]
        centered = features - batch.means[labels]
        add_product(batch.within, centered, centered)
        return batch
