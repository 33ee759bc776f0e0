"""Counts, class means and the scatter within classes: sums over clips that can be added, removed and merged.

N clips, M features, C classes:

    counts  n_c                                              (C,)
    means   mean of the features of the clips of class c     (C, M)
    within  sum over clips of (x - mean_c) (x - mean_c)^T    (M, M)

The scatter is kept about the class means, not about the origin, so features may lie far from 0 without loss of
precision. Updates follow Chan, Golub & LeVeque, "Algorithms for computing the sample variance", The American
Statistician 37 (1983). Any order, grouping or merging of the same clips gives the same numbers up to rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.moments import Moments
from avcil.closed_form.symmetric import add_product, packed, unpacked
from avcil.errors import InputError

CONSTANT = 1e-9
"""A feature whose standard deviation is below this fraction of its largest class mean counts as constant: what is
left of its scatter is rounding."""
ROUNDING = 1e-12
"""Where a difference of sums is below this fraction of them, it is rounding, and is set to 0."""


@dataclass(frozen=True, kw_only=True)
class Standardized:
    """Moments of features with mean 0 over all clips, scaled, and the map to them."""

    moments: Moments
    """Of z = (x - mean) * inverse_deviation; see `ClassMoments.standardized` for the scale."""
    mean: Tensor
    """(M,)"""
    inverse_deviation: Tensor
    """(M,); 0 for a feature that is constant so far."""


class ClassMoments:
    """The sums for M features and no class yet.

    Args:
        width: M.

    >>> moments = ClassMoments(1)
    >>> moments.grow(1)
    >>> moments.add(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]))
    >>> moments.means.item(), moments.within.item()
    (2.0, 2.0)
    """

    def __init__(self, width: int) -> None:
        self.counts = torch.zeros(0, dtype=torch.float64)
        self.means = torch.zeros(0, width, dtype=torch.float64)
        self.within = torch.zeros(width, width, dtype=torch.float64)

    @property
    def width(self) -> int:
        """M"""
        return self.within.shape[0]

    @property
    def classes(self) -> int:
        """C"""
        return len(self.counts)

    @property
    def total(self) -> float:
        """N"""
        return float(self.counts.sum())

    @property
    def bytes(self) -> int:
        """Size of what is saved: counts, means and one triangle of the scatter."""
        return 8 * (self.counts.numel() + self.means.numel() + self.width * (self.width + 1) // 2)

    def grow(self, count: int) -> None:
        """Add `count` classes without clips."""
        self.counts = F.pad(self.counts, (0, count))
        self.means = F.pad(self.means, (0, 0, 0, count))

    def drop(self, number: int) -> None:
        """Remove class `number`; later classes move up by one.

        The scatter of its clips about their own mean stays in `within`, because it is not kept by class.
        """
        keep = torch.arange(self.classes) != number
        self.counts, self.means = self.counts[keep], self.means[keep]

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add clips.

        Args:
            features: (n, M), any floating dtype.
            labels: (n,), class numbers below C.

        Raises:
            InputError: A label is not below C, or a feature is NaN or infinite.
        """
        self.merge(self._of(features, labels))

    def remove(self, features: Tensor, labels: Tensor) -> None:
        """Remove clips that were added before; arguments as for `add`.

        Raises:
            InputError: More clips of a class are to be removed than it has.
        """
        batch = self._of(features, labels)
        left = self.counts - batch.counts
        if (left < 0).any():
            lacking = ", ".join(map(str, (left < 0).nonzero()[:5, 0].tolist()))
            raise InputError(
                f"more clips are to be forgotten than were learned, of the classes numbered {lacking}. "
                "Give only clips that were learned"
            )
        alive, touched = left > 0, batch.counts > 0
        factor = (self.counts / left.clamp(min=1))[:, None]
        rest = batch.means + (self.means - batch.means) * factor
        largest = (self.means.abs() + batch.means.abs()) * factor
        rest = torch.where(alive[:, None] & (rest.abs() > ROUNDING * largest), rest, 0.0)
        rest = torch.where(touched[:, None], rest, self.means)
        between = torch.where(alive & touched, left * batch.counts / self.counts.clamp(min=1), 0.0)
        away = (rest - batch.means) * between.sqrt()[:, None]
        before = self.within.diagonal().clone()
        add_product(self.within, away, away, factor=-1)
        self.within -= batch.within
        self._clear(self.within.diagonal() <= ROUNDING * before)
        self.counts, self.means = left, rest

    def merge(self, other: ClassMoments) -> None:
        """Add the clips of other moments over the same classes in the same order."""
        total = self.counts + other.counts
        share = (other.counts / total.clamp(min=1))[:, None]
        between = self.counts * other.counts / total.clamp(min=1)
        away = other.means - self.means
        scaled = away * between.sqrt()[:, None]
        self.within = self.within + other.within
        add_product(self.within, scaled, scaled)
        self.means = self.means + share * away
        self.counts = total

    def renumbered(self, numbers: Tensor, classes: int) -> ClassMoments:
        """The same clips with class c as class `numbers[c]` of `classes`; numbers (C,) are all different."""
        other = ClassMoments(self.width)
        other.grow(classes)
        other.counts[numbers], other.means[numbers] = self.counts, self.means
        other.within = self.within.clone()
        return other

    def standardized(
        self, columns: Tensor | None = None, *, sizes: Sequence[int] | None = None
    ) -> Standardized:
        """The moments of the features about their mean, scaled.

        Args:
            columns: (m,), the features to take; None: all.
            sizes: Features of each block; they add up to m. None: each feature is divided by its standard deviation.
                Else by the geometric mean of its own and the block's root mean square deviation, which keeps part of
                the differences between the features of a block (Pareto scaling; van den Berg et al., BMC Genomics
                2006). The mean variance of a block's features is then 1 or less.
        """
        means, within = self.means, self.within
        if columns is not None and len(columns) < self.width:
            means, within = means[:, columns], within[columns[:, None], columns]
        total = max(self.total, 1.0)
        mean = (self.counts @ means) / total
        centered = means - mean
        weighted = self.counts[:, None] * centered
        gram = within.clone()
        add_product(gram, weighted, centered)
        deviation = (gram.diagonal() / total).clamp(min=0).sqrt()
        largest = means.abs().max(dim=0).values if self.classes else torch.zeros_like(mean)
        varies = deviation > CONSTANT * largest
        divisor = deviation
        if sizes is not None:
            blocks = deviation.split(list(sizes))
            typical = torch.cat([own.square().mean().sqrt().expand(len(own)) for own in blocks])
            divisor = (deviation * typical).sqrt()
        inverse = torch.where(varies, 1 / divisor.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
        scaled = Moments(0)
        scaled.gram = gram * inverse * inverse[:, None]
        scaled.sums = (weighted * inverse).T
        scaled.counts = self.counts.clone()
        return Standardized(moments=scaled, mean=mean, inverse_deviation=inverse)

    @classmethod
    def of(cls, moments: Moments) -> ClassMoments:
        """The same clips' moments from sums about the origin, for features that do not lie far from it."""
        found = cls(0)
        found.counts, found.means = moments.counts.clone(), moments.means()
        found.within = moments.within_scatter()
        found._clear(found.within.diagonal() <= ROUNDING * moments.gram.diagonal())
        return found

    def _clear(self, constant: Tensor) -> None:
        """Set the scatter of features (M,) that do not vary to 0."""
        self.within[constant] = 0.0
        self.within[:, constant] = 0.0

    def tensors(self) -> dict[str, Tensor]:
        """What is saved; of the scatter its upper triangle, row after row."""
        return {"within": packed(self.within), "means": self.means, "counts": self.counts}

    @classmethod
    def from_tensors(cls, tensors: dict[str, Tensor]) -> ClassMoments:
        """What `tensors` returned, bit for bit."""
        moments = cls(0)
        moments.counts, moments.means = tensors["counts"].clone(), tensors["means"].clone()
        moments.within = unpacked(tensors["within"], moments.means.shape[1])
        return moments

    def _of(self, features: Tensor, labels: Tensor) -> ClassMoments:
        """The moments of a batch alone."""
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            raise InputError(f"class numbers must be 0 to {self.classes - 1}; got {int(labels.max())}")
        features = features.double()
        if not torch.isfinite(features).all():
            raise InputError("features contain NaN or infinite values")
        batch = ClassMoments(self.width)
        batch.counts = torch.bincount(labels, minlength=self.classes).double()
        sums = torch.zeros(self.classes, self.width, dtype=torch.float64).index_add(0, labels, features)
        batch.means = sums / batch.counts.clamp(min=1)[:, None]
        away = features - batch.means[labels]
        add_product(batch.within, away, away)
        return batch
