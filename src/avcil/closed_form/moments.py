"""Sums over clips from which ridge regression and discriminant analysis follow exactly.

N clips learned so far, M features, C classes:

    gram   = sum_i h_i h_i^T       (M, M)
    sums   = sum_i h_i y_i^T       (M, C), y one-hot: sums of the features of each class
    counts = sum_i y_i             (C,)

All three are additive: clips may be added in any order and batch size, classes at any time, and clips can be removed
again. All are float64.
"""

from __future__ import annotations

import copy
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F

from avcil.closed_form.class_statistics import ClassCounts, check_class_numbers, counts_without
from avcil.closed_form.symmetric import add_product


class Moments(ClassCounts):
    """The sums for M features; initially without classes.

    >>> moments = Moments(2)
    >>> moments.add_classes(1)
    >>> moments.add(torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([0, 0]))
    >>> moments.gram.trace().item()
    30.0
    """

    AXES: ClassVar = {"gram": "MM", "sums": "MC", "counts": "C"}
    gram: Tensor
    sums: Tensor

    def remove_class(self, number: int) -> None:
        """Remove class `number`; the numbers of later classes decrease by 1.

        The gram matrix loses n mu mu^T for n clips of mean mu. Their scatter about the mean is not stored by class and
        remains.
        """
        removed = self.sums[:, number][None]
        add_product(self.gram, removed, removed, factor=-1 / max(float(self.counts[number]), 1.0))
        super().remove_class(number)

    def part(self, columns: Tensor) -> Moments:
        """The sums of the features `columns` (m,), ascending.

        Do not modify the result: if all features are selected, it is this object.
        """
        return self if len(columns) == self.width else super().part(columns)

    def without(self, features: Tensor, labels: Tensor) -> Moments:
        """A copy without clips that were added: features (n, M), labels (n,)."""
        other = copy.deepcopy(self)
        other.remove(features, labels)
        return other

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add clips: features (n, M), labels (n,) below C."""
        self._accumulate(features, labels, 1)

    def remove(self, features: Tensor, labels: Tensor) -> None:
        """Remove clips that were added before; InputError if a class has fewer clips."""
        counts_without(self.counts, torch.bincount(labels, minlength=self.classes))
        self._accumulate(features, labels, -1)

    def _accumulate(self, features: Tensor, labels: Tensor, sign: int) -> None:
        check_class_numbers(labels, self.classes)
        features = features.double()
        targets = F.one_hot(labels, self.classes).double()
        add_product(self.gram, features, features, factor=sign)
        self.sums = self.sums + sign * (features.T @ targets)
        self.counts = self.counts + sign * targets.sum(dim=0)

    def means(self) -> Tensor:
        """Class means (C, M); 0 for classes without clips."""
        return (self.sums / self.counts.clamp(min=1)).T

    def within_scatter(self) -> Tensor:
        """sum_i (h_i - mu_c(i)) (h_i - mu_c(i))^T, (M, M)."""
        within = self.gram.clone()
        add_product(within, self.sums.T, self.means(), factor=-1)
        return within

    def balanced(self) -> Moments:
        """The sums for the same number of clips in every class that has clips; N is unchanged.

        The class means and the within-class covariance are unchanged. If the counts are already equal, the result
        equals these sums.
        """
        has_clips, means, gram = self.counts > 0, self.means(), self.within_scatter()
        counts = has_clips.double() * self.total / has_clips.sum().clamp(min=1)
        sums = means.T * counts
        add_product(gram, sums.T, means)
        return Moments.of_tensors(gram=gram, sums=sums, counts=counts)
