"""Counts and sums of the features of each class, from which the class means follow.

P features, C classes.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor

from avcil.closed_form.class_statistics import ClassCounts, counts_without


class ClassMeans(ClassCounts):
    """Counts and sums; initially without classes.

    Args:
        width: P.

    >>> statistics = ClassMeans(1)
    >>> statistics.add_classes(1)
    >>> statistics.add(torch.tensor([[1.0], [3.0]]), torch.tensor([0, 0]))
    >>> statistics.means().item()
    2.0
    """

    AXES: ClassVar = {"sums": "CM", "counts": "C"}
    sums: Tensor

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Add clips: features (n, P), labels (n,) below C."""
        self.sums = self.sums.index_add(0, labels, features.double())
        self.counts = self.counts + torch.bincount(labels, minlength=self.classes)

    def remove(self, features: Tensor, labels: Tensor) -> None:
        """Remove clips that were added before.

        Raises:
            InputError: A class has fewer clips than are to be removed.
        """
        self.counts = counts_without(self.counts, torch.bincount(labels, minlength=self.classes))
        self.sums = self.sums.index_add(0, labels, -1 * features.double())
        self.sums[self.counts == 0] = (
            0.0  # a rounding error, which a cosine classifier would scale to length 1
        )

    def means(self) -> Tensor:
        """Class means (C, P); 0 for classes without clips."""
        return self.sums / self.counts.clamp(min=1)[:, None]
